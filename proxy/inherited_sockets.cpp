#include "proxy/inherited_sockets.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <utility>

namespace pgleash::proxy {
namespace {

int option(int fd, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

config::Address bound_to(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  if (storage.ss_family == AF_UNIX) {
    const auto& where = reinterpret_cast<const sockaddr_un&>(storage);
    return {where.sun_path, 0, true};
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET6) {
    const auto& where = reinterpret_cast<const sockaddr_in6&>(storage);
    ::inet_ntop(AF_INET6, &where.sin6_addr, text.data(), text.size());
    return {text.data(), ntohs(where.sin6_port), false};
  }
  const auto& where = reinterpret_cast<const sockaddr_in&>(storage);
  ::inet_ntop(AF_INET, &where.sin_addr, text.data(), text.size());
  return {text.data(), ntohs(where.sin_port), false};
}

std::string_view host_of(const std::string& host) noexcept {
  const bool any = host == "*" || host == "0.0.0.0" || host == "::";
  return any ? std::string_view{"*"} : std::string_view{host};
}

bool same(const config::Address& inherited, const config::Address& wanted) {
  if (inherited.is_unix != wanted.is_unix) return false;
  if (wanted.is_unix) return inherited.host == to_text(wanted);
  return inherited.port == wanted.port && host_of(inherited.host) == host_of(wanted.host);
}

}  // namespace

InheritedSockets::InheritedSockets(std::vector<Fd> sockets) {
  for (Fd& fd : sockets) {
    config::Address address = bound_to(fd.get());
    std::string text = address.is_unix ? address.host : to_text(address);
    if (option(fd.get(), SO_TYPE) != SOCK_STREAM || option(fd.get(), SO_ACCEPTCONN) != 1)
      throw std::runtime_error("the inherited socket " + text +
                               " is not a listening stream socket: use ListenStream= and "
                               "Accept=no");
    ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    sockets_.push_back({std::move(fd), std::move(address), std::move(text)});
  }
}

Fd InheritedSockets::take(const config::Address& address) {
  const auto found = std::find_if(sockets_.begin(), sockets_.end(),
                                  [&](const Inherited& one) { return same(one.address, address); });
  if (found == sockets_.end()) return {};
  Fd fd = std::move(found->fd);
  sockets_.erase(found);
  return fd;
}

std::vector<std::string> InheritedSockets::left() const {
  std::vector<std::string> all;
  for (const Inherited& one : sockets_) all.push_back(one.text);
  return all;
}

}  // namespace pgleash::proxy
