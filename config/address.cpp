#include "config/address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <sys/un.h>
#include <variant>

namespace pgleash::config {

namespace {

constexpr std::string_view longest_socket_name = "/.s.PGSQL.65535";

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

bool may_stand_in_host(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' || c == '-' ||
         c == '_';
}

bool is_v6_literal(std::string_view host) {
  const auto percent = host.find('%');
  if (percent != std::string_view::npos) {  // a zone, as in fe80::1%eth0
    const std::string_view zone = host.substr(percent + 1);
    if (zone.empty() || !std::ranges::all_of(zone, may_stand_in_host)) return false;
  }
  const std::string address{host.substr(0, percent)};
  std::array<std::uint8_t, 16> bytes{};
  return address.find(':') != std::string::npos &&
         inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1;
}

bool is_v4_literal(const std::string& host) {
  std::array<std::uint8_t, 4> bytes{};
  return inet_pton(AF_INET, host.c_str(), bytes.data()) == 1;
}

Parsed<std::uint16_t> parse_port(std::string_view text) {
  std::uint32_t port = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || parsed.ptr != text.data() + text.size() || parsed.ec != std::errc{} ||
      port == 0 || port > 65535) {
    return Fault{in_quotes(text) + " is not a port", "a port is a number from 1 to 65535"};
  }
  return static_cast<std::uint16_t>(port);
}

Parsed<std::string> parse_directory(std::string_view text) {
  while (text.size() > 1 && text.ends_with('/')) text.remove_suffix(1);
  if (text.find('\0') != std::string_view::npos)
    return Fault{"a directory with a NUL in its name", {}};
  if (text.size() + longest_socket_name.size() >= sizeof(sockaddr_un::sun_path)) {
    return Fault{"the directory " + in_quotes(text) + " is too long for a Unix socket",
                 "the socket's whole path is 107 bytes at most"};
  }
  return std::string(text);
}

Parsed<Address> parse_socket(std::string_view text, std::uint16_t port) {
  const auto colon = text.rfind(':');
  if (colon != std::string_view::npos && colon + 1 < text.size() &&
      std::all_of(text.begin() + static_cast<std::ptrdiff_t>(colon) + 1, text.end(), is_digit)) {
    auto parsed = parse_port(text.substr(colon + 1));
    if (auto* fault = std::get_if<Fault>(&parsed)) return std::move(*fault);
    port = std::get<std::uint16_t>(parsed);
    text = text.substr(0, colon);
  }
  auto directory = parse_directory(text);
  if (auto* fault = std::get_if<Fault>(&directory)) return std::move(*fault);
  return Address{std::move(std::get<std::string>(directory)), port, true};
}

std::optional<Fault> host_fault(std::string_view host) {
  if (is_v6_literal(host)) return std::nullopt;
  if (host.empty())
    return Fault{"the host is empty", R"(write "0.0.0.0" for all IPv4 addresses, "[::]" for IPv6)"};
  if (host == "*")
    return Fault{R"("*" is not an address)",
                 R"(write "0.0.0.0" for all IPv4 addresses, "[::]" for IPv6)"};
  if (!std::ranges::all_of(host, may_stand_in_host)) {
    return Fault{in_quotes(host) + " is neither an address nor a host name", {}};
  }
  const bool looks_like_v4 =
      std::ranges::all_of(host, [](char c) { return is_digit(c) || c == '.'; });
  if (looks_like_v4 && !is_v4_literal(std::string(host))) {
    return Fault{in_quotes(host) + " is not an IPv4 address",
                 "four numbers from 0 to 255, as in 10.0.0.1"};
  }
  if (host.size() > 253)
    return Fault{in_quotes(host) + " is too long for a host name", "253 characters at most"};
  return std::nullopt;
}

/// host:port; without `usual_port` the port may not be missing.
Parsed<Address> parse_tcp(std::string_view text, std::optional<std::uint16_t> usual_port) {
  std::string_view host = text;
  std::optional<std::string_view> port;
  const std::string example_port = std::to_string(usual_port.value_or(default_listen_port));
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos)
      return Fault{in_quotes(text) + " has no closing ]", "write \"[::1]:" + example_port + '"'};
    host = text.substr(1, close - 1);
    if (!is_v6_literal(host))
      return Fault{in_quotes(host) + " is not an IPv6 address", "only IPv6 stands in brackets"};
    const std::string_view rest = text.substr(close + 1);
    if (rest.starts_with(':')) {
      port = rest.substr(1);
    } else if (!rest.empty()) {
      return Fault{in_quotes(text) + " has something behind its ]",
                   "write \"[" + std::string(host) + "]:" + example_port + '"'};
    }
  } else if (is_v6_literal(text)) {
    return Fault{"an IPv6 address needs brackets",
                 "write \"[" + std::string(text) + "]:" + example_port + '"'};
  } else if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (auto fault = host_fault(host)) return std::move(*fault);
  if (!port && !usual_port)
    return Fault{in_quotes(text) + " has no port",
                 "write \"" + std::string(text) + ':' + example_port + '"'};
  if (!port) return Address{std::string(host), *usual_port, false};
  auto parsed = parse_port(*port);
  if (auto* fault = std::get_if<Fault>(&parsed)) return std::move(*fault);
  return Address{std::string(host), std::get<std::uint16_t>(parsed), false};
}

