#include "proxy/event_set.hpp"

#include "proxy/clock.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace pgleash::proxy {

static_assert(alignof(Watched) > EventSet::watched_bit);

EventSet::EventSet(boost::asio::io_context& context)
    : context_(context), epoll_(::epoll_create1(EPOLL_CLOEXEC)), watch_(context) {
  if (!epoll_.open()) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  watch_.assign(epoll_.get());
}

EventSet::~EventSet() {
  // The descriptor is ours; Asio must not close it a second time.
  if (watch_.is_open()) watch_.release();
}

std::uint64_t EventSet::tag_of(Watched& watched) noexcept {
  return reinterpret_cast<std::uintptr_t>(&watched) | watched_bit;
}

bool EventSet::add(int fd, std::uint32_t events, std::uint64_t tag) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void EventSet::change(int fd, std::uint32_t events, std::uint64_t tag) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventSet::remove(int fd, Watched& watched) noexcept {
  epoll_event unused{};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused);
  forget(watched);
}

void EventSet::forget(Watched& watched) noexcept {
  for (epoll_event& event : std::span{events_}.first(count_))
    if (event.data.u64 == tag_of(watched)) event.data.u64 = 0;
}

std::span<const epoll_event> EventSet::wait(int timeout) noexcept {
  const int count = ::epoll_wait(epoll_.get(), events_.data(), most_events, timeout);
  count_ = static_cast<std::size_t>(std::max(0, count));
  return std::span{events_}.first(count_);
}

bool EventSet::hand_over(const epoll_event& event, Instant now) {
  if ((event.data.u64 & watched_bit) == 0) return false;
  auto* watched = reinterpret_cast<Watched*>(
      event.data.u64 & ~watched_bit);  // NOLINT(performance-no-int-to-ptr): set by tag_of()
  watched->ready(event.events, now);
  return true;
}

void EventSet::serve() {
  if (stopped_) return;
  watch_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [this](const boost::system::error_code& error) {
                      if (error) return;
                      const Instant now = monotonic_now();
                      for (const epoll_event& event : wait(0)) hand_over(event, now);
                      serve();
                    });
}

void EventSet::stop() {
  stopped_ = true;
  for (Waiting* one : waiting_) one->cancel();
  if (watch_.is_open()) watch_.cancel();
}

}  // namespace pgleash::proxy
