#include "watchdog/termination_plan.hpp"

#include <algorithm>
#include <array>

namespace pgleash::watchdog {

using proxy::InBandStep;
using proxy::KillAction;
using proxy::KillReport;
using proxy::KillResult;

namespace {

using namespace std::chrono_literals;

/// A backend that reads leaves within some 20 ms, a working one shortly after its next check for
/// interrupts.
constexpr std::array<Duration, 6> back_off{10ms, 20ms, 50ms, 100ms, 200ms, 500ms};
/// Before the look that follows a guard which no longer recognised the backend.
constexpr Duration parting = 100ms;

Duration pause_before(std::size_t look) noexcept {
  return back_off[std::min(look, back_off.size() - 1)];
}

/// Ended by SQL, or looked for, is only what two witnesses or the address of our own leg vouch for.
bool known_backend(const SessionEntry& session) noexcept {
  return session.backend &&
         (session.mapping == Mapping::confirmed || session.mapping == Mapping::by_port);
}

bool known_backend(const Verdict& verdict) noexcept {
  return verdict.target == Target::session ? known_backend(verdict.session)
                                           : verdict.session.backend.has_value();
}

}  // namespace

TerminationPlan::TerminationPlan(const Verdict& verdict, bool monitor_up, Instant now)
    : grace_(verdict.grace),
      sql_only_(verdict.target != Target::session),
      orphan_(verdict.target == Target::orphan),
      can_see_(monitor_up && known_backend(verdict)),
      ask_standby_(verdict.may_commit_meanwhile && !sql_only_),
      may_ask_sql_(can_see_),
      look_due_(now),
      look_until_(now) {
  begin_step();
  switch (verdict.action) {
    case config::Action::observe:
      finish(Outcome::observed);
      break;
    case config::Action::cancel:
      action_ = KillAction::cancel;
      may_ask_sql_ = false;  // it terminates
      break;
    case config::Action::escalate:
      action_ = KillAction::cancel;
      may_escalate_ = true;
      break;
    case config::Action::terminate:
      break;
  }
  if (sql_only_ && phase_ != Phase::finished) begin_by_sql();
  if (verdict.exemption != Exemption::none) finish(Outcome::exempted);
}

/// Without a monitor nobody can be asked; nothing was done, and the verdict may come again.
void TerminationPlan::begin_by_sql() noexcept {
  begun_.reset();
  phase_ = Phase::asking_sql;
  if (!can_see_) finish(Outcome::error);
}

TerminationPlan::Step TerminationPlan::next(Instant now) {
  Step step;
  if (phase_ == Phase::verifying && !can_see_ && now >= look_until_) grace_is_over();
  switch (phase_) {
    case Phase::asking_standby:
      step.kind = Kind::ask_standby;
      break;
    case Phase::carrying_out:
      if (!begun_) begun_ = now;
      step.kind = Kind::carry_out;
      step.action = action_;
      break;
    case Phase::verifying:
      step.kind = now < look_due_ ? Kind::wait : Kind::look;
      if (step.kind == Kind::wait) step.wait = look_due_ - now;
      break;
    case Phase::asking_sql:
      step.kind = Kind::guarded_sql;
      step.action = sql_only_ ? action_ : KillAction::terminate;
      break;
    case Phase::finished:
      step.kind = Kind::finish;
      step.outcome = outcome_;
      break;
  }
  return step;
}

void TerminationPlan::asked(StandbyWait waits) noexcept {
  if (phase_ != Phase::asking_standby) return;
  if (waits == StandbyWait::no) {
    phase_ = Phase::carrying_out;
  } else {
    finish(Outcome::exempted);
  }
}

void TerminationPlan::reported(const KillReport& report, Instant now) {
  if (phase_ != Phase::carrying_out || !begun_) return;
  switch (report.result) {
    case KillResult::done:
      return carried_out(report, now);
    case KillResult::recovered:
      // After our cancel this is its effect, seen late.
      return finish(acted_ ? Outcome::confirmed : Outcome::recovered);
    case KillResult::gone:
      if (!acted_) return finish(Outcome::already_gone);
      // The session ended after our cancel; whether its backend did is another question.
      may_escalate_ = false;
      action_ = KillAction::terminate;
      return can_see_ ? verify(now + grace_, now) : finish(Outcome::unverified);
    case KillResult::exempt_now:
      return finish(Outcome::exempted);
    case KillResult::untrustworthy:
    case KillResult::failed:
      return not_carried_out(report);
  }
}

void TerminationPlan::carried_out(const KillReport& report, Instant now) {
  acted_ = true;
  const bool proven = action_ == KillAction::cancel ? report.statement_ended : report.server_eof;
  if (proven) return finish(Outcome::confirmed);
  if (!can_see_ && !may_escalate_) return finish(Outcome::unverified);
  verify(*begun_ + grace_, now);
}

void TerminationPlan::not_carried_out(const KillReport& report) {
  acted_ = acted_ || report.step != InBandStep::none;
  if (may_escalate_) return escalate();  // nobody is cancelled, so nobody is given time
  if (may_ask_sql_) {
    phase_ = Phase::asking_sql;
    return;
  }
  if (report.result == KillResult::untrustworthy) return finish(Outcome::denied);
  finish(report.step == InBandStep::none ? Outcome::error : Outcome::unverified);
}

void TerminationPlan::seen(BackendSight sight, Instant now) {
  if (phase_ != Phase::verifying || !can_see_ || now < look_due_) return;
  sight_ = sight;
  const bool over = sight == BackendSight::gone ||
                    (sight == BackendSight::moved_on && action_ == KillAction::cancel);
  if (over) return finish(Outcome::confirmed);
  if (last_look_ || now >= look_until_) return grace_is_over();
  look_again(now);
}

void TerminationPlan::answered(SqlResult result, Instant now) {
  if (phase_ != Phase::asking_sql) return;
  may_ask_sql_ = false;
  switch (result) {
    case SqlResult::signalled:
      acted_ = true;
      return verify(now + grace_, now);
    case SqlResult::changed:
      if (!acted_) return finish(orphan_ ? Outcome::already_gone : Outcome::recovered);
      // The guard did not recognise it: on its way out after our step, most likely.
      verify(now, now);
      look_due_ = now + parting;
      last_look_ = true;
      return;
    case SqlResult::denied:
      return finish(Outcome::denied);
    case SqlResult::unavailable:
      return end_of_the_ladder();
  }
}

void TerminationPlan::verify(Instant until, Instant now) {
  phase_ = Phase::verifying;
  look_until_ = std::max(until, now);
  sight_.reset();
  looks_ = 0;
  look_again(now);
}

void TerminationPlan::look_again(Instant now) {
  look_due_ = can_see_ ? now + pause_before(looks_++) : look_until_;
  // The last look is due when grace ends, not a step of the back-off later; the first one is never
  // skipped.
  if (looks_ > 1) look_due_ = std::min(look_due_, std::max(look_until_, now));
}

void TerminationPlan::escalate() noexcept {
  may_escalate_ = false;
  action_ = KillAction::terminate;
  if (sql_only_) return begin_by_sql();
  begun_.reset();
  begin_step();
}

void TerminationPlan::grace_is_over() {
  if (may_escalate_) return escalate();
  if (may_ask_sql_) {
    phase_ = Phase::asking_sql;
    return;
  }
  end_of_the_ladder();
}

/// Nothing is left to try. Who was seen alive is watched on.
void TerminationPlan::end_of_the_ladder() noexcept {
  const bool seen_alive = sight_ && *sight_ != BackendSight::not_visible;
  finish(seen_alive ? Outcome::survived : Outcome::unverified);
}

void TerminationPlan::begin_step() noexcept {
  phase_ = Phase::carrying_out;
  if (!ask_standby_) return;
  phase_ = Phase::asking_standby;
  if (!can_see_) asked(StandbyWait::unknown);
}

void TerminationPlan::finish(Outcome outcome) noexcept {
  phase_ = Phase::finished;
  outcome_ = outcome;
}

}  // namespace pgleash::watchdog
