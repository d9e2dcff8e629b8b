#include "protocol/startup.hpp"

#include "protocol/encode.hpp"
#include "protocol/wire_reader.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace pgleash::protocol {
namespace {

constexpr std::uint32_t cancel_request_code = 80'877'102;
constexpr std::uint32_t ssl_request_code = 80'877'103;
constexpr std::uint32_t gssenc_request_code = 80'877'104;
constexpr std::uint32_t smallest_message = 8;  // length word and code
constexpr std::uint16_t spoken_major = 3;
constexpr std::size_t longest_name = 63;  // NAMEDATALEN - 1

ProtocolError silent(std::string why, std::uint64_t offset = 0) {
  return {.sqlstate = {}, .message = std::move(why), .offset = offset};
}

ProtocolError bad_layout(const char* what, std::uint64_t offset) {
  return {.sqlstate = "08P01",
          .message = std::string{"invalid startup packet layout: "} + what,
          .offset = offset};
}

/// As the server cuts the names of roles and databases: by bytes, whatever the encoding.
std::string server_name(std::string_view name) {
  return std::string{name.substr(0, longest_name)};
}

Result<FirstMessage> parse_cancel_request(Bytes message, WireReader body) {
  const auto pid = body.uint32();
  const Bytes secret = body.rest();
  if (!pid || secret.empty() || secret.size() > CancelKey::max_secret_size) {
    return silent("invalid length of cancel request", message.size());
  }
  return FirstMessage{
      CancelRequest{CancelKey{BackendPid{static_cast<std::int32_t>(*pid)}, secret}}};
}

void take_parameter(StartupPacket& packet, std::string_view name, std::string_view value) {
  if (name == "user") {
    packet.user = server_name(value);
  } else if (name == "database") {
    packet.database = server_name(value);
  } else if (name == "application_name") {
    packet.application_name = value;
  } else if (name == "replication") {
    packet.replication = value;
  }
  // All else is the server's: options, _pq_.* and settings go on unread, in the raw bytes.
}

/// Name and value pairs up to an empty name, which must be the last byte.
std::optional<ProtocolError> take_parameters(StartupPacket& packet, WireReader& body) {
  const auto at = [&body] { return smallest_message + body.offset(); };
  for (std::size_t pairs = 0;; ++pairs) {
    const std::uint64_t offset = at();
    const auto name = body.string();
    if (!name) return bad_layout("expected terminator as last byte", offset);
    if (name->empty()) break;
    if (pairs == max_startup_parameters) return bad_layout("too many parameters", offset);
    const auto value = body.string();
    if (!value) return bad_layout("expected terminator as last byte", at());
    take_parameter(packet, *name, *value);
  }
  if (!body.at_end()) return bad_layout("expected terminator as last byte", at());
  return std::nullopt;
}

Result<FirstMessage> parse_startup_packet(Bytes message, std::uint32_t version, WireReader body) {
  StartupPacket packet;
  packet.major = static_cast<std::uint16_t>(version >> 16U);
  packet.minor = static_cast<std::uint16_t>(version & 0xFFFFU);
  if (packet.major != spoken_major) {
    return ProtocolError{.sqlstate = "0A000",
                         .message = "unsupported frontend protocol " +
                                    std::to_string(packet.major) + "." +
                                    std::to_string(packet.minor) + ": server supports 3.0 to 3.0",
                         .offset = 4};
  }
  if (auto fault = take_parameters(packet, body)) return *std::move(fault);
  if (packet.user.empty()) {
    return ProtocolError{.sqlstate = "28000",
                         .message = "no PostgreSQL user name specified in startup packet",
                         .offset = smallest_message};
  }
  if (packet.database.empty()) packet.database = packet.user;
  packet.raw = as_text(message);
  return FirstMessage{std::move(packet)};
}

}  // namespace

bool StartupPacket::is_replication() const noexcept {
  if (replication == "database") return true;
  // As parse_bool() reads a Boolean: any case, and any beginning that leaves no doubt.
  const auto begins = [this](std::string_view word, std::size_t least) {
    return replication.size() >= least && replication.size() <= word.size() &&
           std::equal(replication.begin(), replication.end(), word.begin(), [](char a, char b) {
             return std::tolower(static_cast<unsigned char>(a)) == b;
           });
  };
  return begins("true", 1) || begins("yes", 1) || begins("on", 2) || begins("1", 1);
}

Result<std::uint32_t> first_message_length(Bytes four_bytes) {
  if (four_bytes.size() < sizeof(std::uint32_t)) return silent("incomplete startup packet");
  const std::uint32_t length = load_uint32(four_bytes.data());
  if (length < smallest_message || length > max_startup_size) {
    return silent("invalid length of startup packet");
  }
  return length;
}

Result<FirstMessage> parse_first_message(Bytes message) {
  const auto length = first_message_length(message);
  if (!length) return length.error();
  if (*length != message.size()) return silent("incomplete startup packet", message.size());
  WireReader reader{message.subspan(sizeof(std::uint32_t))};
  const std::uint32_t code = reader.uint32().value_or(0);
  const WireReader body{message.subspan(smallest_message)};
  switch (code) {
    case ssl_request_code:
      if (*length != smallest_message) return silent("invalid length of SSL request");
      return FirstMessage{SslRequest{}};
    case gssenc_request_code:
      if (*length != smallest_message) return silent("invalid length of GSSAPI encryption request");
      return FirstMessage{GssEncRequest{}};
    case cancel_request_code:
      return parse_cancel_request(message, body);
    default:
      return parse_startup_packet(message, code, body);
  }
}

std::string with_parameter(std::string_view raw, std::string_view name, std::string_view value) {
  WireReader body{std::as_bytes(std::span{raw}).subspan(smallest_message)};
  std::string packet{raw.substr(0, smallest_message)};
  const auto append = [&packet](std::string_view text) {
    packet.append(text);
    packet.push_back('\0');
  };
  for (;;) {
    const auto key = body.string();
    if (!key || key->empty()) break;
    const auto old = body.string();
    if (!old) break;
    if (*key == name) continue;  // of several the server takes the last
    append(*key);
    append(*old);
  }
  append(name);
  append(value);
  packet.push_back('\0');
  for (unsigned place = 0; place < sizeof(std::uint32_t); ++place)
    packet[place] = static_cast<char>(packet.size() >> (24U - 8U * place) & 0xFFU);
  return packet;
}

std::string startup_refusal(Bytes message, const ProtocolError& error) {
  if (error.sqlstate.empty()) return {};
  const bool old = message.size() >= smallest_message &&
                   load_uint32(message.data() + sizeof(std::uint32_t)) >> 16U < spoken_major;
  if (old) return error_response_v2(error.message);
  return error_response({.sqlstate = error.sqlstate, .message = error.message});
}

}  // namespace pgleash::protocol
