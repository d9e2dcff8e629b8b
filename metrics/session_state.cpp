#include "metrics/session_state.hpp"

#include <algorithm>

namespace pgleash::metrics {
namespace {

using protocol::SessionState;

bool seen_waiting_for_client(const watchdog::Snapshot& snapshot,
                             const watchdog::SessionEntry& entry) noexcept {
  if (!entry.row || !snapshot.sample_age) {
    return false;
  }
  const Instant taken = snapshot.now - *snapshot.sample_age;
  return entry.row->wait_event == "ClientRead" && taken > entry.view.facts.last_frontend_byte;
}

}  // namespace

StateLabel state_label(const watchdog::Snapshot& snapshot,
                       const watchdog::SessionEntry& entry) noexcept {
  if (entry.view.stalled_since != Instant{}) {
    return StateLabel::stalled;
  }
  switch (entry.view.facts.state) {
    case SessionState::starting:
      return StateLabel::starting;
    case SessionState::idle:
      return StateLabel::idle;
    case SessionState::idle_in_transaction:
      return StateLabel::idle_in_transaction;
    case SessionState::aborted:
      return StateLabel::aborted;
    case SessionState::pipeline_flushed:
    case SessionState::pipeline_failed:
      return StateLabel::held;
    case SessionState::pipeline_open:
    case SessionState::copy_in:
      return seen_waiting_for_client(snapshot, entry) ? StateLabel::held : StateLabel::active;
    case SessionState::busy:
    case SessionState::fastpath:
    case SessionState::copy_out:
    case SessionState::copy_both:
    case SessionState::closing:  // the server still holds the slot and works itself to its end
      return StateLabel::active;
  }
  return StateLabel::active;
}

Duration state_age(const watchdog::Snapshot& snapshot, const watchdog::SessionEntry& entry,
                   StateLabel state) noexcept {
  const auto& facts = entry.view.facts;
  Instant since = facts.state_since;
  if (state == StateLabel::stalled) {
    since = entry.view.stalled_since;
  } else if (state == StateLabel::active) {
    since = std::max(since, facts.request_since);
  }
  // Views are taken on the workers' threads, a moment after or before the snapshot's `now`.
  return std::max(Duration::zero(), snapshot.now - since);
}

}  // namespace pgleash::metrics
