#include "watchdog/orphans.hpp"

#include "watchdog/direct_sessions.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {
namespace {

constexpr std::uint32_t samples_until_lost = 3;
constexpr Duration grace = std::chrono::seconds{5};

proxy::BackendProof proof_of(const BackendId& backend, const ServerIdentity& identity) noexcept {
  return {identity.system_identifier, identity.started.microseconds,
          backend.backend_start.microseconds};
}

/// The same run of the same server; a promotion changes the timeline and no backend.
bool same_run(const ServerIdentity& a, const ServerIdentity& b) noexcept {
  return a.system_identifier == b.system_identifier && a.started == b.started;
}

/// Nothing when the server hides a part of it: then nothing can be proved.
std::optional<ServerIdentity> identity_of(const ActivitySample& sample) noexcept {
  const ServerIdentity& identity = sample.identity;
  if (identity.system_identifier == 0 || identity.started == ServerTime{}) return std::nullopt;
  return identity;
}

std::string unproven(const std::optional<BackendId>& backend,
                     const std::optional<ServerIdentity>& then,
                     const std::optional<ServerIdentity>& now) {
  if (!backend)
    return "the session ended before the monitor had seen its backend, so its backend_start is not "
           "known";
  if (!then || !now) return "the server does not tell which one it is";
  return {};
}

}  // namespace

struct OrphanReconcile::Rows {
  std::unordered_map<std::int32_t, const ActivityRow*> by_pid;

  explicit Rows(const ActivitySample& sample) {
    by_pid.reserve(sample.rows.size());
    for (const ActivityRow& row : sample.rows)
      by_pid.emplace(static_cast<std::int32_t>(row.backend.pid), &row);
  }
  [[nodiscard]] const ActivityRow* of(protocol::BackendPid pid) const {
    const auto found = by_pid.find(static_cast<std::int32_t>(pid));
    return found == by_pid.end() ? nullptr : found->second;
  }
};

OrphanReconcile::OrphanReconcile(std::string server, Duration poll_interval,
                                 const std::vector<proxy::LegRecord>& inherited)
    : server_(std::move(server)), apart_(2 * poll_interval) {
  const std::uint32_t ours = proxy::server_hash(server_);
  for (std::size_t i = 0; i < inherited.size(); ++i) {
    const proxy::LegRecord& record = inherited[i];
    if (record.server != ours) continue;
    proxy::SessionIdentity who;
    who.server = server_;
    who.leg = record.leg;
    who.pid = record.pid;
    Leg& leg = legs_.emplace_back();
    leg.who = std::make_shared<const proxy::SessionIdentity>(std::move(who));
    leg.pid = record.pid;
    leg.inherited = i;
    if (record.proof) {
      leg.backend = BackendId{record.pid, {record.proof->backend_start}};
      leg.identity = ServerIdentity{
          record.proof->system_identifier, 0, {record.proof->postmaster_start}, false};
    }
  }
}

OrphanReport OrphanReconcile::reconcile(const Snapshot& snapshot, const ActivitySample* sample,
                                        bool monitor_up) {
  OrphanReport report;
  const bool fresh = sample != nullptr && monitor_up && (!looked_ || sample->taken > *looked_);
  meet(snapshot, sample, fresh, report);
  part(snapshot.now);
  if (fresh) {
    looked_ = sample->taken;
    look(*sample, report);
  }
  report.orphans = orphans_;
  for (const auto& [id, known] : known_) report.lost_sessions += known.lost ? 1 : 0;
  return report;
}

