#include "watchdog/terminator.hpp"

#include "watchdog/clock.hpp"
#include "watchdog/message.hpp"
#include "watchdog/termination_plan.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

namespace pgleash::watchdog {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

/// For the in-band part of a terminate: the server's end of file, or the cancel connection's.
constexpr Duration act_time = 5s;
constexpr Duration sql_time = 3s;
/// Knowing a backend is worth no more delay than this.
constexpr Duration identify_time = 250ms;
/// A sample's time is that of its last row; the first one may be that much older.
constexpr Duration sampling_time = 100ms;

proxy::KillOrder order_for(const Verdict& verdict, proxy::KillAction action) {
  proxy::KillOrder order;
  order.session = verdict.session.view.id;
  order.counter = verdict.counter;
  order.mark = verdict.mark;
  order.action = action;
  order.notice = error_notice(verdict, action);
  order.deadline =
      action == proxy::KillAction::cancel ? std::max<Duration>(verdict.grace, 1s) : act_time;
  order.notify_within = verdict.notify_within;
  order.only_while_idle =
      verdict.kind == config::RuleKind::session_age || verdict.kind == config::RuleKind::leak;
  order.only_while_waiting = verdict.waits_for_client && action == proxy::KillAction::terminate;
  order.require_stalled = verdict.kind == config::RuleKind::stalled;
  order.stalled_since = verdict.session.view.stalled_since;
  return order;
}

/// What SQL is to compare: who is ended only while he waits, only in that very state.
proxy::JudgedCounter guarded_counter(const Verdict& verdict) {
  return verdict.waits_for_client ? proxy::JudgedCounter::state : verdict.counter;
}

/// When the judged activity began. A row of the server that is older tells of another one.
Instant begun(const Verdict& verdict) {
  const protocol::SessionFacts& facts = verdict.session.view.facts;
  switch (guarded_counter(verdict)) {
    case proxy::JudgedCounter::state:
      return facts.state_since;
    case proxy::JudgedCounter::request:
      return facts.request_since;
    case proxy::JudgedCounter::transaction:
      return facts.transaction_since;
    case proxy::JudgedCounter::session:
      return verdict.session.view.who->connected;
  }
  return Instant::max();
}

/// Without columns nothing is judged the same by SQL: guarded SQL ends nothing then, and only death
/// is proof.
JudgedColumns columns_of(const Verdict& verdict) {
  // An opaque session was found by the address of our leg alone: so that is compared once more.
  std::optional<proxy::Endpoint> leg;
  if (verdict.target == Target::opaque) {
    leg = verdict.session.view.who->leg;
    leg->address.resize(without_zone(leg->address).size());
  }
  if (!verdict.actor.empty() && verdict.counter == proxy::JudgedCounter::session) {
    JudgedColumns whatever_it_does;
    whatever_it_does.counter = proxy::JudgedCounter::session;
    whatever_it_does.leg = std::move(leg);
    return whatever_it_does;
  }
  if (!verdict.session.row || verdict.session.row_taken < begun(verdict) + sampling_time) return {};
  JudgedColumns columns = judged_columns(guarded_counter(verdict), *verdict.session.row);
  columns.leg = std::move(leg);
  columns.spare_listeners =
      (verdict.target == Target::direct || verdict.target == Target::opaque) &&
      (verdict.kind == config::RuleKind::idle || verdict.kind == config::RuleKind::session_age ||
       verdict.kind == config::RuleKind::leak);
  return columns;
}

}  // namespace

Terminator::Terminator(asio::any_io_executor executor, const config::Server& server,
                       proxy::SessionDirectory& sessions, KillConnection* kill_connection,
                       AuditLog* audit, FingerprintCache& fingerprints)
    : executor_(std::move(executor)),
      server_(server),
      sessions_(sessions),
      kill_connection_(kill_connection),
      audit_(audit),
      fingerprints_(fingerprints) {}

AuditRecord Terminator::record_of(AuditEvent event, const Verdict& verdict, config::Mode mode,
                                  const SessionEvidence& evidence) const {
  AuditRecord line = audit_record(event, verdict, mode, wall_now());
  line.server = server_.name;
  line.evidence = evidence;
  return line;
}

