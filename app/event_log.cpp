#include "app/event_log.hpp"

#include "proxy/clock.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace pgleash::app {
namespace {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

void add_who(std::vector<Field>& fields, const proxy::SessionIdentity& who) {
  fields.emplace_back("server", who.server);
  fields.emplace_back("listener", who.listener);
  fields.emplace_back("user", who.user);
  fields.emplace_back("database", who.database);
  fields.emplace_back("application", who.application);
  fields.emplace_back("client_addr", who.client.address);
  fields.emplace_back("client_port", who.client.port);
  if (!who.via.empty()) fields.emplace_back("via", who.via);
  if (who.opaque) fields.emplace_back("opaque", true);
  if (who.tls != nullptr) {
    if (!who.tls->client_version.empty()) {
      fields.emplace_back("tls", who.tls->client_version);
      fields.emplace_back("tls_cipher", who.tls->client_cipher);
    }
    if (!who.tls->client_dn.empty()) fields.emplace_back("client_dn", who.tls->client_dn);
    if (!who.tls->server_version.empty())
      fields.emplace_back("server_tls", who.tls->server_version);
    if (!who.tls->client_version.empty() && !who.tls->server_version.empty())
      fields.emplace_back("same_certificate", who.tls->same_certificate);
  }
  if (who.pid) fields.emplace_back("pid", static_cast<std::int32_t>(*who.pid));
}

std::vector<Field> about(const watchdog::Verdict& verdict) {
  std::vector<Field> fields;
  fields.emplace_back("incident", verdict.id.text);
  fields.emplace_back("rule", verdict.rule);
  fields.emplace_back("kind", watchdog::kind_name(verdict));
  fields.emplace_back("action", config::name(verdict.action));
  if (!verdict.actor.empty()) fields.emplace_back("actor", verdict.actor);
  fields.emplace_back("measured_seconds", seconds(verdict.measured));
  fields.emplace_back("limit_seconds", seconds(verdict.limit));
  if (verdict.cost) {
    fields.emplace_back("measured_value", verdict.cost->value);
    fields.emplace_back("limit_value", verdict.cost->threshold);
  }
  if (verdict.others > 0) fields.emplace_back("others", verdict.others);
  fields.emplace_back("session", number(verdict.session.view.id));
  fields.emplace_back("state", protocol::name(verdict.session.view.facts.state));
  add_who(fields, *verdict.session.view.who);
  return fields;
}

/// "10.0.0.7:40312 unused 312 s (sent 96 bytes, got 1234), …": the first five.
std::string oldest_of(const watchdog::LeakReport& report) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(report.oldest.size(), 5); ++i) {
    const watchdog::LeakSuspect& suspect = report.oldest[i];
    if (i > 0) text += ", ";
    text += suspect.who->client.address.empty()
                ? std::string{"local"}
                : suspect.who->client.address + ':' + std::to_string(suspect.who->client.port);
    text += " unused " + std::to_string(static_cast<std::int64_t>(seconds(suspect.unused))) + " s";
    if (suspect.bytes_to_server > 0)
      text += " (sent " + std::to_string(suspect.bytes_to_server) + " bytes, got " +
              std::to_string(suspect.bytes_to_client) + ')';
  }
  return text;
}

std::string addresses_of(const watchdog::LeakReport& report) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(report.addresses.size(), 5); ++i) {
    const auto& [address, suspects] = report.addresses[i];
    if (i > 0) text += ", ";
    text += (address.empty() ? "local" : address) + " (" + std::to_string(suspects) + ')';
  }
  return text;
}