/// The sessions there are: what is to be remembered of them once they are not.
void OrphanReconcile::meet(const Snapshot& snapshot, const ActivitySample* sample, bool fresh,
                           OrphanReport& report) {
  const auto identity = sample != nullptr ? identity_of(*sample) : std::nullopt;
  for (auto& [id, known] : known_) known.present = false;
  for (const SessionEntry& entry : snapshot.sessions) {
    Known& known = known_[proxy::number(entry.view.id)];
    known.present = true;
    if (known.who != entry.view.who) known.who = entry.view.who;
    known.superuser = entry.superuser;
    // Two witnesses, or it is not provable: an address alone may be another's behind a translation.
    const bool sure = entry.mapping == Mapping::confirmed && entry.backend;
    known.backend = sure ? entry.backend : std::nullopt;
    if (!fresh) continue;
    if (sure && entry.row && identity && !known.completed) {
      known.completed = true;
      if (known.who->journal_slot >= 0)
        report.completions.push_back(
            {known.who->journal_slot, entry.view.id, proof_of(*entry.backend, *identity)});
    }
    if (entry.row || !entry.backend || entry.view.ending) {
      known.missing = 0;
      known.lost = false;
    } else {
      if (known.missing++ == 0) known.missing_since = sample->taken;
      const bool lost =
          known.missing >= samples_until_lost && sample->taken - known.missing_since >= apart_;
      if (lost && !known.lost) report.newly_lost.push_back(entry.view.id);
      known.lost = known.lost || lost;
    }
  }
}

/// Sessions that are gone: their backends should be, too.
void OrphanReconcile::part(Instant now) {
  for (auto item = known_.begin(); item != known_.end();) {
    Known& known = item->second;
    if (known.present) {
      ++item;
      continue;
    }
    if (known.who->pid && !known.who->replication) {
      Leg& leg = legs_.emplace_back();
      leg.session = proxy::SessionId{item->first};
      leg.pid = *known.who->pid;
      leg.backend = known.backend;
      leg.identity = identity_;
      leg.superuser = known.superuser;
      leg.who = std::move(known.who);
      leg.left = now;
    }
    item = known_.erase(item);
  }
  if (legs_.size() > max_departed)
    legs_.erase(legs_.begin(), legs_.end() - static_cast<std::ptrdiff_t>(max_departed));
}

/// The row of the leg's backend; null when it is gone.
const ActivityRow* OrphanReconcile::backend_of(const Leg& leg, const Rows& rows) const {
  const ActivityRow* row = rows.of(leg.pid);
  if (row == nullptr || !same_leg(leg.who->leg, *row)) return nullptr;
  if (leg.backend) return row->backend == *leg.backend ? row : nullptr;
  // A pid and the address of a Unix socket are anybody's.
  return row->client_port >= 0 ? row : nullptr;
}

SessionEntry OrphanReconcile::entry_for(const Leg& leg) {
  SessionEntry entry = entry_of(leg.row, leg.row_taken);
  // A session of this run keeps its number; those of an earlier one would be taken for ours.
  if (!leg.inherited) entry.view.id = leg.session;
  entry.superuser = leg.row.superuser || leg.superuser;
  auto who = std::make_shared<proxy::SessionIdentity>(*leg.who);
  if (leg.inherited) {
    who->user = leg.row.user;
    who->database = leg.row.database;
    who->application = who->application_name = leg.row.application_name;
  }
  entry.view.who = std::move(who);
  return entry;
}

Orphan OrphanReconcile::describe(const Leg& leg) {
  Orphan orphan;
  orphan.row = leg.row;
  orphan.earlier_run = leg.inherited.has_value();
  orphan.again = leg.forgotten;
  orphan.since = leg.row_taken - *leg.first_seen;
  orphan.unproven = unproven(leg.backend, leg.identity, leg.shown_by);
  orphan.identity = leg.shown_by;
  orphan.entry = entry_for(leg);
  orphan.who = orphan.entry.view.who;
  return orphan;
}

std::vector<Orphan> OrphanReconcile::unsaid() {
  std::vector<Orphan> found;
  if (orphans_ == 0) return found;
  for (Leg& leg : legs_)
    if (leg.orphan && !std::exchange(leg.said, true)) found.push_back(describe(leg));
  return found;
}

