#include "app/notify/outbox.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::notify {

void Outbox::add(Notice notice, Instant now) {
  waiting_.push_back({std::move(notice), now, 0});
  fit();
}

void Outbox::fit() {
  while (waiting_.size() > settings_.capacity) {
    waiting_.pop_front();
    ++counts_.dropped;
  }
}

const Notice* Outbox::take(Instant now) {
  if (in_flight_ || waiting_.empty() || now < not_before_) return nullptr;
  in_flight_ = std::move(waiting_.front());
  waiting_.pop_front();
  ++in_flight_->tries;
  return &in_flight_->notice;
}

std::optional<Instant> Outbox::wakes() const noexcept {
  if (waiting_.empty() || in_flight_) return std::nullopt;
  return not_before_;
}

void Outbox::settle(Answer answer, Instant now) {
  if (!in_flight_) return;
  Item item = std::move(*in_flight_);
  in_flight_.reset();
  if (answer != Answer::failed) {
    ++(answer == Answer::accepted ? counts_.delivered : counts_.rejected);
    failures_ = 0;  // either way there is somebody who answers
    not_before_ = now;
    return;
  }
  not_before_ = now + pause();
  if (item.tries >= most_tries || now - item.added >= settings_.retry_for) {
    ++counts_.given_up;
    return;
  }
  ++counts_.retried;
  waiting_.push_front(std::move(item));
  fit();
}

void Outbox::configure(OutboxSettings settings, Instant now) {
  settings_ = settings;
  failures_ = 0;
  not_before_ = std::min(not_before_, now);
  fit();
}

/// Between a half and the whole of what has doubled with each failure, so that many instances do
/// not come back to a receiver all at once.
Duration Outbox::pause() {
  const Duration whole =
      failures_ > 16 ? longest_pause : std::min(longest_pause, first_pause * (1U << failures_));
  ++failures_;
  // xorshift64: jitter is no secret.
  random_ ^= random_ << 13U;
  random_ ^= random_ >> 7U;
  random_ ^= random_ << 17U;
  constexpr std::uint64_t parts = 1024;
  return whole / 2 +
         whole / 2 * static_cast<std::int64_t>(random_ % parts) / static_cast<std::int64_t>(parts);
}

}  // namespace pgleash::notify
