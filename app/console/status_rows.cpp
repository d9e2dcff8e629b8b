#include "app/console/rows.hpp"
#include "config/address.hpp"
#include "config/measure.hpp"
#include "config/names.hpp"
#include "watchdog/session_evidence.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace pgleash::console {
namespace {

using std::string;

Cell number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}
Cell span(const std::optional<Duration>& value) {
  if (!value) return Null{};
  return span_of(*value);
}
Cell pid_cell(const std::optional<protocol::BackendPid>& pid) {
  if (!pid) return Null{};
  return static_cast<std::int64_t>(*pid);
}

string enforcement_words(const watchdog::BrakeStatus& brake) {
  if (brake.paused) return "paused";
  if (brake.held) return "held off after " + string{watchdog::name(*brake.held)};
  return "active";
}

}  // namespace

void add_rule_rows(const watchdog::WatchdogStatus& status, const config::Config& config,
                   std::vector<Row>& rows) {
  for (const config::Rule& rule : config.rules) {
    watchdog::RuleStatus seen;
    for (const watchdog::RuleStatus& one : status.rules)
      if (one.rule == rule.name) seen = one;
    std::uint64_t observed = 0;
    std::uint64_t confirmed = 0;
    std::uint64_t recovered = 0;
    std::uint64_t other = 0;
    for (const auto& [key, count] : status.actions_total) {
      const auto& [name, action, mode, outcome] = key;
      if (name != rule.name) continue;
      (outcome == "observed"    ? observed
       : outcome == "confirmed" ? confirmed
       : outcome == "recovered" ? recovered
                                : other) += count;
    }
    Cell value = Null{};
    if (rule.value) value = config::show_measure(config::measure_unit(rule.kind), *rule.value);
    rows.push_back({text(status.server), rule.name, string{config::name(rule.kind)},
                    string{config::name(rule.action)}, std::move(value), span(rule.warn),
                    span(rule.limit), number(seen.matching), number(seen.warned_total),
                    number(seen.paused), number(observed), number(confirmed), number(recovered),
                    number(other)});
  }
}

void add_action_rows(std::string_view server, const watchdog::RecentActions& actions,
                     std::vector<Row>& rows) {
  for (const watchdog::RecentAction* one : actions.newest()) {
    const watchdog::Verdict& verdict = one->verdict;
    const proxy::SessionIdentity& who = *verdict.session.view.who;
    const auto pid =
        verdict.session.backend ? std::optional{verdict.session.backend->pid} : who.pid;
    const bool ours = watchdog::is_ours(verdict.target);
    rows.push_back({server_time(one->at),
                    verdict.id.text,
                    text(server),
                    verdict.rule,
                    string{watchdog::kind_name(verdict)},
                    string{config::name(verdict.action)},
                    string{config::name(one->mode)},
                    string{watchdog::name(one->outcome)},
                    text_or_null(verdict.actor),
                    ours ? number(proxy::number(verdict.session.view.id)) : Cell{Null{}},
                    pid_cell(pid),
                    text_or_null(who.user),
                    text_or_null(who.database),
                    text_or_null(who.application),
                    text_or_null(who.client.address),
                    string{protocol::name(verdict.session.view.facts.state)},
                    span_of(verdict.measured),
                    verdict.actor.empty() ? Cell{span_of(verdict.limit)} : Cell{Null{}},
                    text_or_null(one->step),
                    one->took > Duration::zero() ? Cell{span_of(one->took)} : Cell{Null{}},
                    text_or_null(one->why)});
  }
}

void add_leak_rows(const watchdog::WatchdogStatus& status, std::vector<Row>& rows) {
  static const watchdog::LeakReport unreported;
  for (const watchdog::Leak& leak : status.leaks.standing) {
    const double per_hour = leak.slope.value * 3600;
    const auto& left = status.leaks.forecast.expected;
    string why = "it has " + std::to_string(leak.sessions) + " sessions, at least " +
                 std::to_string(leak.floor) + " at any time lately; " +
                 std::to_string(leak.suspect_count) + " are not used any more";
    // As it was when the leak was detected; its statements may still be asked for.
    const auto found = std::ranges::find_if(
        status.leaks.reports, [&](const auto& one) { return one->leak.group == leak.group; });
    const bool reported = found != status.leaks.reports.end();
    const watchdog::LeakReport& report = reported ? **found : unreported;
    const auto& quotas = status.leaks.quota_forecasts;
    const auto quota = std::ranges::find_if(quotas, [&](const watchdog::QuotaForecast& one) {
      return reported && watchdog::uses_up(report, one);
    });
    const bool refused = quota != quotas.end();
    rows.push_back({text(status.server), text(leak.group.application), text(leak.group.user),
                    text(leak.group.database), number(leak.suspect_count), number(leak.sessions),
                    number(leak.floor), per_hour, span(left),
                    refused ? text(quota->quota) : Cell{Null{}},
                    refused ? span(quota->end.expected) : Cell{Null{}},
                    report.oldest.empty() ? Cell{Null{}} : span_of(report.oldest.front().unused),
                    text_or_null(report.statement), text_or_null(report.statement_fingerprint),
                    report.statement.empty() ? Cell{Null{}} : Cell{report.same_statement},
                    text_or_null(report.first_statement),
                    text_or_null(watchdog::tags_text(report.tags)), std::move(why)});
  }
}

