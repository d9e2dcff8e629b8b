#include "app/notify/notice.hpp"

#include "watchdog/utf8.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <ctime>

namespace pgleash::notify {
namespace {

namespace json = boost::json;
using config::WebhookEvent;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// What is empty is left out. Texts come from clients: bytes that are no UTF-8 are replaced.
void add(json::object& to, std::string_view key, std::string_view text) {
  if (text.empty()) return;
  const std::string valid = watchdog::valid_utf8(text);
  to.emplace(json::string_view{key.data(), key.size()}, json::string_view{valid});
}

std::string timestamp(std::chrono::system_clock::time_point when) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(when);
  const std::time_t time = std::chrono::system_clock::to_time_t(whole);
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     std::chrono::duration_cast<std::chrono::milliseconds>(when - whole).count());
}

json::object begin(const Preamble& preamble, WebhookEvent event) {
  json::object body;
  body.emplace("version", 1);
  add(body, "id", preamble.id);
  add(body, "event", config::name(event));
  add(body, "ts", timestamp(preamble.when));
  add(body, "instance", preamble.instance);
  add(body, "server", preamble.server);
  return body;
}

}  // namespace

std::optional<WebhookEvent> event_of(watchdog::Outcome outcome) noexcept {
  switch (outcome) {
    case watchdog::Outcome::confirmed:
      return WebhookEvent::ended;
    case watchdog::Outcome::survived:
    case watchdog::Outcome::unverified:
    case watchdog::Outcome::denied:
    case watchdog::Outcome::error:
      return WebhookEvent::survived;
    case watchdog::Outcome::observed:
    case watchdog::Outcome::exempted:
    case watchdog::Outcome::deferred:
    case watchdog::Outcome::fused:
    case watchdog::Outcome::recovered:
    case watchdog::Outcome::already_gone:
      break;
  }
  return std::nullopt;
}

std::string finished(const Preamble& preamble, WebhookEvent event, const watchdog::Verdict& verdict,
                     const watchdog::TerminationRecord& record) {
  json::object body = begin(preamble, event);
  add(body, "incident", verdict.id.text);
  add(body, "outcome", watchdog::name(record.outcome));
  add(body, "rule", verdict.rule);
  add(body, "kind", watchdog::kind_name(verdict));
  add(body, "action", config::name(verdict.action));
  add(body, "actor", verdict.actor);
  add(body, "step",
      record.step == proxy::InBandStep::none && record.sql ? "guarded_sql"
                                                           : proxy::name(record.step));
  body.emplace("measured_seconds", seconds(verdict.measured));
  body.emplace("limit_seconds", seconds(verdict.limit));
  if (verdict.cost) {
    body.emplace("measured_value", verdict.cost->value);
    body.emplace("limit_value", verdict.cost->threshold);
  }
  if (verdict.others > 0) body.emplace("others", verdict.others);
  body.emplace("took_seconds", seconds(record.took));
  body.emplace("client_told", record.client_told);
  const proxy::SessionView& view = verdict.session.view;
  add(body, "session", std::to_string(proxy::number(view.id)));
  add(body, "state", protocol::name(view.facts.state));
  if (view.who) {
    add(body, "user", view.who->user);
    add(body, "database", view.who->database);
    add(body, "application", view.who->application);
    add(body, "client_addr", view.who->client.address);
    if (!view.who->client.address.empty()) body.emplace("client_port", view.who->client.port);
    if (view.who->pid) body.emplace("pid", static_cast<std::int32_t>(*view.who->pid));
  }
  add(body, "why", record.why);
  return json::serialize(body);
}

std::string fuse(const Preamble& preamble, const watchdog::OpenFuse& open) {
  json::object body = begin(preamble, WebhookEvent::fuse);
  add(body, "fuse", watchdog::name(open.kind));
  add(body, "scope", watchdog::name(open.scope));
  add(body, "rule", open.rule);
  if (open.scope == watchdog::FuseScope::application) add(body, "application", open.application);
  add(body, "why", open.why);
  body.emplace("closes_by_itself", open.closes.has_value());
  return json::serialize(body);
}

std::string leak(const Preamble& preamble, std::string_view change,
                 const watchdog::LeakReport& report) {
  const watchdog::Leak& leak = report.leak;
  json::object body = begin(preamble, WebhookEvent::leak);
  add(body, "change", change);
  add(body, "application", leak.group.application);
  add(body, "user", leak.group.user);
  add(body, "database", leak.group.database);
  body.emplace("sessions", leak.sessions);
  body.emplace("floor", leak.floor);
  body.emplace("suspects", leak.suspect_count);
  body.emplace("growth_per_hour", leak.slope.value * 3600);
  body.emplace("window_seconds", seconds(leak.window));
  if (report.forecast.expected)
    body.emplace("exhaustion_seconds", seconds(*report.forecast.expected));
  if (report.quota) {
    add(body, "quota", report.quota->quota);
    body.emplace("quota_exhaustion_seconds", seconds(*report.quota->end.expected));
  }
  if (change == "cleared") body.emplace("stood_seconds", seconds(report.stands));
  add(body, "statement_fingerprint", report.statement_fingerprint);
  return json::serialize(body);
}

}  // namespace pgleash::notify
