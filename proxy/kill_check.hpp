#pragma once

#include "proxy/in_band_step.hpp"

#include <optional>
#include <string>
#include <utility>

namespace pgleash::proxy {

/// All that is looked at before an act: one session at one moment, on its own thread.
struct SessionMoment {
  const protocol::SessionFacts& facts;
  Instant stalled_since{};
  bool client_spoke = false;    ///< bytes, or the end, of the client that nobody has read
  bool server_behind = false;   ///< it has not taken all that the client sent
  bool whole_to_server = true;  ///< what it was given ends at a message boundary, nothing waits
};

[[nodiscard]] inline KillReport report(KillResult result, std::string why = {}) {
  KillReport made;
  made.result = result;
  made.why = std::move(why);
  return made;
}

/// Nothing when the judged activity goes on and may be ended now; else what to report. Asked
/// without a pause before the act: pure, so that all that may come between can be tried in a test.
[[nodiscard]] inline std::optional<KillReport> objection(const SessionMoment& session,
                                                         const KillOrder& order) {
  using protocol::SessionState;
  const auto& facts = session.facts;
  if (!same_activity(order.counter, order.mark, facts.mark))
    return report(KillResult::recovered, "it moved on");
  if (facts.degraded) return report(KillResult::untrustworthy, "tracking is degraded");
  if (facts.commit_outstanding) return report(KillResult::exempt_now, "a commit is outstanding");
  if (order.only_while_idle && facts.state != SessionState::idle)
    return report(KillResult::recovered, "it is not idle any more");
  if (order.only_while_waiting && !waits_for_client(facts.state))
    return report(KillResult::recovered, "it works again");
  if (order.require_stalled && session.stalled_since != order.stalled_since)
    return report(KillResult::recovered, "the client reads again");
  // Judged because the server waits for the client: then bytes that the client has sent, and nobody
  // has read, count.
  const bool waits =
      waits_for_client(facts.state) &&
      (order.counter == JudgedCounter::state || order.only_while_idle || order.only_while_waiting);
  if (waits && session.client_spoke)
    return report(KillResult::recovered, "the client has just sent something");
  // Nor does the server wait for the client while it has not taken what the client sent.
  if (waits && session.server_behind) return report(KillResult::exempt_now, "the server is behind");
  return std::nullopt;
}

/// Exactly one outstanding request, which ends in ReadyForQuery, and the server has it whole: with
/// the client held, a cancel sent now can hit no other.
[[nodiscard]] inline bool alone_outstanding(const SessionMoment& session) noexcept {
  const auto& facts = session.facts;
  return facts.outstanding == 1 && !facts.segment_open && server_may_work(facts.state) &&
         session.whole_to_server;
}

/// Nothing is outstanding, nor can anything become so while the client is held.
[[nodiscard]] inline bool nothing_to_cancel(const SessionMoment& session) noexcept {
  return session.facts.outstanding == 0 && !server_may_work(session.facts.state);
}

}  // namespace pgleash::proxy