std::vector<Field> about(std::string_view server, const watchdog::LeakReport& report) {
  const watchdog::Leak& leak = report.leak;
  std::vector<Field> fields;
  fields.emplace_back("server", server);
  fields.emplace_back("application", leak.group.application);
  fields.emplace_back("user", leak.group.user);
  fields.emplace_back("database", leak.group.database);
  fields.emplace_back("sessions", leak.sessions);
  fields.emplace_back("floor", leak.floor);
  fields.emplace_back("suspects", leak.suspect_count);
  fields.emplace_back("growth_per_hour", leak.slope.value * 3600);
  fields.emplace_back("window_seconds", seconds(leak.window));
  if (report.forecast.expected)
    fields.emplace_back("exhaustion_seconds", seconds(*report.forecast.expected));
  if (report.forecast.earliest)
    fields.emplace_back("exhaustion_earliest_seconds", seconds(*report.forecast.earliest));
  if (report.forecast.latest)
    fields.emplace_back("exhaustion_latest_seconds", seconds(*report.forecast.latest));
  if (report.quota) {
    fields.emplace_back("quota", report.quota->quota);
    fields.emplace_back("quota_limit", report.quota->limit);
    fields.emplace_back("quota_exhaustion_seconds", seconds(*report.quota->end.expected));
  }
  if (!report.addresses.empty()) fields.emplace_back("client_addrs", addresses_of(report));
  if (!report.oldest.empty()) fields.emplace_back("oldest", oldest_of(report));
  if (!report.statement_fingerprint.empty()) {
    fields.emplace_back("statement_fingerprint", report.statement_fingerprint);
    fields.emplace_back("statement", report.statement);
    fields.emplace_back("same_statement_share", report.same_statement);
  }
  if (!report.first_statement_fingerprint.empty()) {
    fields.emplace_back("first_statement_fingerprint", report.first_statement_fingerprint);
    fields.emplace_back("first_statement", report.first_statement);
  }
  if (!report.tags.empty()) fields.emplace_back("tags", watchdog::tags_text(report.tags));
  return fields;
}

}  // namespace

void EventLog::listening(std::string_view listener, std::string_view address) {
  log_.write(Level::info, "listener.listening", {{"listener", listener}, {"address", address}});
}

void EventLog::accept_paused(std::string_view listener, std::string_view why) {
  if (why.empty()) {
    log_.write(Level::info, "listener.accepting_again", {{"listener", listener}});
  } else {
    log_.write(Level::error, "listener.accept_paused", {{"listener", listener}, {"why", why}});
  }
}

void EventLog::refused(std::string_view listener, const proxy::Endpoint& client,
                       proxy::AcceptResult result, std::string_view why) {
  {
    const std::lock_guard lock{mutex_};
    const std::string kind = std::string{listener} + ' ' + std::string{proxy::name(result)};
    if (!refusals_.admit(kind, proxy::monotonic_now())) return;
  }
  log_.write(Level::warning, "connection.refused",
             {{"listener", listener},
              {"client_addr", client.address},
              {"client_port", client.port},
              {"result", proxy::name(result)},
              {"why", why}});
}

void EventLog::session_opened(proxy::SessionId id, const proxy::SessionIdentity& who) {
  std::vector<Field> fields{{"session", number(id)}};
  add_who(fields, who);
  log_.write(Level::info, "session.opened", fields);
}

void EventLog::session_closed(const proxy::SessionIdentity& who, const proxy::SessionEnd& end) {
  std::vector<Field> fields{{"session", number(end.id)},
                            {"cause", proxy::name(end.cause)},
                            {"state", end.state},
                            {"state_seconds", seconds(end.state_for)},
                            {"lasted_seconds", seconds(end.lasted)},
                            {"bytes_to_server", end.bytes_to_backend},
                            {"bytes_to_client", end.bytes_to_frontend}};
  if (end.anomalies != 0) fields.emplace_back("anomalies", end.anomalies);
  if (!end.detail.empty()) fields.emplace_back("detail", end.detail);
  add_who(fields, who);
  log_.write(Level::info, "session.closed", fields);
}

void EventLog::client_gone(proxy::SessionId id, const proxy::SessionIdentity& who, bool acted) {
  std::vector<Field> fields{{"session", number(id)}, {"acted", acted}};
  add_who(fields, who);
  log_.write(Level::warning, "session.client_gone", fields);
}

void EventLog::monitor(std::string_view server, bool up, std::string_view problem,
                       std::string_view application_name) {
  std::vector<Field> fields{{"server", server}, {"application_name", application_name}};
  if (!problem.empty()) fields.emplace_back("problem", problem);
  if (up) {
    log_.write(problem.empty() ? Level::info : Level::warning, "monitor.up", fields);
  } else {
    log_.write(Level::error, "monitor.down", fields);
  }
}

void EventLog::no_data(std::string_view server, std::string_view rule, std::string_view kind,
                       std::string_view why) {
  std::vector<Field> fields{{"server", server}, {"rule", rule}, {"kind", kind}};
  if (why.empty()) {
    log_.write(Level::info, "rule.has_data", fields);
  } else {
    fields.emplace_back("why", why);
    log_.write(Level::warning, "rule.no_data", fields);
  }
}

