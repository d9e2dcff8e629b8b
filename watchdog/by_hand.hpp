#pragma once

#include "watchdog/verdict.hpp"

#include <string>

namespace pgleash::watchdog {

/// What a person ordered. `entry` is the session as it was shown to them, the mark included.
struct HandOrder {
  SessionEntry entry;
  Target target = Target::session;
  proxy::KillAction action = proxy::KillAction::terminate;
  /// session: whatever it does. state: only while it does what was shown. request: the statement
  /// that was running.
  proxy::JudgedCounter counter = proxy::JudgedCounter::session;
  std::string actor;
};

struct HandResult {
  std::string incident;
  Outcome outcome = Outcome::error;
  std::string step;  ///< in the kill ladder's words
  Duration took{};
  std::string why;
};

/// Why a session is out of reach for everybody, in one line; empty: it is not. Unlike the rules'
/// exemptions these bind people too: a replication connection, and with [protect] superusers those.
[[nodiscard]] std::string out_of_reach(const SessionEntry& entry, const config::Protect& protect);

/// The order as a verdict: the codes that the client gets are those of the state it is in.
[[nodiscard]] Verdict verdict_of(HandOrder order, VerdictId id, Instant now);

}  // namespace pgleash::watchdog
