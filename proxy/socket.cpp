#include "proxy/socket.hpp"

#include "config/network.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace pgleash::proxy {
namespace {

void set_int(int fd, int level, int option, int value) noexcept {
  ::setsockopt(fd, level, option, &value, sizeof value);
}

int whole_seconds(config::Duration duration) noexcept {
  return static_cast<int>(
      std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(duration).count()));
}

bool is_tcp(int fd) noexcept {
  int domain = 0;
  socklen_t size = sizeof domain;
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
  return domain == AF_INET || domain == AF_INET6;
}

}  // namespace

void Fd::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void set_leg_options(int fd, const config::Keepalive& keepalive) noexcept {
  const int on = 1;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return;  // it is not TCP
  set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(keepalive.idle));
  set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(keepalive.interval));
  set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(keepalive.count));
  set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(keepalive.user_timeout.count()));
}

void close_with_reset(Fd& fd) noexcept {
  if (!fd.open()) return;
  const linger hard{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  fd.close();
}

std::size_t unread_bytes(int fd) noexcept {
  int waiting = 0;
  if (::ioctl(fd, FIONREAD, &waiting) != 0) return 0;
  return static_cast<std::size_t>(std::max(0, waiting));
}

std::string unread_tail(int fd) {
  std::string unread(unread_bytes(fd), '\0');
  const ssize_t got = ::recv(fd, unread.data(), unread.size(), MSG_PEEK | MSG_DONTWAIT);
  unread.resize(static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  return unread;
}

bool unread_ends_with(int fd, std::string_view tail) {
  return std::string_view{unread_tail(fd)}.ends_with(tail);
}

std::size_t unsent_bytes(int fd) noexcept {
  // TCP: what is not even sent, that is, what the peer has no room for; the rest may wait for a
  // delayed ACK only.
  int waiting = 0;
  if (::ioctl(fd, is_tcp(fd) ? SIOCOUTQNSD : TIOCOUTQ, &waiting) != 0) return 0;
  return static_cast<std::size_t>(std::max(0, waiting));
}

Endpoint to_endpoint(const sockaddr_storage& address) noexcept {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return {text.data(), ntohs(v4.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      ::inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text.data(), text.size());
    } else {
      ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    }
    return {text.data(), ntohs(v6.sin6_port)};
  }
  return {};
}

Endpoint local_endpoint(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return to_endpoint(address);
}

sockaddr_storage peer_address(int fd) noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    address.ss_family = AF_UNSPEC;
  return address;
}

bool is_local(const sockaddr_storage& address) noexcept {
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    return (ntohl(v4.sin_addr.s_addr) >> 24U) == 127;
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return v6.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
  }
  return address.ss_family == AF_UNIX;
}

bool is_allowed(const sockaddr_storage& address,
                const std::vector<config::Network>& networks) noexcept {
  std::array<std::uint8_t, 16> bytes{};
  bool v6 = false;
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    std::memcpy(bytes.data(), &v4.sin_addr, 4);
  } else if (address.ss_family == AF_INET6) {
    sockaddr_in6 in6{};
    std::memcpy(&in6, &address, sizeof in6);
    std::memcpy(bytes.data(), &in6.sin6_addr, 16);
    v6 = true;
  } else {
    return address.ss_family == AF_UNIX;
  }
  return std::any_of(networks.begin(), networks.end(), [&](const config::Network& network) {
    return config::contains(network, bytes, v6);
  });
}

std::string unix_socket_path(const config::Address& address) {
  return address.host + "/.s.PGSQL." + std::to_string(address.port);
}

std::string to_text(const Endpoint& endpoint) {
  const bool v6 = endpoint.address.find(':') != std::string::npos;
  return (v6 ? "[" + endpoint.address + "]" : endpoint.address) + ":" +
         std::to_string(endpoint.port);
}

std::string to_text(const config::Address& address) {
  if (address.is_unix) return unix_socket_path(address);
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace pgleash::proxy