void EventLog::advised(std::string_view server, const std::vector<watchdog::Advice>& advice) {
  if (advised_.emplace(server).second && first_advice_) first_advice_(server, advice);
  for (const watchdog::Advice& one : advice) {
    std::vector<Field> fields{{"server", server},
                              {"gravity", watchdog::name(one.gravity)},
                              {"about", one.about},
                              {"message", one.message}};
    if (!one.remedy.empty()) fields.emplace_back("remedy", one.remedy);
    log_.write(one.gravity == watchdog::Gravity::note ? Level::info : Level::warning,
               "server.advice", fields);
  }
}

void EventLog::warned(std::string_view /*server*/, const watchdog::Verdict& verdict) {
  log_.write(Level::warning, "rule.warned", about(verdict));
}

void EventLog::blocking(std::string_view server, const watchdog::BlockingReport& report) {
  std::vector<Field> fields{{"server", server},
                            {"rule", report.rule},
                            {"root", watchdog::name(report.root.kind)},
                            {"blocked", report.blocked},
                            {"measured_seconds", seconds(report.measured)}};
  if (report.root.kind == watchdog::RootKind::prepared)
    fields.emplace_back("gid", report.root.gid);
  else
    fields.emplace_back("pid", static_cast<std::int32_t>(report.root.pid));
  if (!report.root.user.empty()) fields.emplace_back("user", report.root.user);
  if (!report.root.database.empty()) fields.emplace_back("database", report.root.database);
  if (!report.root.application.empty()) fields.emplace_back("application", report.root.application);
  if (!report.root.state.empty()) fields.emplace_back("state", report.root.state);
  log_.write(Level::warning, "blocking.reported", fields);
}

void EventLog::judged(std::string_view /*server*/, const watchdog::Verdict& verdict, bool acting) {
  auto fields = about(verdict);
  fields.emplace_back("acting", acting);
  log_.write(Level::warning, "verdict.issued", fields);
}

void EventLog::finished(std::string_view server, const watchdog::Verdict& verdict,
                        const watchdog::TerminationRecord& record) {
  std::vector<Field> fields{{"incident", verdict.id.text},
                            {"rule", verdict.rule},
                            {"session", number(verdict.session.view.id)},
                            {"outcome", watchdog::name(record.outcome)},
                            {"step", proxy::name(record.step)},
                            {"client_told", record.client_told},
                            {"took_seconds", seconds(record.took)}};
  if (record.told_on_next_use) fields.emplace_back("notify", "on_next_use");
  if (!record.why.empty()) fields.emplace_back("why", record.why);
  const bool bad = record.outcome == watchdog::Outcome::survived ||
                   record.outcome == watchdog::Outcome::denied ||
                   record.outcome == watchdog::Outcome::unverified ||
                   record.outcome == watchdog::Outcome::error;
  log_.write(bad ? Level::error : Level::info, "termination.finished", fields);
  if (webhooks_ != nullptr) webhooks_->finished(server, verdict, record);
}

void EventLog::fuse_tripped(std::string_view server, const watchdog::OpenFuse& fuse) {
  std::vector<Field> fields{{"server", server},
                            {"fuse", watchdog::name(fuse.kind)},
                            {"scope", watchdog::name(fuse.scope)},
                            {"why", fuse.why}};
  if (!fuse.rule.empty()) fields.emplace_back("rule", fuse.rule);
  if (fuse.scope == watchdog::FuseScope::application)
    fields.emplace_back("application", fuse.application);
  if (!fuse.closes) fields.emplace_back("closes", "by hand: pause and resume");
  log_.write(Level::error, "fuse.tripped", fields);
  if (webhooks_ != nullptr) webhooks_->fuse_tripped(server, fuse);
}

void EventLog::failover(std::string_view server, std::string_view what) {
  log_.write(Level::warning, "server.failover", {{"server", server}, {"what", what}});
}

void EventLog::resolved(std::string_view /*server*/, const watchdog::Verdict& verdict,
                        Duration after) {
  log_.write(
      Level::info, "termination.resolved",
      {{"incident", verdict.id.text}, {"rule", verdict.rule}, {"after_seconds", seconds(after)}});
}

