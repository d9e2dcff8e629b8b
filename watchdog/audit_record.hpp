#pragma once

#include "config/config.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/session_evidence.hpp"
#include "watchdog/verdict.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::watchdog {

enum class AuditEvent : std::uint8_t {
  intent,    ///< before the act: no line, no kill
  outcome,   ///< exactly one a verdict
  resolved,  ///< a survivor is gone after all; carries the verdict's id
  command,   ///< what somebody asked of the console, and what came of it
};
[[nodiscard]] std::string_view name(AuditEvent event) noexcept;

/// One line of the audit log. What is empty or absent is left out of the line. Schema:
/// deploy/audit.schema.json. Texts come from clients and from databases of any encoding: bytes that
/// are not UTF-8 are replaced when written.
struct AuditRecord {
  std::chrono::system_clock::time_point ts{};
  AuditEvent event = AuditEvent::intent;
  std::string actor;    ///< who ordered it by hand
  std::string role;     ///< of a command: viewer, operator, admin, none
  std::string command;  ///< of a command: its text
  std::string result;   ///< of a command: "ok", "refused: …", "error 42601: …"
  std::string verdict;  ///< id
  std::string rule;
  std::string kind;
  std::string action;
  std::string mode;
  std::string outcome;    ///< absent in an intent
  std::string step;       ///< what was done to whom, in the kill ladder's words
  std::string notify;     ///< "on_next_use" when the client was not told at once
  std::string exemption;  ///< empty: none
  std::optional<std::chrono::milliseconds> measured;
  std::optional<std::chrono::milliseconds> limit;
  std::optional<std::uint64_t> measured_value;  ///< of a kind of cost, in its unit
  std::optional<std::uint64_t> limit_value;
  std::optional<std::uint32_t> others;  ///< sessions it blocks, or statements like its own
  std::string server;
  std::optional<std::uint64_t> session;
  std::string user;
  std::string database;
  std::string application;       ///< what rules and metrics call it
  std::string application_name;  ///< what it calls itself
  std::string client_addr;       ///< empty: Unix socket
  std::optional<std::int32_t> client_port;
  std::optional<std::int32_t> pid;
  std::optional<ServerTime> backend_start;
  std::string mapping;
  std::string state;
  SessionEvidence evidence;  ///< texts with their values only under statement_text = "full"
  std::string why;
};

/// The verdict's part of a record, for each of its lines.
[[nodiscard]] AuditRecord audit_record(AuditEvent event, const Verdict& verdict, config::Mode mode,
                                       std::chrono::system_clock::time_point ts);

/// The line, without its end. `prev`: SHA-256 of the line before (see audit_chain.hpp).
[[nodiscard]] std::string to_line(const AuditRecord& record, config::StatementTextPolicy policy,
                                  std::string_view prev);

/// "2026-11-03T10:15:30.123456Z".
[[nodiscard]] std::string iso8601(std::chrono::system_clock::time_point time);
[[nodiscard]] std::string iso8601(ServerTime time);

}  // namespace pgleash::watchdog
