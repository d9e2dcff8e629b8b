#pragma once

#include "proxy/kill_order.hpp"
#include "watchdog/snapshot.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// Fingerprints of statements that run long, for the rules that group by them. A view does not
/// carry a statement's text, as it costs; it is fetched for sessions that are about to be judged,
/// once a statement and few at a time.
///
/// A text that was fetched may be that of a later statement. So it counts only once views that were
/// taken after it came show the same statement as those before it was asked for. Pure but for that
/// memory; control thread.
class RunningStatements {
 public:
  /// Texts asked for at one time, the oldest statements first.
  static constexpr std::size_t max_asked = 32;

  struct Question {
    proxy::SessionId session{};
    protocol::ActivityMark mark;
  };
  /// Fills in the fingerprints that are known, and says which to ask for: of statements older than
  /// `from`. `views_asked`: before the snapshot's views were taken.
  [[nodiscard]] std::vector<Question> fill(Snapshot& snapshot, Instant views_asked, Duration from);
  /// The answer to one of them, at `now`; nothing when the text is unknown.
  void learnt(const Question& question, std::optional<std::uint64_t> fingerprint, Instant now);

 private:
  struct Known {
    protocol::ActivityMark mark;
    std::optional<std::uint64_t> fingerprint;
    std::optional<Instant> answered;
    std::uint64_t seen = 0;
  };
  std::unordered_map<std::uint64_t, Known> known_;
  std::uint64_t round_ = 0;
};

}  // namespace pgleash::watchdog
