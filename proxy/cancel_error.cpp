#include "proxy/cancel_error.hpp"

#include "protocol/encode.hpp"
#include "protocol/messages.hpp"

namespace pgleash::proxy {
namespace {

constexpr std::size_t header_size = 5;

std::size_t message_size(protocol::Bytes header) {
  std::uint32_t length = 0;
  for (std::size_t i = 1; i < header_size; ++i)
    length = (length << 8U) | static_cast<std::uint32_t>(header[i]);
  return std::size_t{1} + length;
}

}  // namespace

std::string cancel_error(const ErrorNotice& notice) {
  return protocol::error_response({.severity = "ERROR",
                                   .sqlstate = notice.sqlstate,
                                   .message = notice.message,
                                   .detail = notice.detail,
                                   .hint = notice.hint});
}

bool replace_cancel_error(protocol::Bytes chunk, std::size_t begin, const std::string& replacement,
                          std::string& out) {
  if (begin > chunk.size()) return false;
  std::size_t at = begin;
  while (chunk.size() - at >= header_size) {
    const std::size_t size = message_size(chunk.subspan(at));
    if (size < header_size || size > chunk.size() - at) return false;
    if (static_cast<char>(chunk[at]) == 'E') {
      const protocol::ErrorSummary error =
          protocol::decode_error(chunk.subspan(at + header_size, size - header_size));
      if (error.sqlstate != "57014" || error.fatal()) return false;
      const auto* text = reinterpret_cast<const char*>(chunk.data());
      out.assign(text, at);
      out += replacement;
      out.append(text + at + size, chunk.size() - at - size);
      return true;
    }
    at += size;
  }
  return false;
}

}  // namespace pgleash::proxy
