#pragma once

#include "protocol/types.hpp"
#include "proxy/connection.hpp"

#include <boost/asio/steady_timer.hpp>

#include <memory>

namespace pgleash::proxy {

/// Gives all waits on one connection a common deadline: when it passes, the connection is closed
/// and every wait for it, pending or later, fails. Lives beside it in the coroutine that uses both.
class ConnectionDeadline {
 public:
  ConnectionDeadline(Connection& connection, Instant when)
      : state_(std::make_shared<State>(connection)), timer_(connection.context(), when) {
    timer_.async_wait([state = state_](const boost::system::error_code& error) {
      if (error || state->connection == nullptr) return;
      state->expired = true;
      state->connection->close();
    });
  }
  ~ConnectionDeadline() { state_->connection = nullptr; }
  ConnectionDeadline(const ConnectionDeadline&) = delete;
  ConnectionDeadline& operator=(const ConnectionDeadline&) = delete;

  [[nodiscard]] bool expired() const noexcept { return state_->expired; }

 private:
  struct State {
    explicit State(Connection& watched) : connection(&watched) {}
    Connection* connection;
    bool expired = false;
  };
  std::shared_ptr<State> state_;
  boost::asio::steady_timer timer_;
};

}  // namespace pgleash::proxy
