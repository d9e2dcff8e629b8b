#include "protocol/session_tracker.hpp"

namespace pgleash::protocol {

std::string_view name(SessionState state) noexcept {
  switch (state) {
    case SessionState::starting:
      return "starting";
    case SessionState::idle:
      return "idle";
    case SessionState::idle_in_transaction:
      return "idle in transaction";
    case SessionState::aborted:
      return "idle in transaction (aborted)";
    case SessionState::busy:
      return "active";
    case SessionState::fastpath:
      return "fastpath function call";
    case SessionState::pipeline_flushed:
      return "pipeline flushed";
    case SessionState::pipeline_open:
      return "pipeline open";
    case SessionState::pipeline_failed:
      return "pipeline failed";
    case SessionState::copy_in:
      return "copy in";
    case SessionState::copy_out:
      return "copy out";
    case SessionState::copy_both:
      return "copy both";
    case SessionState::closing:
      return "closing";
  }
  return "unknown";
}

SessionTracker::SessionTracker(StatementTexts& texts, Instant now) : texts_(&texts) {
  facts_.state_since = facts_.request_since = facts_.transaction_since = now;
  facts_.last_frontend_byte = facts_.last_backend_byte = now;
}

bool SessionTracker::at_boundary(Direction direction) const noexcept {
  return (direction == Direction::to_backend ? frontend_ : backend_).at_boundary();
}

std::optional<std::size_t> SessionTracker::message_left(Direction direction,
                                                        Bytes next) const noexcept {
  return (direction == Direction::to_backend ? frontend_ : backend_).message_left(next);
}

bool SessionTracker::queue_full() const noexcept {
  return flow_.queue().full();
}

const StatementTexts::Ref& SessionTracker::last_statement() const noexcept {
  return last_statement_;
}

const StatementTexts::Ref& SessionTracker::first_of_transaction() const noexcept {
  return first_of_transaction_;
}

SessionState SessionTracker::derive_state() const noexcept {
  if (closing_) return SessionState::closing;
  if (!up_) return terminated_ ? SessionState::closing : SessionState::starting;
  const SessionState state = state_of_flow();
  if (!terminated_) return state;
  // What was asked for before Terminate is still done; a server that waits for the client finds it
  // at once.
  switch (state) {
    case SessionState::busy:
    case SessionState::fastpath:
    case SessionState::copy_out:
    case SessionState::pipeline_open:
      return state;
    default:
      return SessionState::closing;
  }
}

SessionState SessionTracker::state_of_flow() const noexcept {
  switch (flow_.copy()) {
    case CopyMode::none:
      break;
    case CopyMode::in:
      // Behind CopyDone the server works on: triggers, constraints, the end of the statement.
      if (flow_.queue().copy_ends() == 0) return SessionState::copy_in;
      break;
    case CopyMode::out:
      return SessionState::copy_out;
    case CopyMode::both:
      return SessionState::copy_both;
  }
  if (flow_.skipping()) return SessionState::pipeline_failed;
  if (!flow_.queue().empty()) {
    const Outstanding front = flow_.queue().front();
    if (front.kind() == Kind::function_call) return SessionState::fastpath;
    if (front.extended() && !flow_.flushed()) return SessionState::pipeline_open;
    return SessionState::busy;
  }
  if (flow_.extended_open()) {
    return flow_.flushed() ? SessionState::pipeline_flushed : SessionState::pipeline_open;
  }
  if (facts_.transaction == TransactionStatus::idle) return SessionState::idle;
  return facts_.transaction == TransactionStatus::failed ? SessionState::aborted
                                                         : SessionState::idle_in_transaction;
}

/// A transaction is over; the next one's first statement is known only if it was not forwarded
/// before.
void SessionTracker::end_transaction() noexcept {
  ++facts_.mark.transaction;
  facts_.dump_transaction = facts_.exported_snapshot = false;
  const std::uint32_t waiting = flow_.queue().statements();
  first_to_come_ = waiting == 0;
  if (waiting == 1) {
    first_of_transaction_ = last_statement_;
  } else {
    first_of_transaction_ = {};
  }
  only_begun_ = first_of_transaction_ && first_of_transaction_.traits().only_starts;
  facts_.marked = first_of_transaction_ && first_of_transaction_.traits().marked;
}

}  // namespace pgleash::protocol
