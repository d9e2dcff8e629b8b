#pragma once

#include "config/config.hpp"
#include "watchdog/fuse_box.hpp"
#include "watchdog/kill_pace.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// What may happen to a verdict.
enum class Permission : std::uint8_t {
  act,
  observe,  ///< one of the two locks is closed: a would-act
  exempt,   ///< the session is out of the rule's reach
  defer,    ///< not now: the session waits, and is judged afresh when it is its turn
  fuse,     ///< the same, behind an open fuse
};

struct Decision {
  Permission permission = Permission::defer;
  std::string why;  ///< of defer and fuse: one line
};

/// Why nobody is ended for a while.
enum class HoldReason : std::uint8_t { start, reload, failover };
inline constexpr std::size_t hold_reasons = 3;
[[nodiscard]] std::string_view name(HoldReason reason) noexcept;

/// How the brake stands: for metrics and pages.
struct BrakeStatus {
  bool paused = false;
  std::optional<HoldReason> held;
  std::size_t waiting = 0;
  std::vector<OpenFuse> open_fuses;
  std::array<std::array<std::uint64_t, fuse_scopes>, fuse_kinds> fuse_trips{};
  std::array<std::uint64_t, pace_scopes> deferred{};  ///< by the limit that held them back
  std::uint64_t manual_kills = 0;
};

/// Stands between every automatic verdict and its termination. Pure; control thread; one per
/// server. Nothing dies unless both locks are open: `[enforcement] mode = "enforce"`, and a rule
/// whose action is not "observe".
///
/// A verdict goes through exempt → observe → hold-off → kill switch → fuse → pace → act, and stops
/// at the first that does not let it pass. A deferred or fused verdict has its outcome with that;
/// its session waits here, oldest first, without another word. When its turn has come the engine
/// forgets the verdict and judges the session afresh, exemptions and all, under a new id. So one
/// session says `deferred` once, however long it waits, and no verdict has two outcomes.
///
/// At each tick, in this order: release() before the engine evaluates, weigh() all that it found,
/// then decide() each, in the engine's order (oldest first).
class Brake {
 public:
  Brake(Instant started, const config::Enforcement& enforcement);

  /// Who need wait no longer: let the engine forget these, to judge them in this very tick. Drops
  /// those who are gone, or have moved on: that they came back to life is evidence for the fuses.
  [[nodiscard]] std::vector<Verdict> release(const Snapshot& snapshot);
  /// The fuses that these verdicts, or what happened since, make trip.
  [[nodiscard]] std::vector<OpenFuse> weigh(const std::vector<Verdict>& verdicts,
                                            const Snapshot& snapshot);
  [[nodiscard]] Decision decide(const Verdict& verdict, Instant now);
  /// What became of a verdict that might act.
  void finished(const Verdict& verdict, Outcome outcome, Instant now);

  /// A reload. `changed` are rules that are not what they were, or are no more: who waits for them
  /// waits no longer, and their fuses close. `judges_otherwise`: hold off for a while.
  void reload(const config::Enforcement& enforcement, const std::vector<std::string>& changed,
              bool judges_otherwise, Instant now);
  /// After a reload, while rules before it are run beside those after it: a session these want too.
  void rehearse(proxy::SessionId session) { rehearsed_.insert(session); }
  [[nodiscard]] bool rehearsing(Instant now) const noexcept { return now < rehearsing_until_; }

  /// Another server, or another life of it: hold off, and nobody waits any longer. Let the engine
  /// forget these, as they are judged anew.
  [[nodiscard]] std::vector<Verdict> fail_over(Instant now);

  /// The kill switch. Who pauses and resumes has had a look: open fuses close.
  void pause() noexcept { paused_ = true; }
  void resume();
  /// Somebody has had a look: open fuses close, and what was wanted meanwhile is weighed anew.
  void reset_fuses();
  [[nodiscard]] bool paused() const noexcept { return paused_; }

  /// A person ended a session: counted, not braked, and no evidence against any rule.
  void note_manual() noexcept { ++manual_kills_; }

  /// What keeps anybody from being ended yet, even in enforce mode.
  [[nodiscard]] std::optional<HoldReason> held(Instant now) const noexcept;
  /// How long that hold-off still lasts; zero: there is none.
  [[nodiscard]] Duration hold_left(Instant now) const noexcept;
  [[nodiscard]] BrakeStatus status(Instant now) const;

 private:
  struct Waiter {
    Verdict verdict;
    Instant since{};  ///< the judged activity began
  };
  using Turn = std::pair<std::uint64_t, std::string>;  ///< session and rule

  void count_the_waiting(Instant now);
  [[nodiscard]] bool rehearsed(const Verdict& verdict, Instant now) const;
  [[nodiscard]] bool locked(const Verdict& verdict) const noexcept;
  void hold(HoldReason reason, Duration length, Instant now) noexcept;
  void wait(const Verdict& verdict, Instant now);
  bool may_go(const Waiter& waiter, Instant now);

  config::Enforcement enforcement_;
  KillPace pace_;
  FuseBox fuses_;
  std::vector<Waiter> waiting_;  ///< oldest first
  std::map<Turn, std::string>
      turns_;               ///< released in this tick: their application, whose pace they took
  bool count_all_ = false;  ///< who waits could not be counted as wanted until now
  Instant counted_{};
  std::set<proxy::SessionId> rehearsed_;
  Instant rehearsing_until_{};
  HoldReason hold_reason_ = HoldReason::start;
  Instant hold_until_{};
  std::array<std::uint64_t, pace_scopes> deferred_{};
  std::uint64_t manual_kills_ = 0;
  bool paused_ = false;
};

}  // namespace pgleash::watchdog
