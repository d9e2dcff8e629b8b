#pragma once

#include "protocol/types.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace pgleash::notify {

/// One request to be made: what it says, and the id by which its receiver knows it again.
struct Notice {
  std::string id;
  std::string body;
};

/// What came of an attempt.
enum class Answer : std::uint8_t {
  accepted,
  refused,  ///< the receiver will never take this one
  failed,   ///< the receiver cannot be had, or does not work, now
};

struct OutboxSettings {
  std::size_t capacity = 1000;
  Duration retry_for = std::chrono::hours{1};
};

struct OutboxCounts {
  std::uint64_t delivered = 0;
  std::uint64_t retried = 0;  ///< attempts that failed and are to be repeated
  std::uint64_t rejected = 0;
  std::uint64_t given_up = 0;
  std::uint64_t dropped = 0;  ///< the queue was full
};

/// Which notice is sent when: one at a time, in order; after a failure behind a pause that doubles,
/// with jitter. Pure; the memory is bounded by the capacity, each notice by its age at a failure
/// and by its tries. What waits behind a receiver that is down gets one attempt at least.
class Outbox {
 public:
  static constexpr Duration first_pause = std::chrono::seconds{1};
  static constexpr Duration longest_pause = std::chrono::minutes{5};
  static constexpr unsigned most_tries = 30;

  Outbox(OutboxSettings settings, std::uint64_t seed) noexcept
      : settings_(settings), random_(seed | 1U) {}

  /// When it is full the oldest goes.
  void add(Notice notice, Instant now);
  /// The one to send now; settle() is due before the next. Null: none, or not yet.
  [[nodiscard]] const Notice* take(Instant now);
  /// When take() may have one; none: when one is added.
  [[nodiscard]] std::optional<Instant> wakes() const noexcept;
  void settle(Answer answer, Instant now);

  /// A smaller capacity drops the oldest. Whoever corrected the address shall not wait: the pause
  /// ends.
  void configure(OutboxSettings settings, Instant now);
  [[nodiscard]] std::size_t size() const noexcept {
    return waiting_.size() + (in_flight_ ? 1U : 0U);
  }
  [[nodiscard]] const OutboxCounts& counts() const noexcept { return counts_; }

 private:
  struct Item {
    Notice notice;
    Instant added{};
    unsigned tries = 0;
  };

  void fit();
  [[nodiscard]] Duration pause();

  OutboxSettings settings_;
  std::uint64_t random_;
  std::deque<Item> waiting_;
  std::optional<Item> in_flight_;
  unsigned failures_ = 0;  ///< in a row
  Instant not_before_{};
  OutboxCounts counts_;
};

}  // namespace pgleash::notify
