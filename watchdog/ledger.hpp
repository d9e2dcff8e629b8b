#pragma once

#include "proxy/kill_order.hpp"
#include "watchdog/snapshot.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// An activity that a rule has its eye on: over its warn, or in the last fifth of its limit, or
/// over it, and not exempt.
struct Suspect {
  std::string_view rule;  ///< of the configuration, which outlives the evaluation
  proxy::SessionId session{};
  proxy::JudgedCounter counter{};
  protocol::ActivityMark mark;
  Instant stalled_since{};  ///< of a stalled reader, which stalls again within the same state
  Duration age{};
  std::optional<Duration> limit;
};
/// The share of a limit from which on an activity is a suspect.
[[nodiscard]] constexpr bool suspicious(Duration age, std::optional<Duration> limit,
                                        std::optional<Duration> warn) noexcept {
  return (limit && age > *limit / 5 * 4) || (warn && age > *warn);
}

/// How near to its end a suspect was when it became active again.
enum class Margin : std::uint8_t {
  warned,      ///< over warn, more than a fifth of the limit left, or no limit
  within_20,   ///< less than a fifth of the limit left
  within_5,    ///< less than a twentieth left
  over_limit,  ///< past it, and nothing had ended it: a false positive, had the rule acted
  count_,
};
inline constexpr std::size_t margin_count = static_cast<std::size_t>(Margin::count_);
[[nodiscard]] std::string_view name(Margin margin) noexcept;
[[nodiscard]] Margin margin_of(Duration age, std::optional<Duration> limit) noexcept;

/// What a rule's suspects came to, as a check of its limit: many that become active again just
/// below it will be false positives on a worse day. Pure; one per server; control thread.
///
/// Fed by each tick with the suspects of that tick. A suspect whose judged activity is over while
/// its session lives has recovered; the age is that of the last tick, up to a judging interval less
/// than the true one. One that is ended, by us or by itself, has not. One whose activity ended
/// because we acted on it is not counted.
class FalsePositiveLedger {
 public:
  void feed(const std::vector<Suspect>& suspects, const Snapshot& snapshot);
  /// The rules began to act on this session: what it does next is no news of it.
  void acted(proxy::SessionId session);

  struct Row {
    std::array<std::uint64_t, margin_count> recovered{};
    /// Of those not over the limit, the least that was left of it, as a share.
    std::optional<double> closest;
  };
  [[nodiscard]] const std::map<std::string, Row, std::less<>>& rows() const noexcept {
    return rows_;
  }

 private:
  struct Watched {
    Suspect suspect;
    std::string rule;
  };
  void recovered(const Watched& watched);

  std::map<std::pair<std::uint64_t, std::string>, Watched> watched_;
  std::map<std::string, Row, std::less<>> rows_;
};

}  // namespace pgleash::watchdog
