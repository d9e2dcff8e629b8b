#pragma once

#include "config/config.hpp"
#include "proxy/session_directory.hpp"
#include "watchdog/audit_log.hpp"
#include "watchdog/evidence.hpp"
#include "watchdog/kill_connection.hpp"
#include "watchdog/session_evidence.hpp"
#include "watchdog/task.hpp"
#include "watchdog/verdict.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <optional>
#include <string>

namespace pgleash::watchdog {

/// How a termination went.
struct TerminationRecord {
  Outcome outcome = Outcome::error;
  proxy::InBandStep step = proxy::InBandStep::none;  ///< the last one carried out
  bool client_told = false;
  bool told_on_next_use = false;  ///< the client is still there, and does not know yet
  bool sql = false;               ///< guarded pg_terminate_backend was sent
  Duration took{};                ///< from the start of the act to the proof
  std::string why;                ///< one line when it did not go by the book
  SessionEvidence evidence;       ///< gathered before the act
};

/// Carries one verdict's TerminationPlan out: in-band steps by the session's own worker, the rest
/// by KillConnection. Decides nothing itself. Writes the intent before the act and the outcome
/// after it: without the intent on disk nothing is ended. Control thread.
class Terminator {
 public:
  /// `kill_connection` null: no monitor, nothing can be asked of the server. All references outlive
  /// the terminator.
  Terminator(boost::asio::any_io_executor executor, const config::Server& server,
             proxy::SessionDirectory& sessions, KillConnection* kill_connection, AuditLog* audit,
             FingerprintCache& fingerprints);

  /// A session younger than the last sample has its pid from the key alone. Asked for by itself,
  /// its backend can be looked for after the act.
  Task<void> identify(Verdict& verdict);
  /// `mode` was in force when the verdict was decided upon: a reload meanwhile changes no line.
  Task<TerminationRecord> terminate(Verdict verdict, config::Mode mode, bool monitor_up);
  /// One look at a backend that survived: true once it is gone.
  Task<bool> is_gone(const Verdict& verdict);
  /// Writes a line that is no act of its own: an outcome of a verdict that only observed, or
  /// `resolved`. Returns the evidence that it carries.
  Task<SessionEvidence> write(AuditEvent event, Verdict verdict, config::Mode mode,
                              std::optional<Outcome> outcome, std::string why);
  /// What the session did, as far as anybody knows; `entry` outlives the call.
  Task<SessionEvidence> evidence_of(const SessionEntry& entry, Target target);

 private:
  /// `verdict` outlives the call.
  Task<KillConnection::Answer> ask_server(const Verdict& verdict, proxy::KillAction action,
                                          JudgedColumns columns);
  [[nodiscard]] AuditRecord record_of(AuditEvent event, const Verdict& verdict, config::Mode mode,
                                      const SessionEvidence& evidence) const;

  boost::asio::any_io_executor executor_;
  const config::Server& server_;
  proxy::SessionDirectory& sessions_;
  KillConnection* kill_connection_;
  AuditLog* audit_;
  FingerprintCache& fingerprints_;
};

}  // namespace pgleash::watchdog