Parsed<Address> parse_url(std::string_view text) {
  if (text.find('@') != std::string_view::npos) {
    return Fault{"the server's URL has a user in it",
                 "write postgres://host:port only: applications bring their own user and password, "
                 "the monitor's "
                 "stand in --monitor"};
  }
  text.remove_prefix(text.find("//") + 2);
  if (text.find('%') != std::string_view::npos && !text.starts_with('[')) {
    return Fault{"a URL with %-codes is not taken here",
                 "write a Unix socket's directory as it is: /var/run/postgresql"};
  }
  if (text.ends_with('/')) text.remove_suffix(1);
  if (text.find_first_of("/?") != std::string_view::npos) {
    return Fault{"the server's URL says more than host and port",
                 "write \"postgres://" + std::string(text.substr(0, text.find_first_of("/?"))) +
                     "\": applications bring their own database and options"};
  }
  return parse_tcp(text, default_server_port);
}

}  // namespace

Parsed<Address> parse_listen_address(std::string_view text) {
  if (text.starts_with('/')) return parse_socket(text, default_listen_port);
  return parse_tcp(text, std::nullopt);
}

bool is_loopback(std::string_view host) noexcept {
  if (host == "localhost" || host == "::1") return true;
  return host.starts_with("127.") &&
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

Parsed<std::optional<Address>> parse_http_address(std::string_view text) {
  if (text == "off") return std::optional<Address>{};
  if (text.starts_with('/')) {
    return Fault{"HTTP is served over TCP only", R"(write "127.0.0.1:9732", or "off")"};
  }
  auto parsed = parse_tcp(text, std::nullopt);
  if (auto* fault = std::get_if<Fault>(&parsed)) return std::move(*fault);
  return std::optional<Address>{std::move(std::get<Address>(parsed))};
}

Parsed<Address> parse_server_address(std::string_view text) {
  if (text.empty())
    return Fault{"the server's address is empty",
                 "write postgres://host:port, host:port, or a Unix socket directory"};
  if (text.starts_with('/')) return parse_socket(text, default_server_port);
  if (text.starts_with("postgres://") || text.starts_with("postgresql://")) return parse_url(text);
  if (text.find('@') != std::string_view::npos || text.find('=') != std::string_view::npos) {
    return Fault{"the server's address is host and port only",
                 "write postgres://host:port, host:port, or a Unix socket directory"};
  }
  return parse_tcp(text, default_server_port);
}

Parsed<std::string> parse_host(std::string_view text) {
  if (text.starts_with('/')) return parse_directory(text);
  if (text.starts_with('[') && text.ends_with(']')) {
    return Fault{"host takes an IPv6 address without brackets",
                 "write host = " + in_quotes(text.substr(1, text.size() - 2))};
  }
  const auto colon = text.rfind(':');
  if (colon != std::string_view::npos && !is_v6_literal(text)) {
    return Fault{in_quotes(text) + " has a port in it",
                 "write host = " + in_quotes(text.substr(0, colon)) +
                     " and port = " + std::string(text.substr(colon + 1))};
  }
  if (auto fault = host_fault(text)) return std::move(*fault);
  return std::string(text);
}

std::string format_address(const Address& address, std::uint16_t usual_port) {
  if (address.is_unix) {
    const bool plain = address.port == usual_port && address.host.find(':') == std::string::npos;
    return plain ? address.host : address.host + ':' + std::to_string(address.port);
  }
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? '[' + address.host + ']' : address.host) + ':' + std::to_string(address.port);
}

}  // namespace pgleash::config