std::vector<SessionEntry> OrphanReconcile::entries() const {
  std::vector<SessionEntry> all;
  if (orphans_ == 0) return all;
  for (const Leg& leg : legs_)
    if (leg.orphan) all.push_back(entry_for(leg));
  return all;
}

void OrphanReconcile::look(const ActivitySample& sample, OrphanReport& report) {
  const std::optional<ServerIdentity> identity = identity_of(sample);
  if (identity_ && identity && !same_run(*identity_, *identity)) {
    // Another server, or another run of it: its pids are no news of those we knew.
    std::erase_if(legs_, [](const Leg& leg) { return !leg.inherited; });
    for (auto& [id, known] : known_) known.missing = 0;
  }
  if (identity) identity_ = identity;
  const Rows rows{sample};
  std::vector<std::int32_t> served;  // pids of sessions that are there
  served.reserve(known_.size());
  for (const auto& [id, known] : known_)
    if (known.who->pid) served.push_back(static_cast<std::int32_t>(*known.who->pid));
  std::sort(served.begin(), served.end());

  orphans_ = 0;
  std::erase_if(legs_, [&](Leg& leg) {
    if (sample.taken <= leg.left) return false;  // may show it as it was
    const bool elsewhere = leg.identity && identity && !same_run(*leg.identity, *identity);
    if (elsewhere && leg.identity->system_identifier != identity->system_identifier)
      return false;  // a failover may be undone
    const ActivityRow* row = elsewhere ? nullptr : backend_of(leg, rows);
    // Its pid and port belong to a session that is there: used again.
    const bool again =
        row != nullptr && !leg.backend &&
        std::binary_search(served.begin(), served.end(), static_cast<std::int32_t>(leg.pid));
    if (row == nullptr || again) {
      if (leg.inherited) report.settled.push_back(*leg.inherited);
      return true;
    }
    if (!leg.identity && !leg.inherited) leg.identity = identity;
    if (!leg.first_seen) leg.first_seen = sample.taken;
    leg.orphan = sample.taken - *leg.first_seen >= apart_;
    if (!leg.orphan) return false;
    ++orphans_;
    leg.row = *row;
    leg.row_taken = sample.taken;
    leg.shown_by = identity;
    return false;
  });
}

std::vector<BackendId> OrphanReconcile::backends() const {
  std::vector<BackendId> all;
  for (const Leg& leg : legs_)
    if (leg.first_seen && leg.backend) all.push_back(*leg.backend);
  return all;
}

void OrphanReconcile::forget(const BackendId& backend) {
  for (Leg& leg : legs_)
    if (leg.backend == backend && std::exchange(leg.said, false)) leg.forgotten = true;
}

Exemption orphan_exemption(const Orphan& orphan, const Protection& protection) {
  const SessionEntry& entry = orphan.entry;
  if (protection.superusers() && entry.superuser) return Exemption::superuser;
  if (protection.user(*entry.view.who)) return Exemption::protected_user;
  if (protection.client(*entry.view.who)) return Exemption::protected_client;
  if (protection.entry(*entry.view.who)) return Exemption::protected_entry;
  if (orphan.row.wait_event == "SyncRep") return Exemption::sync_replication;
  if (entry.view.facts.commit_outstanding) return Exemption::commit;
  return Exemption::none;
}

Verdict orphan_verdict(const Orphan& orphan, const Protection& protection, bool may_act,
                       VerdictId id) {
  Verdict verdict;
  verdict.id = std::move(id);
  verdict.rule = orphan_rule;
  verdict.target = Target::orphan;
  verdict.kind = config::RuleKind::session_age;
  verdict.action =
      may_act && orphan.unproven.empty() ? config::Action::terminate : config::Action::observe;
  verdict.counter = proxy::JudgedCounter::session;
  verdict.measured = orphan.since;
  verdict.grace = grace;
  verdict.exemption = orphan_exemption(orphan, protection);
  verdict.session = orphan.entry;
  verdict.server_identity = orphan.identity;
  return verdict;
}

}  // namespace pgleash::watchdog
