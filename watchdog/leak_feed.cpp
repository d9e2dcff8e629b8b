#include "watchdog/leak_feed.hpp"

#include <algorithm>

namespace pgleash::watchdog {
namespace {

using protocol::SessionState;

bool counts(const proxy::SessionView& view) noexcept {
  return view.facts.state != SessionState::starting &&
         view.facts.state != SessionState::copy_both && !view.who->replication &&
         !view.facts.listening;
}

/// Since when a session waits for its client with nothing begun but a transaction; now for one that
/// is at work.
Instant last_use(const protocol::SessionFacts& facts, Instant now) noexcept {
  switch (facts.state) {
    case SessionState::idle:
    case SessionState::idle_in_transaction:
    case SessionState::aborted:
      return facts.state_since;
    default:
      return now;
  }
}

bool same_group(const proxy::SessionIdentity& a, const proxy::SessionIdentity& b) {
  return a.application == b.application && a.user == b.user && a.database == b.database;
}

}  // namespace

void LeakFeed::feed(const Snapshot& snapshot) {
  ++snapshot_;
  for (const SessionEntry& entry : snapshot.sessions) {
    const proxy::SessionView& view = entry.view;
    if (!counts(view) || view.who->pooler) continue;
    const Instant used = std::min(last_use(view.facts, snapshot.now), snapshot.now);
    auto [at, fresh] = known_.try_emplace(proxy::number(view.id));
    Known& known = at->second;
    known.seen = snapshot_;
    if (!fresh && known.who != view.who) {
      if (!same_group(*known.who, *view.who)) {
        detector_.closed(known.handle, snapshot.now);
        fresh = true;
      }
      known.who = view.who;
    }
    if (fresh) {
      known.who = view.who;
      known.handle = detector_.opened({proxy::number(view.id), view.who->database, view.who->user,
                                       view.who->application, view.who->client.address, used},
                                      snapshot.now);
    } else if (used > known.last_used) {
      detector_.used(known.handle, used);
    }
    known.last_used = used;
  }
  std::erase_if(known_, [&](const auto& item) {
    if (item.second.seen == snapshot_) return false;
    detector_.closed(item.second.handle, snapshot.now);
    return true;
  });
}

SlotUse LeakFeed::slots(const Snapshot& snapshot) noexcept {
  SlotUse slots;
  slots.used = static_cast<std::uint32_t>(snapshot.sessions.size() + snapshot.direct.size());
  if (snapshot.max_connections > snapshot.reserved_connections)
    slots.limit = snapshot.max_connections - snapshot.reserved_connections;
  return slots;
}

}  // namespace pgleash::watchdog
