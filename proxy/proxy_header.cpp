#include "proxy/proxy_header.hpp"

#include "proxy/socket.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <cstring>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::proxy {
namespace {

using protocol::Bytes;
using protocol::ProtocolError;

constexpr std::string_view v1_start = "PROXY ";
constexpr std::string_view v2_start{"\r\n\r\n\0\r\nQUIT\n", 12};
/// Told from each other, and from every first message of PostgreSQL, by so many bytes.
constexpr std::size_t telling = 5;
constexpr std::size_t shortest_v1 = std::string_view{"PROXY UNKNOWN\r\n"}.size();
constexpr std::size_t longest_v1 = 107;  ///< with its CRLF
constexpr std::size_t v2_head = 16;      ///< signature, version and command, family, length

ProtocolError bad(std::string why, std::size_t offset = 0) {
  return {"08P01", "bad PROXY protocol header: " + why, 0, offset};
}

std::string_view text_of(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::size_t v2_length(std::string_view header) noexcept {
  return static_cast<std::size_t>(static_cast<unsigned char>(header[14])) << 8U |
         static_cast<unsigned char>(header[15]);
}

bool begins(std::string_view header, std::string_view start) noexcept {
  const std::size_t size = std::min(header.size(), start.size());
  return header.substr(0, size) == start.substr(0, size);
}

/// The next word, up to one space.
std::string_view take_word(std::string_view& line) noexcept {
  const std::size_t space = line.find(' ');
  const std::string_view word = line.substr(0, space);
  line.remove_prefix(space == std::string_view::npos ? line.size() : space + 1);
  return word;
}

std::optional<std::uint16_t> port_of(std::string_view word) noexcept {
  std::uint16_t port = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, port);
  const bool zeros = word.size() > 1 && word.front() == '0';
  if (error != std::errc{} || stop != end || zeros) return std::nullopt;
  return port;
}

sockaddr_storage v4_address(const in_addr& address, std::uint16_t port) noexcept {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr = address;
  v4.sin_port = htons(port);
  sockaddr_storage result{};
  std::memcpy(&result, &v4, sizeof v4);
  return result;
}

sockaddr_storage v6_address(const in6_addr& address, std::uint16_t port) noexcept {
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = address;
  v6.sin6_port = htons(port);
  sockaddr_storage result{};
  std::memcpy(&result, &v6, sizeof v6);
  return result;
}

std::optional<sockaddr_storage> address_of(std::string_view word, bool v6, std::uint16_t port) {
  if (word.find('\0') != std::string_view::npos) return std::nullopt;
  const std::string text{word};
  if (v6) {
    in6_addr address{};
    if (::inet_pton(AF_INET6, text.c_str(), &address) != 1) return std::nullopt;
    return v6_address(address, port);
  }
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
  return v4_address(address, port);
}

protocol::Result<ProxyHeader> parse_v1(std::string_view header) {
  std::string_view line = header.substr(0, header.size() - 2);
  line.remove_prefix(v1_start.size());
  const std::string_view family = take_word(line);
  // Whatever stands behind that word is for nobody.
  if (family == "UNKNOWN") return ProxyHeader{};
  if (family != "TCP4" && family != "TCP6") return bad("neither TCP4, TCP6 nor UNKNOWN");
  const bool v6 = family == "TCP6";
  const std::string_view source = take_word(line);
  const std::string_view destination = take_word(line);
  const auto source_port = port_of(take_word(line));
  const auto destination_port = port_of(line);
  if (!source_port || !destination_port) return bad("a port that is none");
  const auto client = address_of(source, v6, *source_port);
  if (!client || !address_of(destination, v6, *destination_port))
    return bad("an address that is none");
  return ProxyHeader{ProxyHeader::Kind::address, *client};
}

protocol::Result<ProxyHeader> parse_v2(std::string_view header) {
  const auto version_command = static_cast<unsigned char>(header[12]);
  const auto family = static_cast<unsigned char>(header[13]);
  const std::string_view body = header.substr(v2_head);
  if (version_command == 0x20) return ProxyHeader{ProxyHeader::Kind::local, {}};
  if (version_command != 0x21) return bad("an unknown version or command", 12);

