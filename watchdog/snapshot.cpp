#include "watchdog/snapshot.hpp"

#include "watchdog/direct_sessions.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace pgleash::watchdog {
namespace {

/// PostgreSQL stamps backend_start when it forks, after we accepted the client. Its clock and ours
/// tick at their own pace, hence the slack.
constexpr Duration clock_slack = std::chrono::seconds{2};

bool is_unix(const proxy::Endpoint& leg) noexcept {
  return leg.address.empty();
}

/// The pids that more than one session claims, sorted: a pooler behind us invents them.
std::vector<protocol::BackendPid> shared_pids(const std::vector<proxy::SessionView>& views) {
  std::vector<protocol::BackendPid> pids;
  pids.reserve(views.size());
  for (const auto& view : views) {
    if (view.who->pid) pids.push_back(*view.who->pid);
  }
  std::sort(pids.begin(), pids.end());
  std::vector<protocol::BackendPid> shared;
  for (std::size_t i = 1; i < pids.size(); ++i) {
    if (pids[i] == pids[i - 1]) shared.push_back(pids[i]);
  }
  return shared;
}

void take_advisory(const AdvisoryHolders& holders, Snapshot& snapshot) {
  snapshot.advisory_taken = holders.taken;
  for (SessionEntry& entry : snapshot.sessions) {
    entry.advisory_lock =
        entry.backend && holders.pids.contains(static_cast<std::int32_t>(entry.backend->pid));
  }
}

}  // namespace

std::string_view without_zone(std::string_view address) noexcept {
  return address.substr(0, address.find('%'));
}

bool same_leg(const proxy::Endpoint& leg, const ActivityRow& row) noexcept {
  return row.client_port == leg.port && row.client_addr == without_zone(leg.address);
}

std::string_view name(Mapping mapping) noexcept {
  switch (mapping) {
    case Mapping::in_band:
      return "in_band";
    case Mapping::confirmed:
      return "confirmed";
    case Mapping::by_port:
      return "by_port";
    case Mapping::conflict:
      return "conflict";
    case Mapping::none:
      break;
  }
  return "none";
}

/// The sample with its two indexes, and which rows found their session.
struct SnapshotJoin::Rows {
  const ActivitySample* sample;
  std::unordered_map<std::int32_t, std::size_t> by_pid;
  std::unordered_multimap<std::int32_t, std::size_t> by_port;  ///< made when first asked for
  bool ports_indexed = false;
  std::vector<bool> claimed;

  explicit Rows(const ActivitySample* newest) : sample(newest) {
    if (!sample) return;
    claimed.resize(sample->rows.size());
    by_pid.reserve(sample->rows.size());
    for (std::size_t i = 0; i < sample->rows.size(); ++i)
      by_pid.emplace(static_cast<std::int32_t>(sample->rows[i]->backend.pid), i);
  }

  /// Hardly any session needs it: BackendKeyData names its backend.
  void index_ports() {
    if (std::exchange(ports_indexed, true)) return;
    by_port.reserve(sample->rows.size());
    for (std::size_t i = 0; i < sample->rows.size(); ++i)
      if (sample->rows[i]->client_port >= 0) by_port.emplace(sample->rows[i]->client_port, i);
  }

  [[nodiscard]] const SharedRow* of(protocol::BackendPid pid) const {
    const auto found = by_pid.find(static_cast<std::int32_t>(pid));
    return found == by_pid.end() ? nullptr : &sample->rows[found->second];
  }

  /// A backend that started before the session did cannot serve it.
  [[nodiscard]] bool plausible(const ActivityRow& row, const proxy::SessionIdentity& who) const {
    return row.backend_age <= (sample->taken - who.connected) + clock_slack;
  }

  /// The one row of our leg's address and port; null when there is none or more than one. A port of
  /// ours may still be shown with the backend of an earlier session that has not noticed its end.
  [[nodiscard]] const SharedRow* of_leg(const proxy::SessionIdentity& who) {
    index_ports();
    const SharedRow* only = nullptr;
    const auto [first, last] = by_port.equal_range(who.leg.port);
    for (auto it = first; it != last; ++it) {
      const SharedRow& row = sample->rows[it->second];
      if (!same_leg(who.leg, *row) || !plausible(*row, who)) continue;
      if (only) return nullptr;
      only = &row;
    }
    return only;
  }

  void claim(const SharedRow& row) {
    claimed[static_cast<std::size_t>(&row - sample->rows.data())] = true;
  }
};

SnapshotJoin::SnapshotJoin(std::string server, bool monitor_configured, Namer namer)
    : server_(std::move(server)),
      monitor_configured_(monitor_configured),
      namer_(std::move(namer)) {}

