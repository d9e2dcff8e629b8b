#include "protocol/message_flow.hpp"

namespace pgleash::protocol {

MessageFlow::Sent MessageFlow::send(Outstanding message) {
  const bool sync = message.kind() == Kind::sync;
  // After an error the server discards all but Sync; CopyDone and CopyFail go with late_copy_ends
  // below.
  if (discards(message.kind())) return Sent::discarded;
  const bool room = queue_.push(message);
  if (message.extended()) {
    extended_open_ = true;
    ++unflushed_;
  } else if (message.ends_in_ready()) {
    extended_open_ = false;
    unflushed_ = 0;
    if (sync) skipping_ = false;  // the server resumes here; what follows is for its eyes again
  } else {
    ++unflushed_;
    drop_late_copy_ends();
  }
  return room ? Sent::queued : Sent::lost;
}

bool MessageFlow::complete(Kind kind) {
  if (queue_.empty() || queue_.front().kind() != kind) return false;
  real_answer();
  queue_.pop();
  drop_late_copy_ends();
  return true;
}

bool MessageFlow::row_description() {
  if (queue_.empty()) return false;
  switch (queue_.front().kind()) {
    case Kind::describe:
      return complete(Kind::describe);
    case Kind::query:
    case Kind::execute:
      return real_answer();
    default:
      return false;
  }
}

std::optional<Outstanding> MessageFlow::statement_complete() {
  if (queue_.empty() || !queue_.front().runs_statement()) return std::nullopt;
  real_answer();
  const Outstanding statement = queue_.front();
  const bool expected = copy_ != CopyMode::in || finish_copy_in();
  if (statement.kind() == Kind::execute) queue_.pop();
  copy_ = CopyMode::none;
  drop_late_copy_ends();
  return expected ? std::optional{statement} : std::nullopt;
}

/// COPY FROM STDIN is over: behind its statement, takes out the first CopyDone and the Syncs before
/// it, which the server swallowed. False when there is no CopyDone.
bool MessageFlow::finish_copy_in() {
  const Outstanding statement = queue_.front();
  queue_.pop();
  while (!queue_.empty() && queue_.front().kind() == Kind::sync) queue_.pop();
  const bool done = !queue_.empty() && queue_.front().ends_copy();
  if (done) queue_.pop();
  queue_.push_front(statement);
  return done;
}

bool MessageFlow::copy_begins(CopyMode mode) {
  if (queue_.empty() || !queue_.front().runs_statement()) return false;
  copy_ = mode;
  return real_answer();
}

bool MessageFlow::copy_done() {
  if (copy_ == CopyMode::both) return true;  // the frontend may go on for a while
  if (copy_ != CopyMode::out) return false;
  copy_ = CopyMode::none;
  return true;
}

bool MessageFlow::function_call_response() {
  if (queue_.empty() || queue_.front().kind() != Kind::function_call) return false;
  return real_answer();
}

bool MessageFlow::error() {
  if (queue_.empty()) return false;
  real_answer();
  if (queue_.front().extended()) {
    fail_extended();
  } else {
    fail_simple();
  }
  return true;
}

/// The server discards all up to the next Sync. Where COPY FROM STDIN failed, the Syncs sent before
/// CopyDone may have been read in copy mode, and so be swallowed: whether they were can not be
/// seen, so they stay as maybe_sync.
void MessageFlow::fail_extended() {
  std::uint32_t maybe = 0;
  if (copy_ == CopyMode::in) {
    while (!queue_.empty() && !queue_.front().ends_copy()) {
      if (queue_.front().kind() == Kind::sync) ++maybe;
      queue_.pop();
    }
  }
  copy_ = CopyMode::none;
  while (!queue_.empty() && queue_.front().kind() != Kind::sync) queue_.pop();
  skipping_ = queue_.empty();
  queue_.push_front(Outstanding{Kind::maybe_sync}, maybe);
}

/// A ReadyForQuery follows whatever failed here, so nothing goes; but Syncs sent into copy mode are
/// in doubt.
void MessageFlow::fail_simple() {
  if (copy_ == CopyMode::in) {
    const Outstanding statement = queue_.front();
    std::uint32_t maybe = 0;
    queue_.pop();
    for (; !queue_.empty() && queue_.front().kind() == Kind::sync; ++maybe) queue_.pop();
    queue_.push_front(Outstanding{Kind::maybe_sync}, maybe);
    queue_.push_front(statement);
  }
  copy_ = CopyMode::none;
}

MessageFlow::Ready MessageFlow::ready() {
  copy_ = CopyMode::none;
  drop_late_copy_ends();
  skipping_ = false;
  if (queue_.empty()) {
    if (stray_ == 0) return Ready::unexpected;
    --stray_;
    return Ready::stray;
  }
  const Kind oldest = queue_.front().kind();
  // Nothing but a Sync is answered by ReadyForQuery alone, and any other answer would have ended
  // the doubt.
  if (stray_ != 0 && oldest != Kind::sync) {
    --stray_;
    return Ready::stray;
  }
  Ready outcome = Ready::ends_request;
  if (oldest == Kind::maybe_sync) {
    const std::uint32_t maybe = take_maybe_syncs();
    if (!queue_.empty() && queue_.front().kind() == Kind::sync) {
      // Either Sync may be meant. Taken for the later one, so that an idle session is never
      // believed busy.
      queue_.pop();
      stray_ = maybe;
    } else {
      stray_ = maybe - 1;
    }
  } else {
    if (!queue_.front().ends_in_ready()) {
      outcome = Ready::out_of_step;
      while (!queue_.empty() && !queue_.front().ends_in_ready()) queue_.pop();
      if (queue_.empty()) extended_open_ = false;
    }
    if (!queue_.empty()) queue_.pop();
    stray_ += take_maybe_syncs();
  }
  drop_late_copy_ends();
  return outcome;
}

/// An answer that begins or carries on a real response: strays would have come before it.
bool MessageFlow::real_answer() noexcept {
  stray_ = 0;
  return true;
}

std::uint32_t MessageFlow::take_maybe_syncs() noexcept {
  std::uint32_t taken = 0;
  for (; !queue_.empty(); queue_.pop()) {
    if (queue_.front().kind() == Kind::maybe_sync) {
      ++taken;
    } else if (!queue_.front().ends_copy()) {
      break;
    }
  }
  return taken;
}

}  // namespace pgleash::protocol