  const auto needs = [&](std::size_t size) { return body.size() >= size; };
  const auto port_at = [&](std::size_t offset) {
    return static_cast<std::uint16_t>(static_cast<unsigned char>(body[offset]) << 8U |
                                      static_cast<unsigned char>(body[offset + 1]));
  };
  constexpr std::size_t v4_size = 12;
  constexpr std::size_t v6_size = 36;
  constexpr std::size_t unix_size = 216;
  switch (family) {
    case 0x11: {  // TCP over IPv4: two addresses, two ports
      if (!needs(v4_size)) return bad("too short for two IPv4 addresses", 14);
      in_addr address{};
      std::memcpy(&address, body.data(), sizeof address);
      return ProxyHeader{ProxyHeader::Kind::address, v4_address(address, port_at(8))};
    }
    case 0x21: {  // TCP over IPv6
      if (!needs(v6_size)) return bad("too short for two IPv6 addresses", 14);
      in6_addr address{};
      std::memcpy(&address, body.data(), sizeof address);
      return ProxyHeader{ProxyHeader::Kind::address, v6_address(address, port_at(32))};
    }
    // Families that tell nothing of a TCP client: as if the balancer did not know it.
    case 0x00:
      return ProxyHeader{};
    case 0x12:
      if (!needs(v4_size)) return bad("too short for two IPv4 addresses", 14);
      return ProxyHeader{};
    case 0x22:
      if (!needs(v6_size)) return bad("too short for two IPv6 addresses", 14);
      return ProxyHeader{};
    case 0x31:
    case 0x32:
      if (!needs(unix_size)) return bad("too short for two Unix addresses", 14);
      return ProxyHeader{};
    default:
      return bad("an unknown address family", 13);
  }
}

}  // namespace

protocol::Result<std::size_t> proxy_header_missing(Bytes so_far) {
  const std::string_view header = text_of(so_far);
  const bool v1 = begins(header, v1_start);
  if (!v1 && !begins(header, v2_start)) return bad("there is none");
  if (header.size() < telling) return telling - header.size();
  if (!v1) {
    if (header.size() < v2_head) return v2_head - header.size();
    const std::size_t whole = v2_head + v2_length(header);
    if (whole > max_proxy_header)
      return bad("longer than " + std::to_string(max_proxy_header) + " bytes", 14);
    if (header.size() > whole) return bad("more bytes than its length says", whole);
    return whole - header.size();
  }
  const std::size_t end = header.find("\r\n");
  if (end != std::string_view::npos) {
    if (end + 2 > longest_v1) return bad("a line longer than 107 bytes", longest_v1);
    if (end + 2 < shortest_v1) return bad("a line too short", end);
    if (end + 2 < header.size()) return bad("more bytes than its line", end + 2);
    return std::size_t{0};
  }
  if (header.size() < shortest_v1) return shortest_v1 - header.size();
  // The shortest way to its end from here.
  const std::size_t missing = header.back() == '\r' ? 1 : 2;
  if (header.size() + missing > longest_v1) return bad("a line longer than 107 bytes", longest_v1);
  return missing;
}

protocol::Result<ProxyHeader> parse_proxy_header(Bytes whole) {
  const auto missing = proxy_header_missing(whole);
  if (!missing) return missing.error();
  if (*missing != 0) return bad("it is cut short", whole.size());
  const std::string_view header = text_of(whole);
  return begins(header, v1_start) ? parse_v1(header) : parse_v2(header);
}

Origin origin_of(const ProxyHeader& header, const sockaddr_storage& peer) noexcept {
  const bool peer_local = is_local(peer);
  switch (header.kind) {
    case ProxyHeader::Kind::address: {
      const bool loopback = is_local(header.client);
      if (loopback && !peer_local) return {peer, false};
      return {header.client, loopback};
    }
    case ProxyHeader::Kind::unknown:
      return {peer, false};
    case ProxyHeader::Kind::local:
      break;
  }
  return {peer, peer_local};
}

}  // namespace pgleash::proxy
