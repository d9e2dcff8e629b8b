#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::config {

inline constexpr std::uint16_t default_listen_port = 6432;
inline constexpr std::uint16_t default_server_port = 5432;

/// Reads "host:port", "[2001:db8::1]:port", or the directory of a Unix socket, which may carry a
/// port too
/// ("/run/pgleash:6433") and has `default_listen_port` else.
[[nodiscard]] Parsed<Address> parse_listen_address(std::string_view text);
/// The same, TCP only, or "off".
[[nodiscard]] Parsed<std::optional<Address>> parse_http_address(std::string_view text);
/// What `--server` takes without libpq's words: postgres://host:port, host:port, host, or a
/// directory. Says nothing of a text that holds a password but that it does.
[[nodiscard]] Parsed<Address> parse_server_address(std::string_view text);
/// The key `host` of a [[server]]: a name, an IP literal without brackets, or a directory.
[[nodiscard]] Parsed<std::string> parse_host(std::string_view text);

/// The text that reads back as this address: brackets around IPv6, a directory's port only when it
/// is not `usual_port`.
[[nodiscard]] std::string format_address(const Address& address,
                                         std::uint16_t usual_port = default_listen_port);

/// "localhost", "::1" or "127.x.y.z": nobody of another machine gets there.
[[nodiscard]] bool is_loopback(std::string_view host) noexcept;

}  // namespace pgleash::config
