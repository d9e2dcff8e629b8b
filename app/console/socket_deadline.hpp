#pragma once

#include "protocol/types.hpp"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>

namespace pgleash::console {

/// What the console speaks over: a session's stream, or a client of its own socket.
using StreamProtocol = boost::asio::generic::stream_protocol;
using Socket = StreamProtocol::socket;

/// Gives all waits on one socket a common deadline: when it passes, the socket is closed and every
/// operation on it, pending or later, fails. Lives beside the socket in the coroutine that uses
/// both.
class SocketDeadline {
 public:
  SocketDeadline(Socket& socket, Instant when)
      : state_(std::make_shared<State>(socket)), timer_(socket.get_executor(), when) {
    timer_.async_wait([state = state_](const boost::system::error_code& error) {
      if (error || state->socket == nullptr) return;
      state->expired = true;
      boost::system::error_code ignored;
      state->socket->close(
          ignored);  // NOLINT(bugprone-unused-return-value): nothing to do about a failing close
    });
  }
  ~SocketDeadline() { state_->socket = nullptr; }
  SocketDeadline(const SocketDeadline&) = delete;
  SocketDeadline& operator=(const SocketDeadline&) = delete;

  [[nodiscard]] bool expired() const noexcept { return state_->expired; }

 private:
  struct State {
    explicit State(Socket& watched) : socket(&watched) {}
    Socket* socket;
    bool expired = false;
  };
  std::shared_ptr<State> state_;
  boost::asio::steady_timer timer_;
};

}  // namespace pgleash::console
