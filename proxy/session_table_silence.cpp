#include "protocol/encode.hpp"
#include "proxy/journal.hpp"
#include "proxy/session_table.hpp"

#include <algorithm>
#include <span>
#include <utility>

// Clients who are told on their next use that their session was ended. Between the end of the
// server leg and that moment only the client's socket is left, and what it will be told.
namespace pgleash::proxy {

using protocol::SessionState;

namespace {

/// The client is done with the session by itself, and expects no answer.
bool is_terminate(protocol::Bytes bytes) {
  const auto terminate = protocol::terminate();
  return std::ranges::equal(bytes, std::as_bytes(std::span{terminate}));
}

}  // namespace

bool SessionTable::may_tell_later(const Session& session, Duration within) const noexcept {
  if (within <= Duration::zero() || untold_ >= max_untold || drain_deadline_) return false;
  const SessionState state = session.tracker.facts().state;
  const bool owed_nothing = state == SessionState::idle ||
                            state == SessionState::idle_in_transaction ||
                            state == SessionState::aborted;
  return owed_nothing && session.client.fd.open() && !session.client.ended &&
         session.client.pending.empty() &&
         session.tracker.at_boundary(protocol::Direction::to_frontend);
}

void SessionTable::tell_later(Session& session, const ErrorNotice& notice, Duration within) {
  session.untold = std::make_unique<Untold>(Untold{notice, within, {}});
  ++untold_;
  session.counters->untold.up();
}

void SessionTable::keep_silent(Session& session, Instant now) {
  session.deadline = {};
  if (settings_.journal != nullptr)
    settings_.journal->close(std::exchange(session.journal_slot, -1));
  session.untold->until = now + session.untold->within;
  silent_.push_back(session.id);
  // What it sent while the Terminate was on its way may have found the client not to be read.
  relay_.kick(session, Side::client, now);
}

void SessionTable::heard_of_untold(Session& session, protocol::Bytes bytes, Instant now) {
  end_silence(session, !is_terminate(bytes), now);
}

void SessionTable::end_silence(Session& session, bool tell, Instant now) {
  const std::unique_ptr<Untold> untold = std::exchange(session.untold, nullptr);
  --untold_;
  session.counters->untold.down();
  session.client.discard = true;
  const bool server_gone = session.phase == SessionPhase::silent;
  if (server_gone) {
    session.phase = SessionPhase::lingering;
    live_.fetch_sub(1, std::memory_order_relaxed);
  }
  if (tell) (void)tell_client(session, untold->notice, now);
  if (server_gone) {
    linger_client(session, now);
  } else {
    relay_.shut(session, Side::client);
  }
}

void SessionTable::tick_silent(Instant now) {
  const std::vector<SessionId> silent = std::exchange(silent_, {});
  for (const SessionId id : silent) {
    Session* session = find(id);
    if (session == nullptr || session->phase != SessionPhase::silent) continue;
    if (now < session->untold->until && !drain_deadline_) {
      silent_.push_back(id);
    } else {
      end_silence(*session, true, now);
    }
  }
}

}  // namespace pgleash::proxy
