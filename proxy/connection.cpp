#include "proxy/connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utility>

namespace pgleash::proxy {

namespace asio = boost::asio;

namespace {

constexpr std::uint32_t broken = EPOLLHUP | EPOLLERR;

boost::system::error_code last_error() {
  return {errno, boost::system::system_category()};
}

}  // namespace

asio::awaitable<boost::system::error_code> Connection::wait(Wait what) {
  if (!fd_.open() || events_.stopped()) co_return asio::error::operation_aborted;
  const std::uint32_t wanted = (what == Wait::input ? EPOLLIN | EPOLLRDHUP : EPOLLOUT) | broken;
  if (!watched_) {
    place_ = events_.enter(*this);
    watched_ = true;
    if (!events_.add(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, *this)) {
      const auto error = last_error();
      leave_set();
      co_return error;
    }
    ready_ = 0;
  }
  if ((ready_ & wanted) != 0) {
    ready_ &= ~wanted;
    co_return boost::system::error_code{};
  }
  wanted_ = wanted;
  const auto begin = [this](auto handler) { Handler{std::move(handler)}.swap(waiter_); };
  constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
  auto waiting =
      asio::async_initiate<decltype(as_result), void(boost::system::error_code)>(begin, as_result);
  const auto [error] = co_await std::move(waiting);
  co_return error;
}

void Connection::ready(std::uint32_t events, Instant /*now*/) {
  ready_ |= events;
  if (!waiter_ || (ready_ & wanted_) == 0) return;
  ready_ &= ~wanted_;
  take_waiter()(boost::system::error_code{});  // it may destroy this
}

void Connection::cancel() {
  if (!waiter_) return;
  // Not here: whoever cancels may be in the middle of what the coroutine would change.
  asio::post(get_executor(), [waiter = take_waiter()]() mutable {
    std::move(waiter)(asio::error::operation_aborted);
  });
}

/// By swap(): this handler's own assignment calls itself for ever (Boost 1.81).
Connection::Handler Connection::take_waiter() {
  Handler taken;
  taken.swap(waiter_);
  return taken;
}

void Connection::leave_set() {
  if (!std::exchange(watched_, false)) return;
  events_.leave(place_);
  events_.remove(fd_.get(), *this);
}

void Connection::close() {
  leave_set();
  fd_.close();
  cancel();
}

Fd Connection::release() {
  leave_set();
  return std::move(fd_);
}

boost::system::error_code Connection::connect(const StreamProtocol::endpoint& where) {
  close();
  fd_ = Fd{::socket(where.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd_.open()) return last_error();
  if (::connect(fd_.get(), where.data(), static_cast<socklen_t>(where.size())) == 0) return {};
  if (errno != EINPROGRESS && errno != EINTR) return last_error();
  // On one host it is made by the time the call is back.
  pollfd made{fd_.get(), POLLOUT, 0};
  if (::poll(&made, 1, 0) == 1 && made.revents == POLLOUT) return {};
  return asio::error::in_progress;
}

asio::awaitable<boost::system::error_code> Connection::connected() {
  boost::system::error_code error = co_await wait(Wait::room);
  if (error) co_return error;
  int failure = 0;
  socklen_t size = sizeof failure;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &failure, &size) != 0) co_return last_error();
  co_return boost::system::error_code{failure, boost::system::system_category()};
}

}  // namespace pgleash::proxy
