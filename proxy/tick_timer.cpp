#include "proxy/tick_timer.hpp"

#include "proxy/clock.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/timerfd.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::proxy {

TickTimer::TickTimer(boost::asio::io_context& context, std::function<void()> tick)
    : tick_(std::move(tick)),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      watch_(context) {
  if (!timer_.open()) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  watch_.assign(timer_.get());
}

TickTimer::~TickTimer() {
  // The descriptor is ours; Asio must not close it a second time.
  if (watch_.is_open()) watch_.release();
}

void TickTimer::stop() {
  if (watch_.is_open()) watch_.release();
}

void TickTimer::set(Duration delay) noexcept {
  due_ = monotonic_now() + delay;
  // Zero would disarm it.
  const auto wait = std::max<Duration>(delay, std::chrono::nanoseconds{1});
  const auto seconds = std::chrono::floor<std::chrono::seconds>(wait);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = std::chrono::nanoseconds{wait - seconds}.count();
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
}

void TickTimer::wait() {
  watch_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [this](const boost::system::error_code& error) {
                      if (error) return;
                      std::uint64_t times = 0;
                      // Set anew meanwhile, it has not fired yet: then there is nothing to read.
                      const bool fired = ::read(timer_.get(), &times, sizeof times) > 0;
                      if (fired) tick_();
                      if (watch_.is_open()) wait();
                    });
}

}  // namespace pgleash::proxy
