#pragma once

#include "config/config.hpp"
#include "protocol/types.hpp"
#include "proxy/fd.hpp"
#include "proxy/session_view.hpp"

#include <string>
#include <sys/socket.h>

namespace pgleash::proxy {

/// TCP_NODELAY, keepalive and TCP_USER_TIMEOUT; does nothing to a Unix socket. Both keepalive and
/// user timeout, since the one is silent while data is in flight and the other while there is none
/// (FACTS.md section 6). Those of a listening socket are its connections' too. Source: tcp(7).
void set_leg_options(int fd, const config::Keepalive& keepalive) noexcept;

/// Closes with a reset: the peer sees at once that nothing more will come, and bytes on their way
/// are dropped.
void close_with_reset(Fd& fd) noexcept;

/// Bytes that can be read without waiting. 0 also when the peer has closed.
[[nodiscard]] std::size_t unread_bytes(int fd) noexcept;
/// Whether what can be read without waiting ends so. Reads nothing off.
[[nodiscard]] bool unread_ends_with(int fd, std::string_view tail);
/// What can be read without waiting. Reads nothing off.
[[nodiscard]] std::string unread_tail(int fd);
/// Bytes written that the peer has no room for (TCP), or has not read (Unix socket).
[[nodiscard]] std::size_t unsent_bytes(int fd) noexcept;

/// Address and port of a socket address; the empty address and port -1 for a Unix socket.
[[nodiscard]] Endpoint to_endpoint(const sockaddr_storage& address) noexcept;
[[nodiscard]] Endpoint local_endpoint(int fd);
[[nodiscard]] sockaddr_storage peer_address(int fd) noexcept;
/// True for a Unix socket and for loopback addresses.
[[nodiscard]] bool is_local(const sockaddr_storage& address) noexcept;
/// True when one of the networks holds the address; a Unix socket is always allowed.
[[nodiscard]] bool is_allowed(const sockaddr_storage& address,
                              const std::vector<config::Network>& networks) noexcept;

/// "10.1.2.3:5432", "[::1]:5432", or the path of the Unix socket.
[[nodiscard]] std::string to_text(const config::Address& address);
/// The same of a TCP endpoint.
[[nodiscard]] std::string to_text(const Endpoint& endpoint);
[[nodiscard]] std::string unix_socket_path(const config::Address& address);

}  // namespace pgleash::proxy
