#include "protocol/messages.hpp"
#include "protocol/session_tracker.hpp"

#include <utility>

namespace pgleash::protocol {

/// What the backend's messages do: FrameScanner's handler for one chunk.
struct SessionTracker::BackendMessages {
  SessionTracker& tracker;
  Instant now;
  TrackerEvents& events;
  Changes changes{};

  std::uint32_t header(char type, std::uint32_t body);
  void body(char type, Bytes prefix, std::size_t end);
  void whole(char /*type*/) {}
  void changed_state();

 private:
  void answer(bool expected);
  void authentication(Bytes body);
  void parameter_status(Bytes body);
  void error(Bytes prefix);
  void statement_complete(Bytes tag);
  void command_tag(Bytes tag, Outstanding statement);
  void claim(Bytes tag);
  void statement_ends();
  void ready(Bytes body, std::size_t end);
  void take_status(TransactionStatus status, bool request_ended);
};

std::uint32_t SessionTracker::BackendMessages::header(char type, std::uint32_t body) {
  auto& flow = tracker.flow_;
  switch (type) {
    case 'D':
    case 'd':
      ++tracker.facts_.request_rows;
      break;
    case 'T':
      answer(tracker.up_ && flow.row_description());
      break;
    case 'C':
      return std::min(body, read_limit::command_tag);
    case 'Z':
      return std::min(body, 1U);
    case '1':
      answer(tracker.up_ && flow.complete(Kind::parse));
      break;
    case '2':
      answer(tracker.up_ && flow.complete(Kind::bind));
      break;
    case '3':
      answer(tracker.up_ && flow.complete(Kind::close));
      break;
    case 'n':
      answer(tracker.up_ && flow.complete(Kind::describe));
      break;
    case 'I':
    case 's':
      statement_complete({});
      break;
    case 'G':
      answer(tracker.up_ && flow.copy_begins(CopyMode::in));
      break;
    case 'H':
      answer(tracker.up_ && flow.copy_begins(CopyMode::out));
      break;
    case 'W':
      answer(tracker.up_ && flow.copy_begins(CopyMode::both));
      break;
    case 'c':
      answer(tracker.up_ && flow.copy_done());
      break;
    case 'V':
      answer(tracker.up_ && flow.function_call_response());
      break;
    case 'E':
      return std::min(body, read_limit::error_response);
    case 'S':
      return std::min(body, read_limit::parameter_status);
    case 'K':
      return std::min(body, read_limit::backend_key);
    case 'R':
      return std::min(body, read_limit::authentication);
    case 'v':
      return std::min(body, read_limit::negotiate_version);
    case 'N':
    case 'A':
    case 't':
      break;
    default:
      answer(false);
      break;
  }
  return FrameScanner::not_wanted;
}

void SessionTracker::BackendMessages::body(char type, Bytes prefix, std::size_t end) {
  switch (type) {
    case 'C':
      statement_complete(prefix);
      break;
    case 'Z':
      ready(prefix, end);
      break;
    case 'E':
      error(prefix);
      break;
    case 'S':
      parameter_status(prefix);
      break;
    case 'K':
      if (const auto key = decode_backend_key(prefix)) events.backend_key(key->pid, key->secret);
      break;
    case 'R':
      authentication(prefix);
      break;
    default:
      if (const auto minor = decode_negotiate_version(prefix)) events.negotiated_minor(*minor);
      break;
  }
}

void SessionTracker::BackendMessages::answer(bool expected) {
  if (!expected) tracker.anomaly();
  changed_state();
}

void SessionTracker::BackendMessages::changed_state() {
  if (!tracker.refresh_state()) return;
  tracker.touch_state(now);
  changes.state = true;
}

void SessionTracker::BackendMessages::authentication(Bytes body) {
  const auto request = decode_authentication(body);
  if (tracker.up_ || !request) {
    tracker.anomaly();
    return;
  }
  switch (*request) {
    case Authentication::ok:
      changes.unchallenged_login |= !tracker.facts_.challenged;
      break;
    case Authentication::sasl_continue:
    case Authentication::sasl_final:
      break;  // proves nothing by itself: the challenge is what came before
    default:
      tracker.facts_.challenged = true;
      break;
  }
}

void SessionTracker::BackendMessages::parameter_status(Bytes body) {
  const auto parameter = decode_parameter_status(body);
  if (!parameter) return;
  if (!tracker.up_ && parameter->name == "is_superuser") {
    tracker.facts_.superuser_at_login = parameter->value == "on";
  }
  events.parameter_status(parameter->name, parameter->value);
}

void SessionTracker::BackendMessages::error(Bytes prefix) {
  const ErrorSummary error = decode_error(prefix);
  events.server_error(error.severity, error.sqlstate);
  if (error.fatal()) {
    tracker.closing_ = true;
    changes.fatal = true;
    changed_state();
    return;
  }
  tracker.unlisten_to_come_ = false;  // whatever ran in this transaction is undone
  const bool expected = tracker.up_ && tracker.flow_.error();
  if (expected) statement_ends();
  answer(expected);
}

void SessionTracker::BackendMessages::statement_complete(Bytes tag) {
  const auto statement = tracker.up_ ? tracker.flow_.statement_complete() : std::nullopt;
  if (statement) {
    statement_ends();
    command_tag(tag, *statement);
  }
  answer(statement.has_value());
}

void SessionTracker::BackendMessages::statement_ends() {
  ++tracker.facts_.mark.request;
  tracker.facts_.request_since = now;
}

void SessionTracker::BackendMessages::command_tag(Bytes tag, Outstanding statement) {
  auto& facts = tracker.facts_;
  const auto is = [tag](std::string_view text) { return is_command_tag(tag, text); };
  const bool rollback = is("ROLLBACK");
  if (is("COMMIT") || is("PREPARE TRANSACTION") ||
      (rollback && !statement.has(Outstanding::savepoint_rollback))) {
    // If the request leaves a transaction open (AND CHAIN), then it is another one, as old as this
    // moment.
    tracker.transaction_ended_ = true;
    facts.transaction_since = now;
    facts.dump_transaction = facts.exported_snapshot = false;
    facts.marked = false;
  } else if (is("BEGIN") || is("START TRANSACTION") || is("SET")) {
    facts.dump_transaction |= statement.has(Outstanding::dump_snapshot);
  } else if (is("LISTEN")) {
    facts.listening = true;
    tracker.unlisten_to_come_ = false;
  } else if (is("DISCARD ALL") || (is("UNLISTEN") && statement.has(Outstanding::unlistens_all))) {
    tracker.unlisten_to_come_ = true;
  }
  if (rollback) tracker.unlisten_to_come_ = false;
  const StatementTraits& traits = facts.statement;
  if (traits.exports_snapshot || traits.starts_backup || traits.stops_backup) claim(tag);
}

/// What was forwarded last is what is answered, unless more is on its way: a claim made in the
/// middle of a pipeline is not heard.
void SessionTracker::BackendMessages::claim(Bytes tag) {
  auto& facts = tracker.facts_;
  constexpr std::string_view select = "SELECT ";
  const std::string_view seen{reinterpret_cast<const char*>(tag.data()), tag.size()};
  if (!seen.starts_with(select) || tracker.flow_.queue().statements() > 1) return;
  facts.exported_snapshot |= facts.statement.exports_snapshot;
  if (facts.statement.starts_backup) facts.backup_running = true;
  if (facts.statement.stops_backup) facts.backup_running = false;
}

void SessionTracker::BackendMessages::ready(Bytes body, std::size_t end) {
  const auto said = decode_ready(body);
  if (!said) tracker.anomaly();
  const TransactionStatus status = said.value_or(tracker.facts_.transaction);
  bool ended = false;
  if (!tracker.up_) {
    tracker.up_ = true;
    changes.session_up = true;
  } else {
    const auto outcome = tracker.flow_.ready();
    ended =
        outcome == MessageFlow::Ready::ends_request || outcome == MessageFlow::Ready::out_of_step;
    if (outcome == MessageFlow::Ready::unexpected || outcome == MessageFlow::Ready::out_of_step)
      tracker.anomaly();
  }
  if (ended) ++tracker.facts_.mark.request;
  const bool moved = status != tracker.facts_.transaction;
  take_status(status, ended);
  if (tracker.flow_.open()) {
    tracker.start_clock(now, tracker.facts_.backend_bytes + end);
  } else if (ended && tracker.clean_request_ && tracker.flow_.settled()) {
    tracker.facts_.degraded = false;
  }
  const bool changed = tracker.refresh_state();
  if (changed || moved) {
    tracker.touch_state(now);
    changes.state = true;
  }
}

/// The byte of ReadyForQuery is the only source of the transaction's state.
void SessionTracker::BackendMessages::take_status(TransactionStatus status, bool request_ended) {
  auto& facts = tracker.facts_;
  const auto before = std::exchange(facts.transaction, status);
  const bool another = request_ended && std::exchange(tracker.transaction_ended_, false);
  if (status == TransactionStatus::idle) {
    if (request_ended || before != TransactionStatus::idle) tracker.end_transaction();
    tracker.first_is_sure_ = true;
    if (std::exchange(tracker.unlisten_to_come_, false)) facts.listening = false;
  } else if (another) {
    // Its first statement may have been a part of that request, so the next one need not be the
    // first.
    tracker.end_transaction();
    tracker.first_is_sure_ = false;
  } else if (before == TransactionStatus::idle) {
    ++facts.mark.transaction;
  }
}

Changes SessionTracker::on_backend(Bytes bytes, Instant now, TrackerEvents& events) {
  if (bytes.empty()) return {};
  BackendMessages messages{*this, now, events};
  if (!backend_.feed(bytes, messages)) {
    closing_ = true;
    messages.changes.unframeable = true;
    messages.changed_state();
  }
  facts_.backend_bytes += bytes.size();
  facts_.last_backend_byte = now;
  refresh_counts();
  return messages.changes;
}

}  // namespace pgleash::protocol
