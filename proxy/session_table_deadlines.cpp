#include "proxy/in_band_step.hpp"
#include "proxy/session_table.hpp"

#include <utility>

// Deadlines of logins, graces and last words; the drain.
namespace pgleash::proxy {

using protocol::SessionState;

void SessionTable::watch(Session& session, Instant deadline) {
  const bool known = session.deadline != Instant{};
  session.deadline = deadline;
  if (!known) watched_.push_back(session.id);
  deadline_set_();
}

bool SessionTable::tick(Instant now) {
  const std::vector<SessionId> watched = std::exchange(watched_, {});
  for (const SessionId id : watched) {
    Session* session = find(id);
    if (session == nullptr || session->deadline == Instant{}) continue;
    if (now < session->deadline) {
      watched_.push_back(id);
      continue;
    }
    session->deadline = {};
    (void)on_deadline(*session, now);
  }
  tick_silent(now);
  if (drain_deadline_) {
    std::vector<Session*> all;
    for (const auto& [key, session] : sessions_)
      if (session->phase == SessionPhase::up || session->phase == SessionPhase::login)
        all.push_back(session.get());
    for (Session* session : all) end_for_drain(*session, now);
  }
  return !watched_.empty() || (drain_deadline_ && !sessions_.empty());
}

bool SessionTable::on_deadline(Session& session, Instant now) {
  switch (session.phase) {
    case SessionPhase::login:
      refuse_login(session, AcceptResult::login_timeout,
                   {"08006", "canceling authentication due to timeout",
                    "the login did not finish within the listener's login_timeout", ""},
                   now);
      return true;
    case SessionPhase::up:
      if (works_for_nobody(session)) stop_abandoned_query(session, now);
      return true;
    case SessionPhase::ending:
      close_with_reset(session.server.fd);
      server_left(session, false, now);
      return true;
    case SessionPhase::silent:
      return true;  // has a time of its own: tick_silent
    case SessionPhase::lingering:
      bury(session);
      return true;
  }
  return false;
}

void SessionTable::drain(Instant deadline, Instant now) {
  drain_deadline_ = deadline;
  (void)tick(now);
}

void SessionTable::end_for_drain(Session& session, Instant now) {
  const auto& facts = session.tracker.facts();
  const bool idle =
      facts.state == SessionState::idle && !facts.half_message && !has_unread(session.client);
  const bool late = now >= *drain_deadline_;
  if (!idle && !late) return;
  if (session.phase == SessionPhase::login) {
    refuse_login(session, AcceptResult::draining,
                 {"57P03", "pgleash is shutting down", "", "connect again"}, now);
    return;
  }
  const ErrorNotice notice{"57P01", "terminating connection due to administrator command",
                           "pgleash is shutting down", "connect again"};
  const bool whole = session.server.pending.empty() &&
                     session.tracker.at_boundary(protocol::Direction::to_backend);
  switch (first_step(KillAction::terminate, facts.state, !session.client.pending.empty(), whole)) {
    case InBandStep::end_waiting:
      (void)end_waiting(session, notice, false, EndCause::drain, now);
      return;
    case InBandStep::end_copy_in:
      (void)end_waiting(session, notice, true, EndCause::drain, now);
      return;
    case InBandStep::reset_then_cancel:
      // A COMMIT that is under way is left to finish: its answer is lost, as in any shutdown.
      if (facts.commit_outstanding || session.console) {
        (void)reset_server(session, &notice, EndCause::drain, now);
      } else {
        (void)reset_and_cancel(session, &notice, EndCause::drain, CancelOrigin::drain, now);
      }
      return;
    default:
      (void)reset_server(session, &notice, EndCause::drain, now);
      return;
  }
}

}  // namespace pgleash::proxy
