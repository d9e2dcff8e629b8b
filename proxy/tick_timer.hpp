#pragma once

#include "proxy/socket.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <functional>

namespace pgleash::proxy {

/// A worker's tick: a timer whose descriptor others may watch beside the io_context, which a timer
/// of Asio's has not. The worker's thread. Source: timerfd_create(2).
class TickTimer {
 public:
  TickTimer(boost::asio::io_context& context, std::function<void()> tick);
  ~TickTimer();
  TickTimer(const TickTimer&) = delete;
  TickTimer& operator=(const TickTimer&) = delete;

  void start() { wait(); }
  /// No more ticks.
  void stop();
  /// Calls `tick` once, after this time; what was set before is forgotten.
  void set(Duration delay) noexcept;
  [[nodiscard]] Instant due() const noexcept { return due_; }
  [[nodiscard]] int descriptor() const noexcept { return timer_.get(); }

 private:
  void wait();

  std::function<void()> tick_;
  Fd timer_;
  boost::asio::posix::stream_descriptor watch_;
  Instant due_{};
};

}  // namespace pgleash::proxy
