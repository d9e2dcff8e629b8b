#pragma once

#include "config/config.hpp"
#include "proxy/kill_order.hpp"
#include "watchdog/snapshot.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// Incident id: 16 characters, unique across restarts and instances; the thread through error,
/// audit, log and outcome.
struct VerdictId {
  std::string text;
  bool operator==(const VerdictId&) const = default;
};

/// Where incident ids come from. The caller seeds it with 64 random bits, once per process and rule
/// engine: that makes ids unique across restarts and instances; the count below the seed makes them
/// unique within one, and keeps the incidents of one run side by side when sorted. Crockford's base
/// 32: no I, L, O, U, so an id survives being read aloud.
class VerdictIds {
 public:
  explicit VerdictIds(std::uint64_t seed) noexcept : seed_(seed) {}
  [[nodiscard]] VerdictId next();

 private:
  std::uint64_t seed_;
  std::uint64_t count_ = 0;
};

/// What became of a verdict: exactly one each (PRODUCT.md A11).
enum class Outcome : std::uint8_t {
  observed,
  exempted,
  deferred,
  fused,
  recovered,
  confirmed,
  already_gone,
  survived,
  unverified,
  denied,
  error,
};
[[nodiscard]] std::string_view name(Outcome outcome) noexcept;

/// Why a session is out of a rule's reach (PRODUCT.md, table of exemptions).
enum class Exemption : std::uint8_t {
  none,
  replication,
  superuser,
  listening,
  advisory_lock,
  dump,
  exported_snapshot,
  backup,
  copy_moving,
  commit,
  sync_replication,
  protected_user,
  protected_client,
  protected_entry,
  marker,
  pooler,
  by_hand,  ///< an operator asked for it, for a while
  unknown,
};
[[nodiscard]] std::string_view name(Exemption exemption) noexcept;
/// Sessions by exemption, in the enumeration's order; of `none` always 0.
using ExemptCounts = std::array<std::uint64_t, static_cast<std::size_t>(Exemption::unknown) + 1>;

struct Verdict;
/// The kind's word, also of what no rule judged.
[[nodiscard]] std::string_view kind_name(const Verdict& verdict) noexcept;

/// Which of a session's activities a kind of rule judges.
[[nodiscard]] proxy::JudgedCounter judged_counter(config::RuleKind kind) noexcept;

/// The code PostgreSQL itself uses for that reason, so that drivers and pools do what they would do
/// without us. Never 57P01: it makes Npgsql drop its whole pool.
[[nodiscard]] std::string_view native_sqlstate(config::RuleKind kind, config::Action action,
                                               const protocol::SessionFacts& facts) noexcept;

/// What a rule of cost measured, in the unit of its kind.
struct CostFinding {
  std::uint64_t value = 0;
  std::uint64_t threshold = 0;
};

/// Whom a verdict is about, and so what may end it.
enum class Target : std::uint8_t {
  session,  ///< one of ours: in-band first
  opaque,   ///< one of ours whose bytes nobody here can read: guarded SQL only
  direct,   ///< one that does not come through us: guarded SQL only
  orphan,   ///< a backend of ours without a session: guarded SQL only
};
[[nodiscard]] std::string_view name(Target target) noexcept;
/// How a session of ours is to be ended.
[[nodiscard]] inline Target target_of(const SessionEntry& entry) noexcept {
  return entry.view.who->opaque ? Target::opaque : Target::session;
}
/// It has a session of ours, with the number that `view.id` is.
[[nodiscard]] constexpr bool is_ours(Target target) noexcept {
  return target == Target::session || target == Target::opaque;
}
/// The rule of the verdicts on orphans; no rule of the configuration may have this name.
inline constexpr std::string_view orphan_rule = "orphan";
/// The same of what a person ordered.
inline constexpr std::string_view manual_rule = "manual";

/// One rule's judgement of one session's one activity.
struct Verdict {
  VerdictId id;
  std::string rule;
  config::RuleKind kind{};
  config::Action action{};
  proxy::JudgedCounter counter{};
  protocol::ActivityMark mark;
  Duration measured{};  ///< of a kind of cost: how long above its value
  Duration limit{};
  std::optional<CostFinding> cost;  ///< of the kinds of cost
  Duration grace{};
  Duration notify_within{};  ///< zero: the client is told at once
  Exemption exemption = Exemption::none;
  /// The session was judged because it waits for its client: ended only while it still does.
  bool waits_for_client = false;
  /// It may wait for a standby by the time of the act: asked for just before it.
  bool may_commit_meanwhile = false;
  std::uint32_t others = 0;  ///< sessions it blocks (blocking), statements like its own (group)
  std::string sqlstate;      ///< native code of the kind and action, or the rule's own
  std::string hint;
  SessionEntry session;  ///< the evidence as judged
  Target target = Target::session;
  std::optional<ServerIdentity> server_identity;  ///< of an orphan's server: part of the guard
  std::string actor;                              ///< who ordered it by hand; empty: a rule did
};

}  // namespace pgleash::watchdog
