#include "proxy/listener.hpp"

#include "proxy/socket.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::proxy {
namespace {

[[noreturn]] void fail(const std::string& address, int error) {
  std::string hint;
  if (error == EADDRINUSE)
    hint = " (another program listens there: stop it, or choose another port)";
  if (error == EACCES)
    hint =
        " (not permitted: ports below 1024 need a privilege, a socket directory must be writable)";
  if (error == EADDRNOTAVAIL) hint = " (this host has no such address)";
  throw std::system_error(error, std::generic_category(), "cannot listen on " + address + hint);
}

Fd bound_socket(const sockaddr* address, socklen_t size, int family, const std::string& text,
                const config::Keepalive& keepalive) {
  Fd fd{::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd.open()) fail(text, errno);
  const int on = 1;
  if (family != AF_UNIX) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  // Its connections come with these, which spares six system calls each.
  set_leg_options(fd.get(), keepalive);
  if (::bind(fd.get(), address, size) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) fail(text, errno);
  return fd;
}

bool somebody_answers(const sockaddr_un& address) {
  const Fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Listener::Listener(EventSet& set, const config::Listener& listener, std::size_t index,
                   const config::Address& address, Fd inherited, ProxyEvents& events,
                   std::function<void(Accepted)> hand_over)
    : listener_(listener),
      index_(index),
      events_(events),
      hand_over_(std::move(hand_over)),
      text_(to_text(address)),
      set_(set),
      socket_(std::move(inherited)),
      inherited_(socket_.open()),
      pause_timer_(set.context()) {
  if (!socket_.open()) bind(address);
}

Listener::~Listener() {
  stop();
}

void Listener::bind(const config::Address& address) {
  if (address.is_unix) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    if (text_.size() >= sizeof where.sun_path) fail(text_, ENAMETOOLONG);
    std::memcpy(where.sun_path, text_.data(), text_.size());
    // A socket file that a killed process left behind is in nobody's use; one that answers is.
    if (::access(text_.c_str(), F_OK) == 0) {
      if (somebody_answers(where)) fail(text_, EADDRINUSE);
      ::unlink(text_.c_str());
    }
    socket_ = bound_socket(reinterpret_cast<const sockaddr*>(&where), sizeof where, AF_UNIX, text_,
                           listener_.keepalive);
    ::chmod(text_.c_str(), 0777);  // as PostgreSQL's own: who may log in is decided by the server
    unlink_path_ = text_;
    return;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string host = address.host == "*" ? "0.0.0.0" : address.host;
  if (const int error =
          ::getaddrinfo(host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
      error != 0)
    throw std::system_error(EINVAL, std::generic_category(),
                            "cannot listen on " + text_ + ": " + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, &::freeaddrinfo};
  socket_ =
      bound_socket(found->ai_addr, found->ai_addrlen, found->ai_family, text_, listener_.keepalive);
}

std::uint16_t Listener::port() const noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return static_cast<std::uint16_t>(to_endpoint(address).port);
}

void Listener::start() {
  events_.listening(listener_.name, text_);
  watch();
}

void Listener::stop() {
  pause_timer_.cancel();
  // Whoever handed an inherited socket to us keeps it open: to close ours would leave it in the
  // set.
  if (socket_.open()) set_.remove(socket_.get(), *this);
  socket_.close();
  if (!unlink_path_.empty()) ::unlink(std::exchange(unlink_path_, {}).c_str());
}

void Listener::watch() {
  // Level-triggered: who is left in the queue makes another event.
  if (!set_.add(socket_.get(), EPOLLIN, *this)) hold_on(errno);
}

void Listener::ready(std::uint32_t /*events*/, Instant now) {
  try {
    accept_some(now);
  } catch (const std::exception& e) {
    events_.failure("accept", e.what());
  }
}

void Listener::accept_some(Instant now) {
  // To find the queue empty costs as much as a connection does: who comes alone is taken alone, and
  // more at once only while they come in a rush.
  const bool rush = now - last_rush_ < std::chrono::milliseconds{1};
  int left = accepts_ = rush ? std::min(2 * accepts_, most_accepts) : 1;
  while (left > 0 && accept_one(now)) --left;
  if (left == 0) last_rush_ = now;
}

bool Listener::accept_one(Instant now) {
  for (;;) {
    Accepted accepted;
    socklen_t size = sizeof accepted.peer;
    accepted.fd = Fd{::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&accepted.peer), &size,
                               SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (accepted.fd.open()) {
      if (std::exchange(paused_, false)) events_.accept_paused(listener_.name, {});
      // Who was in the queue before we came has the options of another.
      if (inherited_) set_leg_options(accepted.fd.get(), listener_.keepalive);
      accepted.listener = index_;
      accepted.at = now;
      hand_over_(std::move(accepted));
      return socket_.open();
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the kernel's queue until there is
    // room.
    hold_on(errno);
    return false;
  }
}

void Listener::hold_on(int error) {
  pause_timer_.expires_after(pause);
  pause_timer_.async_wait([this](const boost::system::error_code& ended) {
    if (!ended && socket_.open()) watch();
  });
  set_.remove(socket_.get(), *this);  // not before there is somebody to come back
  if (!std::exchange(paused_, true)) events_.accept_paused(listener_.name, std::strerror(error));
}

}  // namespace pgleash::proxy
