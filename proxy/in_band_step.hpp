#pragma once

#include "proxy/kill_order.hpp"

namespace pgleash::proxy {

/// True when the server works on something, so that a close alone would not stop it.
[[nodiscard]] constexpr bool server_may_work(protocol::SessionState state) noexcept {
  using protocol::SessionState;
  switch (state) {
    case SessionState::busy:
    case SessionState::fastpath:
    case SessionState::pipeline_open:
    case SessionState::copy_out:
      return true;
    default:
      return false;
  }
}

/// True when the server waits for the client, for sure: whatever the client sends next changes
/// everything.
[[nodiscard]] constexpr bool waits_for_client(protocol::SessionState state) noexcept {
  using protocol::SessionState;
  switch (state) {
    case SessionState::idle:
    case SessionState::idle_in_transaction:
    case SessionState::aborted:
    case SessionState::pipeline_flushed:
    case SessionState::pipeline_failed:
    case SessionState::copy_in:
      return true;
    default:
      return false;
  }
}

/// Step 1 of the kill ladder for the state a session is in now (PRODUCT.md). `stalled`: output
/// waits for the client. `whole`: what went to the server ends at a message boundary, so that a
/// message of ours may follow.
[[nodiscard]] constexpr InBandStep first_step(KillAction action, protocol::SessionState state,
                                              bool stalled, bool whole) noexcept {
  using protocol::SessionState;
  if (state == SessionState::copy_both || state == SessionState::starting ||
      state == SessionState::closing)
    return InBandStep::none;
  if (action == KillAction::cancel)
    return server_may_work(state) ? InBandStep::cancel : InBandStep::none;
  if (stalled) return InBandStep::reset_stalled;
  if (server_may_work(state)) return InBandStep::reset_then_cancel;
  if (!whole) return InBandStep::reset_stalled;
  return state == SessionState::copy_in ? InBandStep::end_copy_in : InBandStep::end_waiting;
}

}  // namespace pgleash::proxy
