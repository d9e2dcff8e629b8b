#include "watchdog/clock.hpp"
#include "watchdog/watchdog.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unordered_map>
#include <utility>

// What people ask of a watchdog: see app/console.
namespace pgleash::watchdog {

namespace {

constexpr Duration listing_time = std::chrono::seconds{5};

HandResult result_of(const VerdictId& id, const TerminationRecord& record) {
  HandResult result;
  result.incident = id.text;
  result.outcome = record.outcome;
  result.step = record.step == proxy::InBandStep::none && record.sql ? "guarded_sql"
                                                                     : proxy::name(record.step);
  result.took = record.took;
  result.why = record.why;
  return result;
}

}  // namespace

/// In the count of tasks, so that stop() waits for it.
struct Watchdog::Counted {
  Watchdog& watchdog;
  explicit Counted(Watchdog& one) : watchdog(one) { ++watchdog.tasks_; }
  ~Counted() {
    --watchdog.tasks_;
    watchdog.idle_.cancel();
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
};

Task<HandResult> Watchdog::by_hand(HandOrder order) {
  Verdict verdict = verdict_of(std::move(order), hand_ids_.next(), now());
  const VerdictId id = verdict.id;
  if (verdict.session.backend && in_hand(*verdict.session.backend)) {
    HandResult busy;
    busy.outcome = Outcome::deferred;
    busy.why = "it is being ended already";
    co_return busy;
  }
  brake_.note_manual();
  events_.judged(server_.name, verdict, true);
  if (is_ours(verdict.target)) ledger_.acted(verdict.session.view.id);
  const Counted counted{*this};
  const TerminationRecord record =
      co_await terminate(std::move(verdict), config_->enforcement.mode);
  co_return result_of(id, record);
}

Task<std::optional<SessionExplanation>> Watchdog::explain_fully(proxy::SessionId session) {
  std::optional<SessionExplanation> found = explain(session);
  if (!found) co_return std::nullopt;
  const Counted counted{*this};
  found->evidence = co_await terminator_.evidence_of(found->session, target_of(found->session));
  co_return found;
}

void Watchdog::exempt(proxy::SessionId session, Duration how_long) {
  const Instant until = now() + how_long;
  exempt_[proxy::number(session)] = until;
  // Verdicts that an earlier exemption held back come again when this one ends.
  for (Later& one : later_)
    if (one.verdict.exemption == Exemption::by_hand && one.verdict.session.view.id == session)
      one.when = until;
}

Instant Watchdog::exempt_until(proxy::SessionId session) const {
  const auto found = exempt_.find(proxy::number(session));
  return found != exempt_.end() && found->second > now() ? found->second : Instant{};
}

/// The verdict is given once more when the time is over.
void Watchdog::exempt_by_hand(Verdict& verdict) {
  const Instant at = now();
  std::erase_if(exempt_, [at](const auto& one) { return one.second <= at; });
  if (!is_ours(verdict.target) || verdict.exemption != Exemption::none) return;
  const auto found = exempt_.find(proxy::number(verdict.session.view.id));
  if (found == exempt_.end()) return;
  verdict.exemption = Exemption::by_hand;
  later_.push_back({verdict, found->second});
}

Task<std::vector<SessionEntry>> Watchdog::entries_now() {
  std::vector<proxy::SessionView> views = co_await sessions_.views(server_.name);
  // Behind the wait: the newest there is.
  const std::shared_ptr<const Snapshot> snapshot = status_->snapshot;
  std::unordered_map<std::uint64_t, const SessionEntry*> known;
  for (const SessionEntry& entry : snapshot->sessions)
    known.emplace(proxy::number(entry.view.id), &entry);
  std::vector<SessionEntry> entries;
  entries.reserve(views.size());
  for (proxy::SessionView& view : views) {
    SessionEntry entry;
    if (const auto found = known.find(proxy::number(view.id)); found != known.end())
      entry = *found->second;
    entry.superuser = entry.superuser || view.facts.superuser_at_login;
    // Of an opaque one the newest row knows more than we do.
    if (!view.who->opaque || !entry.view.who) entry.view = std::move(view);
    entries.push_back(std::move(entry));
  }
  co_return entries;
}

Task<PgResult<std::string>> Watchdog::scram_verifier(std::string role, Instant deadline) {
  if (stopping_ || !sampler_)
    co_return PgError{PgError::Kind::configuration, {}, "nobody can be asked", "scram_verifier"};
  const Counted counted{*this};
  auto verifier = co_await verifiers_.of(std::move(role), deadline);
  co_return verifier;
}

Task<PgResult<ActivityListing>> Watchdog::list_activity() {
  if (!sampler_)
    co_return PgError{PgError::Kind::configuration, {}, "the server has no monitor", "listing"};
  auto listing = co_await lister_.read(now() + listing_time);
  co_return listing;
}

}  // namespace pgleash::watchdog
