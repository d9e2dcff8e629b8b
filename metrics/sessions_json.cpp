#include "metrics/sessions_json.hpp"

#include "metrics/json_text.hpp"
#include "metrics/session_state.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string_view>

namespace pgleash::metrics {
namespace {

/// PostgreSQL counts from the year 2000.
constexpr std::chrono::sys_days postgres_epoch{std::chrono::year{2000} / 1 / 1};

std::string timestamp(const std::optional<watchdog::ServerTime>& time) {
  if (!time || time->microseconds == 0) return "null";
  const auto since_1970 =
      postgres_epoch.time_since_epoch() + std::chrono::microseconds{time->microseconds};
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_1970);
  return fmt::format("\"{:%Y-%m-%dT%H:%M:%S}.{:06}Z\"",
                     fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                     std::chrono::microseconds{since_1970 - seconds}.count());
}

std::string nullable(std::string_view value) {
  return value.empty() ? "null" : json_text(value);
}

/// What only the server knows of it; nulls when it was in no sample.
std::string server_columns(const watchdog::ActivityRow* row) {
  static const watchdog::ActivityRow nothing;
  const watchdog::ActivityRow& it = row != nullptr ? *row : nothing;
  return fmt::format(
      R"("xact_start":{},"query_start":{},"state_change":{},"wait_event_type":{},"wait_event":{})",
      timestamp(it.xact_start), timestamp(it.query_start), timestamp(it.state_change),
      nullable(it.wait_event_type), nullable(it.wait_event));
}

/// How the legs are encrypted; nulls where they are not.
std::string tls_columns(const proxy::TlsFacts* tls) {
  static const proxy::TlsFacts plain;
  const proxy::TlsFacts& it = tls != nullptr ? *tls : plain;
  return fmt::format(
      R"("tls_version":{},"tls_cipher":{},"client_dn":{},"leg_tls_version":{},"leg_tls_cipher":{})",
      nullable(it.client_version), nullable(it.client_cipher), nullable(it.client_dn),
      nullable(it.server_version), nullable(it.server_cipher));
}

std::string proxied(const watchdog::Snapshot& snapshot, const watchdog::SessionEntry& entry) {
  const proxy::SessionIdentity& who = *entry.view.who;
  const StateLabel label = state_label(snapshot, entry);
  const std::string pid =
      who.pid ? fmt::format("{}", static_cast<std::int32_t>(*who.pid)) : std::string{"null"};
  // The number as text: 64 bits do not survive readers whose numbers are doubles.
  return fmt::format(
      R"({{"session":"{}","datname":{},"pid":{},"usename":{},"application_name":{},)"
      R"("client_addr":{},"client_port":{},"backend_start":{},{},"state":{},"backend_type":{},)"
      R"("application":{},"listener":{},"leg_addr":{},"leg_port":{},{},"mapping":{},)"
      R"("state_age_seconds":{},"session_age_seconds":{},"superuser":{}}})",
      proxy::number(entry.view.id), json_text(who.database), pid, json_text(who.user),
      json_text(who.application_name), nullable(who.client.address), who.client.port,
      timestamp(entry.backend ? std::optional{entry.backend->backend_start} : std::nullopt),
      server_columns(entry.row ? &*entry.row : nullptr),
      json_text(protocol::name(entry.view.facts.state)),
      who.replication ? R"("walsender")" : R"("client backend")", json_text(who.application),
      json_text(who.listener), nullable(who.leg.address), who.leg.port, tls_columns(who.tls.get()),
      json_text(watchdog::name(entry.mapping)), json_seconds(state_age(snapshot, entry, label)),
      json_seconds(snapshot.now - who.connected), entry.superuser);
}

std::string direct(const watchdog::ActivityRow& row) {
  return fmt::format(
      R"({{"datname":{},"pid":{},"usename":{},"application_name":{},"client_addr":{},)"
      R"("client_port":{},"backend_start":{},{},"state":{},"backend_type":"client backend",)"
      R"("state_age_seconds":{},"session_age_seconds":{},"superuser":{}}})",
      json_text(row.database), static_cast<std::int32_t>(row.backend.pid), json_text(row.user),
      json_text(row.application_name), nullable(row.client_addr), row.client_port,
      timestamp(row.backend.backend_start), server_columns(&row), nullable(row.state),
      json_seconds(row.state_age), json_seconds(row.backend_age), row.superuser);
}

}  // namespace

std::string sessions_json(const watchdog::Snapshot& snapshot) {
  std::string sessions;
  for (const watchdog::SessionEntry& entry : snapshot.sessions) {
    if (!sessions.empty()) sessions += ",\n";
    sessions += proxied(snapshot, entry);
  }
  std::string others;
  for (const watchdog::ActivityRow& row : snapshot.direct) {
    if (!others.empty()) others += ",\n";
    others += direct(row);
  }
  return fmt::format(
      R"({{"server":{},"monitor_up":{},"sample_age_seconds":{},"background_processes":{},)"
      "\n"
      R"("sessions":[{}],)"
      "\n"
      R"("direct":[{}]}})",
      json_text(snapshot.server), snapshot.monitor_up, json_seconds(snapshot.sample_age),
      snapshot.background_processes, sessions, others);
}

}  // namespace pgleash::metrics