void add_blocking_rows(const watchdog::WatchdogStatus& status, std::vector<Row>& rows) {
  const watchdog::Snapshot& snapshot = *status.snapshot;
  const auto session = [&](const std::optional<std::size_t>& index) -> Cell {
    if (!index) return Null{};
    return number(proxy::number(snapshot.sessions[*index].view.id));
  };
  const auto& forest = snapshot.blocking;
  for (const watchdog::BlockingRoot& root : forest.roots) {
    for (const auto& blocked : root.blocked) {
      const watchdog::BlockedSession& wait = forest.waits[blocked.wait];
      const bool process = root.kind != watchdog::RootKind::prepared;
      const Cell behind =
          wait.behind.empty() ? Cell{Null{}} : pid_cell(forest.waits[wait.behind.front()].pid);
      rows.push_back({text(status.server), string{watchdog::name(root.kind)},
                      process ? pid_cell(root.pid) : Cell{Null{}}, session(root.session),
                      text_or_null(root.user), text_or_null(root.database),
                      text_or_null(root.application), text_or_null(root.state),
                      text_or_null(root.gid), pid_cell(wait.pid), session(wait.session), behind,
                      text_or_null(wait.lock_type), text_or_null(wait.mode), span_of(wait.waited),
                      span_of(blocked.because_of_it)});
    }
  }
}

void add_fuse_rows(const watchdog::WatchdogStatus& status, Instant now, std::vector<Row>& rows) {
  for (const watchdog::OpenFuse& fuse : status.brake.open_fuses)
    rows.push_back(
        {text(status.server), string{watchdog::name(fuse.kind)}, string{watchdog::name(fuse.scope)},
         text_or_null(fuse.rule), text_or_null(fuse.application),
         fuse.closes ? Cell{span_of(*fuse.closes - now)} : Cell{Null{}}, text(fuse.why)});
}

Row server_row(const watchdog::WatchdogStatus& status, const config::Server& server) {
  const watchdog::Snapshot& snapshot = *status.snapshot;
  string address =
      server.address.is_unix ? server.address.host : config::format_address(server.address);
  return {text(status.server),
          std::move(address),
          string{config::name(status.mode)},
          enforcement_words(status.brake),
          status.monitor_up,
          text_or_null(status.monitor_configured ? status.monitor_problem
                                                 : string{"monitor = \"none\""}),
          span(snapshot.sample_age),
          number(snapshot.sessions.size()),
          number(snapshot.direct.size()),
          number(snapshot.background_processes),
          number(snapshot.max_connections),
          number(snapshot.reserved_connections),
          number(status.orphans),
          number(status.survivors),
          number(status.brake.waiting),
          number(status.brake.open_fuses.size()),
          number(status.brake.manual_kills)};
}

void add_help_rows(std::vector<Row>& rows) {
  static constexpr std::array<std::array<std::string_view, 3>, 17> lines{{
      {"SHOW SESSIONS [ALL|PROXIED|DIRECT|BACKGROUND] [WHERE …] [ORDER BY …] [LIMIT n]", "viewer",
       "pg_stat_activity of all servers, with what pgleash knows of each session"},
      {"SHOW RULES | ACTIONS | LEAKS | BLOCKING | FUSES | SERVERS | CONFIG | VERSION", "viewer",
       "the same clauses apply; SELECT … FROM sessions, rules, … picks columns"},
      {"SELECT … FROM pg_stat_activity [WHERE …] [ORDER BY …] [LIMIT n]", "viewer",
       "what SHOW SESSIONS shows"},
      {"EXPLAIN SESSION n | PID n", "viewer", "each rule, why it matches or not, when it acts"},
      {"EXPLAIN INCIDENT id", "viewer", "what was done, to whom, why, and what came of it"},
      {"KILL SESSION n | PID n", "operator",
       "ends the session by the verified ladder; one row says what came of it"},
      {"CANCEL SESSION n | PID n", "operator", "cancels the running statement, no later one"},
      {"SELECT pg_terminate_backend(pid), pg_cancel_backend(pid)", "operator",
       "the same, answered as PostgreSQL does"},
      {"KILL WHERE …, CANCEL WHERE …", "operator",
       "shows whom it would end, and a token that is good for two minutes"},
      {"KILL CONFIRM 'token'", "operator",
       "ends exactly these, each only if it still does what was shown"},
      {"EXEMPT SESSION n | PID n FOR '10m'", "operator", "no rule ends it for that long"},
      {"PAUSE ENFORCEMENT", "operator", "no rule ends anybody until RESUME"},
      {"RESUME ENFORCEMENT", "operator", "rules act again; open fuses are reset"},
      {"RESET FUSE", "operator", "closes the open fuses"},
      {"RELOAD", "admin", "reads the configuration file again, as SIGHUP does"},
      {"DRAIN", "admin", "ends pgleash when its sessions are idle, as SIGTERM does"},
      {"SHOW HELP", "viewer", "this"},
  }};
  for (const auto& [command, role, what] : lines)
    rows.push_back({text(command), text(role), text(what)});
}

}  // namespace pgleash::console
