#include "proxy/tick_timer.hpp"

#include "proxy/clock.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/timerfd.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::proxy {

TickTimer::TickTimer(EventSet& set, std::function<void()> tick)
    : set_(set),
      tick_(std::move(tick)),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (!timer_.open()) throw std::system_error(errno, std::generic_category(), "timerfd_create");
}

void TickTimer::start() {
  if (!set_.add(timer_.get(), EPOLLIN | EPOLLET, *this))
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
}

void TickTimer::stop() noexcept {
  if (!timer_.open()) return;
  set_.forget(*this);
  timer_.close();
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

void TickTimer::ready(std::uint32_t /*events*/, Instant /*now*/) {
  std::uint64_t times = 0;
  // Set anew meanwhile, it has not fired yet: then there is nothing to read.
  if (::read(timer_.get(), &times, sizeof times) > 0) tick_();
}

}  // namespace pgleash::proxy
