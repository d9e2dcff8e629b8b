#pragma once

#include "protocol/types.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

#include <memory>

namespace pgleash::proxy {

/// Gives all waits on one stream, a Connection or a socket of Asio's, a common deadline: when it
/// passes, the stream is closed and every wait for it, pending or later, fails. Lives beside it in
/// the coroutine that uses both.
template <class Stream>
class Deadline {
 public:
  Deadline(Stream& stream, Instant when)
      : state_(std::make_shared<State>(stream)), timer_(stream.get_executor(), when) {
    timer_.async_wait([state = state_](const boost::system::error_code& error) {
      if (error || state->stream == nullptr) return;
      state->expired = true;
      if constexpr (requires(boost::system::error_code & ignored) {
                      state->stream->close(ignored);
                    }) {
        boost::system::error_code ignored;
        state->stream->close(
            ignored);  // NOLINT(bugprone-unused-return-value): nothing to do about a failing close
      } else {
        state->stream->close();
      }
    });
  }
  ~Deadline() { state_->stream = nullptr; }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  [[nodiscard]] bool expired() const noexcept { return state_->expired; }

 private:
  struct State {
    explicit State(Stream& watched) : stream(&watched) {}
    Stream* stream;
    bool expired = false;
  };
  std::shared_ptr<State> state_;
  boost::asio::steady_timer timer_;
};

}  // namespace pgleash::proxy
