#include "watchdog/audit_record.hpp"

#include "watchdog/utf8.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

namespace pgleash::watchdog {
namespace {

namespace json = boost::json;
using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::microseconds,
    std::chrono::seconds;

/// 2000-01-01 as PostgreSQL counts, in the seconds of 1970.
constexpr seconds postgres_epoch{946684800};

std::string iso8601(microseconds since_1970) {
  const auto whole = std::chrono::floor<seconds>(since_1970);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                     fmt::gmtime(static_cast<std::time_t>(whole.count())),
                     (since_1970 - whole).count());
}

void put(json::object& line, json::string_view key, std::string_view text) {
  if (!text.empty()) line[key] = valid_utf8(text);
}

template <class T>
void put(json::object& line, json::string_view key, const std::optional<T>& number) {
  if (number) line[key] = *number;
}

void put(json::object& line, json::string_view key, const std::optional<milliseconds>& duration) {
  if (duration) line[key] = duration->count();
}

void put_evidence(json::object& line, const AuditRecord& record,
                  config::StatementTextPolicy policy) {
  using enum config::StatementTextPolicy;
  const SessionEvidence& evidence = record.evidence;
  if (evidence.age) line["statement_age_ms"] = duration_cast<milliseconds>(*evidence.age).count();
  if (policy != none) {
    put(line, "statement_fingerprint", evidence.last.hash);
    put(line, "statement_normalized", evidence.last.text);
    put(line, "first_statement_fingerprint", evidence.first.hash);
    put(line, "first_statement_normalized", evidence.first.text);
  }
  if (policy == full) {
    put(line, "statement_text", evidence.last_text);
    put(line, "first_statement_text", evidence.first_text);
  }
  if (!evidence.tags.empty()) {
    json::object tags;
    for (const auto& [key, value] : evidence.tags) tags[valid_utf8(key)] = valid_utf8(value);
    line["tags"] = std::move(tags);
  }
  put(line, "bytes_to_server", evidence.bytes_to_server);
  put(line, "bytes_to_client", evidence.bytes_to_client);
}

}  // namespace

std::string_view name(AuditEvent event) noexcept {
  switch (event) {
    case AuditEvent::intent:
      return "intent";
    case AuditEvent::outcome:
      return "outcome";
    case AuditEvent::resolved:
      return "resolved";
    case AuditEvent::command:
      return "command";
  }
  return "unknown";
}

std::string iso8601(std::chrono::system_clock::time_point time) {
  return iso8601(duration_cast<microseconds>(time.time_since_epoch()));
}

std::string iso8601(ServerTime time) {
  return iso8601(microseconds{time.microseconds} + postgres_epoch);
}

AuditRecord audit_record(AuditEvent event, const Verdict& verdict, config::Mode mode,
                         std::chrono::system_clock::time_point ts) {
  AuditRecord record;
  record.ts = ts;
  record.event = event;
  record.actor = verdict.actor;
  record.verdict = verdict.id.text;
  record.rule = verdict.rule;
  record.kind = kind_name(verdict);
  record.action = config::name(verdict.action);
  record.mode = config::name(mode);
  if (verdict.exemption != Exemption::none) record.exemption = name(verdict.exemption);
  record.measured = duration_cast<milliseconds>(verdict.measured);
  record.limit = duration_cast<milliseconds>(verdict.limit);
  if (verdict.cost) {
    record.measured_value = verdict.cost->value;
    record.limit_value = verdict.cost->threshold;
  }
  if (verdict.others > 0) record.others = verdict.others;
  const auto& session = verdict.session;
  if (is_ours(verdict.target)) record.session = proxy::number(session.view.id);
  record.state = protocol::name(session.view.facts.state);
  record.mapping = is_ours(verdict.target) ? name(session.mapping) : name(verdict.target);
  if (session.backend) {
    record.pid = static_cast<std::int32_t>(session.backend->pid);
    record.backend_start = session.backend->backend_start;
  }
  if (const auto& who = session.view.who) {
    record.server = who->server;
    record.user = who->user;
    record.database = who->database;
    record.application = who->application;
    record.application_name = who->application_name;
    record.client_addr = who->client.address;
    record.client_port = who->client.port;
    if (!record.pid && who->pid) record.pid = static_cast<std::int32_t>(*who->pid);
  }
  return record;
}

std::string to_line(const AuditRecord& record, config::StatementTextPolicy policy,
                    std::string_view prev) {
  json::object line;
  line["ts"] = iso8601(record.ts);
  line["event"] = name(record.event);
  line["prev"] = prev;
  put(line, "actor", record.actor);
  put(line, "role", record.role);
  put(line, "command", record.command);
  put(line, "result", record.result);
  put(line, "verdict", record.verdict);
  put(line, "rule", record.rule);
  put(line, "kind", record.kind);
  put(line, "action", record.action);
  put(line, "mode", record.mode);
  put(line, "outcome", record.outcome);
  put(line, "step", record.step);
  put(line, "notify", record.notify);
  put(line, "exemption", record.exemption);
  put(line, "measured_ms", record.measured);
  put(line, "limit_ms", record.limit);
  put(line, "measured_value", record.measured_value);
  put(line, "limit_value", record.limit_value);
  put(line, "others", record.others);
  put(line, "server", record.server);
  // A text, since 64 bits do not survive readers whose numbers are doubles.
  if (record.session) line["session"] = std::to_string(*record.session);
  put(line, "user", record.user);
  put(line, "database", record.database);
  put(line, "application", record.application);
  put(line, "application_name", record.application_name);
  put(line, "client_addr", record.client_addr);
  put(line, "client_port", record.client_port);
  put(line, "pid", record.pid);
  if (record.backend_start) line["backend_start"] = iso8601(*record.backend_start);
  put(line, "mapping", record.mapping);
  put(line, "state", record.state);
  put_evidence(line, record, policy);
  put(line, "why", record.why);
  return json::serialize(line);
}

}  // namespace pgleash::watchdog
