#include "protocol/encode.hpp"

#include <algorithm>
#include <cstdint>

namespace pgleash::protocol {
namespace {

constexpr std::uint32_t ssl_request_code = 80'877'103;
constexpr std::uint32_t cancel_request_code = 80'877'102;

void append_uint32(std::string& out, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    out.push_back(static_cast<char>(value >> shift & 0xFFU));
}

/// An embedded NUL would end the field early and turn the rest of the text into fields of its own.
void append_string(std::string& out, std::string_view text) {
  std::copy_if(text.begin(), text.end(), std::back_inserter(out), [](char c) { return c != '\0'; });
  out.push_back('\0');
}

std::string message(char type, std::string_view body) {
  std::string out;
  out.reserve(body.size() + 5);
  out.push_back(type);
  append_uint32(out, static_cast<std::uint32_t>(body.size() + 4));
  out.append(body);
  return out;
}

}  // namespace

std::string error_response(const ErrorFields& fields) {
  std::string body;
  const auto field = [&body](char code, std::string_view text) {
    if (text.empty()) return;
    body.push_back(code);
    append_string(body, text);
  };
  field('S', fields.severity);
  field('V', fields.severity);
  field('C', fields.sqlstate);
  field('M', fields.message);
  field('D', fields.detail);
  field('H', fields.hint);
  body.push_back('\0');
  return message('E', body);
}

std::string error_response_v2(std::string_view text) {
  std::string out = "EFATAL:  ";
  std::copy_if(text.begin(), text.end(), std::back_inserter(out), [](char c) { return c != '\0'; });
  out.push_back('\n');
  out.push_back('\0');
  return out;
}

std::string terminate() {
  return message('X', {});
}

std::string copy_fail(std::string_view reason) {
  std::string body;
  append_string(body, reason);
  return message('f', body);
}

std::string ssl_request() {
  std::string out;
  append_uint32(out, 8);
  append_uint32(out, ssl_request_code);
  return out;
}

std::string cancel_request(const CancelKey& key) {
  const Bytes secret = key.secret();
  std::string out;
  out.reserve(12 + secret.size());  // at once: growing would leave copies of the secret behind
  append_uint32(out, static_cast<std::uint32_t>(12 + secret.size()));
  append_uint32(out, cancel_request_code);
  append_uint32(out, static_cast<std::uint32_t>(key.pid()));
  out.append(reinterpret_cast<const char*>(secret.data()), secret.size());
  return out;
}

}  // namespace pgleash::protocol