void SnapshotJoin::tell_opaque(SessionEntry& entry, Known& known, Instant taken) const {
  const ActivityRow& row = *entry.row;
  if (!known.named || known.named->application_name != row.application_name) {
    auto who = std::make_shared<proxy::SessionIdentity>(*entry.view.who);
    who->user = row.user;
    who->database = row.database;
    who->application_name = row.application_name;
    who->pid = row.backend.pid;
    who->application = namer_ ? namer_(*who) : who->application_name;
    known.named = std::move(who);
  }
  entry.view.who = known.named;
  const protocol::SessionFacts seen = entry.view.facts;
  entry.view.facts = entry_of(entry.row, taken).view.facts;
  protocol::SessionFacts& facts = entry.view.facts;
  facts.last_frontend_byte = seen.last_frontend_byte;
  facts.last_backend_byte = seen.last_backend_byte;
  facts.frontend_bytes = seen.frontend_bytes;
  facts.backend_bytes = seen.backend_bytes;
  // Bytes that came since the server was asked may be the end of the state that it told of.
  facts.state_since = std::max(facts.state_since, seen.last_frontend_byte);
}

Mapping SnapshotJoin::match(SessionEntry& entry, Known& known, bool shared_pid, Rows& rows) const {
  if (known.conflict) return Mapping::conflict;
  const proxy::SessionIdentity& who = *entry.view.who;
  const bool may_show_it = rows.sample && rows.sample->taken >= who.connected;
  const auto take = [&](const SharedRow& row) {
    known.superuser = known.superuser || row->superuser;
    entry.row = row;
    entry.row_taken = rows.sample->taken;
    rows.claim(row);
  };

  // No address tells apart what comes through Unix sockets.
  if (shared_pid && is_unix(who.leg)) return Mapping::conflict;

  if (known.backend) {
    const SharedRow* row = may_show_it ? rows.of(known.backend->pid) : nullptr;
    if (row && ((*row)->backend != *known.backend || !same_leg(who.leg, **row))) {
      known.conflict = true;
      return Mapping::conflict;
    }
    // A second backend with the address of our leg: one of them is not ours.
    if (row && who.opaque && rows.of_leg(who) != row) {
      known.conflict = true;
      return Mapping::conflict;
    }
    if (row) take(*row);
    return who.pid ? Mapping::confirmed : Mapping::by_port;
  }

  if (!who.pid) {
    const SharedRow* row = may_show_it && !is_unix(who.leg) ? rows.of_leg(who) : nullptr;
    if (!row) return Mapping::none;
    known.backend = (*row)->backend;
    take(*row);
    return Mapping::by_port;
  }

  const SharedRow* row = may_show_it ? rows.of(*who.pid) : nullptr;
  if (!row) return shared_pid ? Mapping::conflict : Mapping::in_band;
  if (!same_leg(who.leg, **row) || !rows.plausible(**row, who)) {
    known.conflict = known.up && rows.sample->taken >= *known.up;
    return Mapping::conflict;
  }
  known.backend = (*row)->backend;
  take(*row);
  return Mapping::confirmed;
}

Snapshot SnapshotJoin::join(Instant now, const std::vector<proxy::SessionView>& views,
                            const ActivitySample* sample, bool monitor_up) {
  Snapshot snapshot;
  snapshot.now = now;
  snapshot.server = server_;
  snapshot.monitor_configured = monitor_configured_;
  snapshot.monitor_up = monitor_up;

  const auto shared = shared_pids(views);
  Rows rows{sample};
  snapshot.sessions.reserve(views.size());
  for (const proxy::SessionView& view : views) {
    SessionEntry& entry = snapshot.sessions.emplace_back();
    entry.view = view;
    const auto& pid = entry.view.who->pid;
    Known& known = known_[proxy::number(entry.view.id)];
    if (!known.up && entry.view.facts.state != protocol::SessionState::starting) known.up = now;
    entry.mapping =
        match(entry, known, pid && std::binary_search(shared.begin(), shared.end(), *pid), rows);
    if (entry.mapping != Mapping::conflict) entry.backend = known.backend;
    if (entry.view.who->opaque && entry.row && monitor_up)
      tell_opaque(entry, known, entry.row_taken);
    entry.superuser = entry.view.facts.superuser_at_login || known.superuser;
  }

  if (known_.size() != snapshot.sessions.size()) {
    std::unordered_set<std::uint64_t> present;
    for (const auto& entry : snapshot.sessions) present.insert(proxy::number(entry.view.id));
    std::erase_if(known_, [&](const auto& item) { return !present.contains(item.first); });
  }

  if (sample) {
    snapshot.sample_age = now - sample->taken;
    snapshot.max_connections = sample->max_connections;
    snapshot.reserved_connections = sample->reserved_connections;
    snapshot.background_processes = sample->background_processes;
    snapshot.synchronous_replication = sample->synchronous_replication;
    for (std::size_t i = 0; i < sample->rows.size(); ++i) {
      if (!rows.claimed[i]) snapshot.direct.push_back(*sample->rows[i]);
    }
    snapshot.horizon = sample->horizon;
    if (sample->advisory) take_advisory(*sample->advisory, snapshot);
  }
  snapshot.blocking = blocking_.forest(sample && sample->locks ? &*sample->locks : nullptr,
                                       snapshot.sessions, snapshot.direct);
  return snapshot;
}

}  // namespace pgleash::watchdog
