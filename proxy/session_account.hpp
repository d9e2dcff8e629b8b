#pragma once

#include "proxy/session.hpp"

#include <algorithm>

namespace pgleash::proxy {

/// The client has a transaction open, and the server nothing to do.
[[nodiscard]] inline bool idles_in_transaction(const Session& session) noexcept {
  const protocol::SessionState state = session.tracker.facts().state;
  return state == protocol::SessionState::idle_in_transaction ||
         state == protocol::SessionState::aborted;
}

/// Books on the session's application what the session cost since it was last settled: bytes, and
/// the time in which it left a transaction idle or a result unread. To be called before the session
/// leaves such a state, at its end, and now and then: what goes on for hours must not be told of at
/// its end only. Never a step back, so that the sums are counters. The session's own thread.
inline void settle(Session& session, Instant now) noexcept {
  if (session.account == nullptr) return;
  const protocol::SessionFacts& facts = session.tracker.facts();
  session.account->sent_bytes.add(facts.backend_bytes - session.settled_bytes);
  session.settled_bytes = facts.backend_bytes;
  if (now <= session.settled) return;
  if (session.stalled_since != Instant{}) {
    const Duration unread = now - std::max(session.stalled_since, session.settled);
    session.account->stalled_microseconds.add(microseconds(unread));
  } else if (idles_in_transaction(session)) {
    const Duration idle = now - std::max(facts.state_since, session.settled);
    session.account->idle_in_transaction_microseconds.add(microseconds(idle));
  }
  session.settled = now;
}

/// From now on the session costs this application.
inline void charge(Session& session, ApplicationCounts& to, Instant now) noexcept {
  settle(session, now);
  session.account = &to;
  session.settled = std::max(session.settled, now);
}

}  // namespace pgleash::proxy
