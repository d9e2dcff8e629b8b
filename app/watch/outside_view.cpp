#include "app/watch/outside_view.hpp"

#include "watchdog/direct_sessions.hpp"

#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::app {

using watchdog::ActivityRow;
using watchdog::SessionEntry;
using watchdog::Snapshot;

namespace {

bool same_identity(const proxy::SessionIdentity& who, const ActivityRow& row) {
  return who.user == row.user && who.database == row.database &&
         who.application_name == row.application_name;
}

bool begins_with_word(std::string_view text, std::string_view upper) {
  const auto start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || text.size() - start < upper.size()) return false;
  for (std::size_t i = 0; i < upper.size(); ++i)
    if ((text[start + i] & ~0x20) != upper[i]) return false;
  return true;
}

}  // namespace

OutsideView::OutsideView(std::string server, const config::Identity& identity)
    : server_(std::move(server)), names_(identity) {}

void OutsideView::Seen::steady(watchdog::ServerTime now, Instant& measured) {
  if (server == now && ours != Instant{}) {
    measured = ours;
  } else {
    server = now;
    ours = measured;
  }
}

void OutsideView::remember(SessionEntry& entry, const ActivityRow& row) {
  Known& known = known_[proxy::number(entry.view.id)];
  known.seen = round_;
  if (!known.who || !same_identity(*known.who, row)) {
    auto who = std::make_shared<proxy::SessionIdentity>(*entry.view.who);
    who->server = server_;
    who->application =
        names_.resolve({row.application_name, {}, row.client_addr, row.user, row.database});
    known.who = std::move(who);
  }
  entry.view.who = known.who;
  auto& facts = entry.view.facts;
  known.state.steady(row.state_change, facts.state_since);
  known.request.steady(row.query_start, facts.request_since);
  if (row.xact_start) known.transaction.steady(*row.xact_start, facts.transaction_since);
  facts.last_frontend_byte = facts.last_backend_byte = facts.state_since;
  // As far as its last statements were seen; a LISTEN between two samples is not.
  if (begins_with_word(row.query, "LISTEN")) known.listening = true;
  if (begins_with_word(row.query, "UNLISTEN") || begins_with_word(row.query, "DISCARD"))
    known.listening = false;
  facts.listening = known.listening;
}

Snapshot OutsideView::snapshot(const watchdog::ActivitySample& sample,
                               std::optional<Duration> fingerprint_from) {
  ++round_;
  Snapshot snapshot;
  snapshot.now = sample.taken;
  snapshot.server = server_;
  snapshot.outside = true;
  snapshot.monitor_up = true;
  snapshot.sample_age = Duration::zero();
  snapshot.max_connections = sample.max_connections;
  snapshot.reserved_connections = sample.reserved_connections;
  snapshot.background_processes = sample.background_processes;
  snapshot.synchronous_replication = sample.synchronous_replication;
  snapshot.horizon = sample.horizon;
  if (sample.advisory) snapshot.advisory_taken = sample.advisory->taken;

  snapshot.sessions.reserve(sample.rows.size());
  for (const watchdog::SharedRow& shown : sample.rows) {
    const ActivityRow& row = *shown;
    SessionEntry& entry = snapshot.sessions.emplace_back(watchdog::entry_of(shown, sample.taken));
    entry.mapping = watchdog::Mapping::confirmed;  // the row itself is the session
    remember(entry, row);
    if (sample.advisory)
      entry.advisory_lock =
          sample.advisory->pids.contains(static_cast<std::int32_t>(row.backend.pid));
    const bool works = entry.view.facts.outstanding > 0;
    if (works && fingerprint_from && row.query_age > *fingerprint_from && !row.query.empty())
      entry.fingerprint = std::stoull(
          fingerprints_.of(row.query, row.query.size() + 4 > watchdog::shown_last_statement).hash,
          nullptr, 16);
  }
  std::erase_if(known_, [&](const auto& item) { return item.second.seen != round_; });
  const std::vector<ActivityRow> nobody;
  snapshot.blocking =
      blocking_.forest(sample.locks ? &*sample.locks : nullptr, snapshot.sessions, nobody);
  return snapshot;
}

}  // namespace pgleash::app