Task<TerminationRecord> Terminator::terminate(Verdict verdict, config::Mode mode, bool monitor_up) {
  TerminationRecord record;
  record.evidence = co_await evidence_of(verdict.session, verdict.target);
  AuditRecord line = record_of(AuditEvent::intent, verdict, mode, record.evidence);
  if (audit_ == nullptr) {
    record.why = "no audit log: nothing is ended without one";
    co_return record;
  }
  const bool on_disk = co_await audit_->write(line);
  if (!on_disk) {
    record.why = "the audit log could not be written: nothing is ended without it";
    // A disk that only was too slow may have the intent all the same: then its outcome must follow.
    line.event = AuditEvent::outcome;
    line.ts = wall_now();
    line.outcome = name(record.outcome);
    line.step = proxy::name(record.step);
    line.why = record.why;
    (void)co_await audit_->write_in_any_case(line);
    co_return record;
  }

  const JudgedColumns columns = columns_of(verdict);
  const Instant start = now();
  TerminationPlan plan{verdict, monitor_up && kill_connection_ != nullptr, start};
  for (;;) {
    const TerminationPlan::Step step = plan.next(now());
    if (step.kind == TerminationPlan::Kind::finish) {
      record.outcome = step.outcome;
      break;
    }
    switch (step.kind) {
      case TerminationPlan::Kind::ask_standby: {
        const TerminationPlan::StandbyWait waits =
            co_await kill_connection_->standby_wait(*verdict.session.backend, now() + sql_time);
        if (waits != TerminationPlan::StandbyWait::no)
          record.why = waits == TerminationPlan::StandbyWait::yes
                           ? "it waits for a standby"
                           : "whether it waits for a standby is unknown";
        plan.asked(waits);
        break;
      }
      case TerminationPlan::Kind::carry_out: {
        proxy::KillOrder order = order_for(verdict, step.action);
        const proxy::KillReport report = co_await sessions_.carry_out(std::move(order));
        if (report.step != proxy::InBandStep::none) record.step = report.step;
        record.client_told = record.client_told || report.client_told;
        record.told_on_next_use = record.told_on_next_use || report.told_on_next_use;
        if (!report.why.empty()) record.why = report.why;
        plan.reported(report, now());
        break;
      }
      case TerminationPlan::Kind::look: {
        const BackendSight sight =
            co_await kill_connection_->look(*verdict.session.backend, columns, now() + sql_time);
        plan.seen(sight, now());
        break;
      }
      case TerminationPlan::Kind::guarded_sql: {
        const KillConnection::Answer answer = co_await ask_server(verdict, step.action, columns);
        record.sql = record.sql || answer.result == TerminationPlan::SqlResult::signalled;
        if (!answer.why.empty()) record.why = answer.why;
        plan.answered(answer.result, now());
        break;
      }
      case TerminationPlan::Kind::wait: {
        asio::steady_timer timer{executor_, step.wait};
        (void)co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
        break;
      }
      case TerminationPlan::Kind::finish:
        break;
    }
  }
  record.took = now() - start;
  line.event = AuditEvent::outcome;
  line.ts = wall_now();
  line.outcome = name(record.outcome);
  line.step = record.step == proxy::InBandStep::none && record.sql ? "guarded_sql"
                                                                   : proxy::name(record.step);
  if (record.told_on_next_use) line.notify = "on_next_use";
  line.why = record.why;
  // The act is done, and counted: a disk that fails now is seen in the audit log's own counter, and
  // the line follows when it is well again.
  (void)co_await audit_->write_in_any_case(line);
  co_return record;
}

Task<void> Terminator::identify(Verdict& verdict) {
  SessionEntry& session = verdict.session;
  const proxy::SessionIdentity& who = *session.view.who;
  if (kill_connection_ == nullptr || verdict.target != Target::session || session.backend ||
      session.mapping != Mapping::in_band || !who.pid || who.leg.address.empty())
    co_return;
  proxy::Endpoint leg = who.leg;
  leg.address.resize(without_zone(leg.address).size());
  session.backend =
      co_await kill_connection_->identify(*who.pid, std::move(leg), now() + identify_time);
  if (session.backend) session.mapping = Mapping::confirmed;
}

Task<KillConnection::Answer> Terminator::ask_server(const Verdict& verdict,
                                                    proxy::KillAction action,
                                                    JudgedColumns columns) {
  const Instant deadline = now() + sql_time;
  const BackendId backend = *verdict.session.backend;
  if (verdict.target == Target::orphan) {
    proxy::Endpoint leg = verdict.session.view.who->leg;
    leg.address.resize(without_zone(leg.address).size());
    co_return co_await kill_connection_->terminate_orphan(backend, *verdict.server_identity,
                                                          std::move(leg), deadline);
  }
  if (action == proxy::KillAction::cancel)
    co_return co_await kill_connection_->cancel(backend, std::move(columns), deadline);
  co_return co_await kill_connection_->terminate(backend, std::move(columns), deadline);
}

Task<SessionEvidence> Terminator::evidence_of(const SessionEntry& entry, Target target) {
  std::optional<proxy::StatementEvidence> statements;
  if (target == Target::session) {
    statements = co_await sessions_.evidence(entry.view.id);
  } else {
    statements = statements_of(entry, shown_statement);
  }
  co_return session_evidence(entry, statements, now(), fingerprints_);
}

Task<bool> Terminator::is_gone(const Verdict& verdict) {
  if (kill_connection_ == nullptr || !verdict.session.backend) co_return false;
  const JudgedColumns columns = columns_of(verdict);
  const BackendSight sight =
      co_await kill_connection_->look(*verdict.session.backend, columns, now() + sql_time);
  // A cancel is done when its statement is.
  co_return sight == BackendSight::gone ||
      (sight == BackendSight::moved_on && verdict.action == config::Action::cancel);
}

Task<SessionEvidence> Terminator::write(AuditEvent event, Verdict verdict, config::Mode mode,
                                        std::optional<Outcome> outcome, std::string why) {
  SessionEvidence evidence = co_await evidence_of(verdict.session, verdict.target);
  if (audit_ == nullptr) co_return evidence;
  AuditRecord line = record_of(event, verdict, mode, evidence);
  if (outcome) line.outcome = name(*outcome);
  line.why = std::move(why);
  // What has been done is told, if late; what was only seen is not worth waiting for.
  if (event == AuditEvent::resolved) {
    (void)co_await audit_->write_in_any_case(line);
  } else {
    (void)co_await audit_->write(line);
  }
  co_return evidence;
}

}  // namespace pgleash::watchdog
