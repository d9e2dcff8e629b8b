#pragma once

#include "config/config.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// What made a fuse trip.
enum class FuseKind : std::uint8_t { share, recovered, survived, rehearsal };
inline constexpr std::size_t fuse_kinds = 4;
[[nodiscard]] std::string_view name(FuseKind kind) noexcept;

/// How far a fuse reaches: one rule's acts upon one application, one rule, or all rules.
enum class FuseScope : std::uint8_t { application, rule, global };
inline constexpr std::size_t fuse_scopes = 3;
[[nodiscard]] std::string_view name(FuseScope scope) noexcept;

/// A fuse that is open: nobody within its scope is ended by a rule.
struct OpenFuse {
  FuseKind kind{};
  FuseScope scope{};
  std::string rule;               ///< empty: all
  std::string application;        ///< of FuseScope::application
  std::string why;                ///< one line, with the figures
  std::optional<Instant> closes;  ///< none: by hand only
};

/// How many sessions there are, of all and by application.
struct Census {
  std::size_t sessions = 0;
  std::unordered_map<std::string, std::size_t> applications;
  [[nodiscard]] static Census of(const Snapshot& snapshot);
};

/// Stops rules that look wrong. Pure; control thread; one per server.
///
/// A leak and a wrong rule can want as many sessions as each other, all of one application's, so
/// their number alone tells nothing: what tells is whom else a rule reaches, whether those it wants
/// come back to life, and whether it was a reload that made it want them. Within `window`, counting
/// distinct sessions that would be ended were it not for fuse and pace:
///
/// * share, scope rule: the rule wants `share_of_sessions` of all sessions, and as large a share of
///   those outside the application it hits most (half of `at_least`, at least). A leaking
///   application is what a rule is for, however much of it is leaked; a rule that reaches into the
///   others as well sweeps. Counted before anybody is ended: a sweep costs nobody.
/// * share, scope application: so large a share of one application's sessions came back to life
///   after they were over the limit: what the rule takes for left behind is in use there.
/// * recovered, scope application, then rule: of the sessions that were ended or came back, this
///   share came back. Those that wait for their turn come back as well: the pace makes the sample.
/// * survived, scope rule: so many backends outlived the whole ladder: to end more does not help.
/// * rehearsal, scope rule: after a reload the rule wants `share_of_sessions` of all that the rules
///   before it, run beside it on the same snapshots, do not want (whatever their action, so a rule
///   that was tried with "observe" is rehearsed).
///
/// All but `survived` need `at_least` sessions. What a narrower open fuse holds back counts no more
/// for the wider one. The global fuse adds up all rules, and needs twice the numbers.
///
/// An open fuse closes by itself after `reset`, twice as long each time it trips again within that
/// time, a day at most; the global one, and all with `reset = "manual"`, by reset_by_hand() only.
/// What was wanted meanwhile is weighed anew then.
class FuseBox {
 public:
  static constexpr Duration window = std::chrono::minutes{10};
  static constexpr Duration longest_reset = std::chrono::hours{24};

  /// Of one rule; what comes beyond is not counted. A rule that wants so many has tripped before.
  static constexpr std::size_t max_marks = 20'000;

  void configure(const config::Fuse& fuse) noexcept { fuse_ = fuse; }

  /// A verdict that would be carried out, were it not for fuse and pace. `rehearsed`: the rules
  /// before the reload want the session too, or there was no reload.
  void wanted(const Verdict& verdict, bool rehearsed, Instant now);
  /// Its session moved on by itself: before the act, or while the verdict waited.
  void came_back(const Verdict& verdict, Instant now);
  void ended(const Verdict& verdict, Instant now);
  void survived(const Verdict& verdict, Instant now);

  /// There is evidence that was not weighed yet.
  [[nodiscard]] bool changed() const noexcept { return changed_; }
  /// Closes the fuses whose time is over: true when there was one.
  bool close_due(Instant now);
  /// Opens the fuses that trip now, and returns them.
  std::vector<OpenFuse> weigh(const Census& census, Instant now);
  /// The open fuse that holds such a verdict back; null: none. Valid until the next change.
  [[nodiscard]] const OpenFuse* holds(std::string_view rule, std::string_view application) const;
  [[nodiscard]] std::vector<OpenFuse> open() const;
  [[nodiscard]] std::uint64_t trips(FuseKind kind, FuseScope scope) const noexcept {
    return trips_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(scope)];
  }

  /// Closes all of them: somebody has had a look.
  void reset_by_hand();
  /// The rule is another one now, or no more: its fuses close, what it did is forgotten.
  void forget_rule(std::string_view rule);
  /// The sessions are others now. Open fuses stay open.
  void forget_evidence() { evidence_.clear(); }

 private:
  /// What happened to one session by one rule within the window.
  struct Mark {
    Instant at{};
    std::string application;
    bool wanted = false;
    bool surplus = false;  ///< and not by the rules before the reload
    bool back = false;
    bool ended = false;
    bool gone = false;  ///< ended, and not only its statement
    bool survived = false;
  };
  using Marks = std::unordered_map<std::uint64_t, Mark>;

  struct Counts {
    std::size_t wanted = 0;
    std::size_t surplus = 0;
    std::size_t back = 0;
    std::size_t ended = 0;
    std::size_t gone = 0;
    std::size_t survived = 0;
    Counts& operator+=(const Counts& other) noexcept;
  };
  /// One rule's evidence, without what narrower open fuses explain.
  struct Evidence {
    Counts all;
    std::size_t swept = 0;    ///< wanted outside the application that is hit most
    std::size_t outside = 0;  ///< sessions there are outside it
  };

  struct Key {
    std::string rule;
    std::string application;
    auto operator<=>(const Key&) const = default;
  };
  struct Fuse {
    OpenFuse shown;
    bool open = false;
    Instant opened{};
    Duration interval{};
  };

  Mark& mark(const Verdict& verdict, Instant now);
  void forget_old(Instant now);
  std::map<std::string, Counts> by_application(const Marks& marks) const;
  Evidence weigh_rule(const std::string& rule, const Marks& marks, const Census& census,
                      Instant now, std::vector<OpenFuse>& tripped);
  void weigh_all(const std::map<std::string, Evidence>& rules, const Census& census, Instant now,
                 std::vector<OpenFuse>& tripped);
  void trip(FuseKind kind, FuseScope scope, const Key& key, std::string why, Instant now,
            std::vector<OpenFuse>& tripped);
  void forget(const Key& key);
  [[nodiscard]] bool is_open(const Key& key) const;

  config::Fuse fuse_;
  std::map<std::string, Marks, std::less<>> evidence_;  ///< by rule
  std::map<Key, Fuse> fuses_;  ///< both empty: the global one; closed ones remember their interval
  std::array<std::array<std::uint64_t, fuse_scopes>, fuse_kinds> trips_{};
  bool changed_ = false;
  Mark beyond_;  ///< max_marks: written, never read
};

}  // namespace pgleash::watchdog