void EventLog::journal(std::string_view path, std::size_t inherited, std::string_view problem) {
  if (problem.empty()) {
    log_.write(Level::info, "journal.open",
               {{"file", path}, {"inherited", static_cast<std::uint64_t>(inherited)}});
  } else {
    log_.write(Level::error, "journal.failed", {{"file", path}, {"why", problem}});
  }
}

void EventLog::engine_fallback(std::string_view why) {
  if (std::exchange(engine_told_, true)) return;  // each worker finds the same
  log_.write(Level::warning, "engine.fallback", {{"engine", "epoll"}, {"why", why}});
}

void EventLog::orphan(std::string_view server, const watchdog::Orphan& orphan) {
  std::vector<Field> fields{{"server", server},
                            {"pid", static_cast<std::int32_t>(orphan.row.backend.pid)},
                            {"user", orphan.row.user},
                            {"database", orphan.row.database},
                            {"application", orphan.who->application},
                            {"state", orphan.row.state},
                            {"leg_addr", orphan.who->leg.address},
                            {"leg_port", orphan.who->leg.port},
                            {"earlier_run", orphan.earlier_run},
                            {"since_seconds", seconds(orphan.since)}};
  if (!orphan.unproven.empty()) fields.emplace_back("unproven", orphan.unproven);
  log_.write(Level::warning, "backend.orphaned", fields);
}

void EventLog::backend_lost(std::string_view /*server*/, const watchdog::SessionEntry& session) {
  std::vector<Field> fields{{"session", number(session.view.id)}};
  add_who(fields, *session.view.who);
  log_.write(Level::warning, "session.backend_lost", fields);
}

void EventLog::leak_detected(std::string_view server, const watchdog::LeakReport& report) {
  log_.write(Level::warning, "leak.detected", about(server, report));
  if (webhooks_ != nullptr) webhooks_->leak(server, "detected", report);
}

void EventLog::recording(std::string_view server, std::string_view why) {
  if (why.empty()) {
    log_.write(Level::info, "recording.resumed", {{"server", server}});
  } else {
    log_.write(Level::warning, "recording.failed", {{"server", server}, {"why", why}});
  }
}

void EventLog::leak_cleared(std::string_view server, const watchdog::LeakReport& report) {
  auto fields = about(server, report);
  fields.emplace_back("stood_seconds", seconds(report.stands));
  log_.write(Level::info, "leak.cleared", fields);
  if (webhooks_ != nullptr) webhooks_->leak(server, "cleared", report);
}

void EventLog::webhook_fails(std::string_view name, std::string_view why) {
  log_.write(Level::error, "webhook.fails", {{"webhook", name}, {"why", why}});
}

void EventLog::webhook_works(std::string_view name, Duration failed_for, std::uint64_t lost) {
  log_.write(lost == 0 ? Level::info : Level::warning, "webhook.works",
             {{"webhook", name}, {"failed_for_seconds", seconds(failed_for)}, {"lost", lost}});
}

void EventLog::webhook_refused(std::string_view name, std::string_view id, std::string_view why) {
  log_.write(Level::error, "webhook.refused", {{"webhook", name}, {"id", id}, {"why", why}});
}

void EventLog::accept_failed(std::string_view address, std::string_view why) {
  log_.write(Level::error, "http.accept_failed", {{"address", address}, {"why", why}});
}

void EventLog::page_failed(std::string_view why) {
  log_.write(Level::error, "http.page_failed", {{"why", why}});
}

void EventLog::tell_left_out(bool all) {
  std::vector<proxy::FloodCount::LeftOut> left_out;
  {
    const std::lock_guard lock{mutex_};
    left_out = refusals_.left_out(proxy::monotonic_now(), all);
  }
  for (const auto& one : left_out) {
    const std::string_view kind = one.kind;
    const auto blank = kind.rfind(' ');  // a listener's name has none
    log_.write(Level::warning, "connection.refused_more",
               {{"listener", kind.substr(0, blank)},
                {"result", kind.substr(blank + 1)},
                {"left_out", one.count},
                {"within_seconds", seconds(one.within)}});
  }
  log_.tell_lost();
}

void EventLog::failure(std::string_view where, std::string_view what) {
  log_.write(Level::error, "internal.failure", {{"where", where}, {"what", what}});
}

}  // namespace pgleash::app
