#include "proxy/login_edit.hpp"

#include <cstddef>
#include <string_view>

namespace pgleash::proxy {
namespace {

constexpr std::size_t header_size = 5;
constexpr std::string_view binding{"-PLUS"};
constexpr std::string_view sasl{"\0\0\0\x0a", 4};  ///< AuthenticationSASL

/// Size of the whole message; 0 when it has no sound header yet.
std::size_t message_size(std::string_view bytes) {
  if (bytes.size() < header_size) return 0;
  std::size_t length = 0;
  for (std::size_t i = 1; i < header_size; ++i)
    length = (length << 8U) | static_cast<unsigned char>(bytes[i]);
  return 1 + length;
}

void append_message(std::string& out, char type, std::string_view body) {
  const std::size_t length = body.size() + 4;
  out += type;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(length >> shift & 0xFFU);
  out += body;
}

/// The offer without the mechanisms that bind to a channel; as it is when nothing would be left.
void append_offer(std::string& out, std::string_view body) {
  std::string kept{sasl};
  std::string_view names = body.substr(sasl.size());
  while (!names.empty() && names.front() != '\0') {
    const std::size_t end = names.find('\0');
    if (end == std::string_view::npos) break;
    if (!names.substr(0, end).ends_with(binding)) kept.append(names.substr(0, end + 1));
    names.remove_prefix(end + 1);
  }
  kept += '\0';
  append_message(out, 'R', kept.size() > sasl.size() + 1 ? std::string_view{kept} : body);
}

/// Of an ErrorResponse that has its end: its primary message, and whether it has a hint already.
bool wants_hint(std::string_view body) {
  bool about = false;
  while (!body.empty() && body.front() != '\0') {
    const std::size_t end = body.find('\0');
    if (end == std::string_view::npos) return false;
    const char field = body.front();
    const std::string_view text = body.substr(1, end - 1);
    if (field == 'H') return false;
    if (field == 'M')
      about = text == "SCRAM channel binding check failed" ||
              text == "SCRAM channel binding negotiation error";
    body.remove_prefix(end + 1);
  }
  return about && body.size() == 1;
}

void append_hinted(std::string& out, std::string_view body) {
  std::string longer{body.substr(0, body.size() - 1)};
  longer += 'H';
  longer += channel_binding_hint();
  longer += '\0';
  longer += '\0';
  append_message(out, 'E', longer);
}

}  // namespace

std::string_view channel_binding_hint() noexcept {
  return "pgleash: client and server legs use different certificates. Use the server's certificate "
         "for the client leg, set channel_binding=disable in this client, or turn off TLS on the "
         "server leg.";
}

void LoginEdit::feed(protocol::Bytes chunk, bool last, std::string& out) {
  out.clear();
  if (off_) {
    out.assign(reinterpret_cast<const char*>(chunk.data()), chunk.size());
    return;
  }
  rest_.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
  std::string_view bytes = rest_;
  for (std::size_t size = 0; (size = message_size(bytes)) >= header_size && size <= bytes.size();) {
    const std::string_view body = bytes.substr(header_size, size - header_size);
    if (why_ == LoginEditFor::clear_client && bytes.front() == 'R' && body.starts_with(sasl)) {
      append_offer(out, body);
    } else if (why_ == LoginEditFor::two_certificates && bytes.front() == 'E' && wants_hint(body)) {
      append_hinted(out, body);
    } else {
      out += bytes.substr(0, size);
    }
    bytes.remove_prefix(size);
  }
  const bool unsound = bytes.size() >= header_size && message_size(bytes) < header_size;
  if (last || unsound || bytes.size() > most_kept) {
    out += bytes;
    bytes = {};
    off_ = true;
  }
  rest_ = std::string{bytes};
}

}  // namespace pgleash::proxy
