#include "metrics/status_json.hpp"

#include "config/measure.hpp"
#include "config/words.hpp"
#include "metrics/json_text.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

namespace pgleash::metrics {
namespace {

std::string nullable(std::string_view value) {
  return value.empty() ? "null" : json_text(value);
}

std::string session_text(const watchdog::Snapshot& snapshot,
                         const std::optional<std::size_t>& index) {
  if (!index || *index >= snapshot.sessions.size()) return "null";
  return fmt::format("\"{}\"", proxy::number(snapshot.sessions[*index].view.id));
}

std::string utc(std::chrono::system_clock::time_point at) {
  const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(at);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(milliseconds);
  return fmt::format("\"{:%Y-%m-%dT%H:%M:%S}.{:03}Z\"",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)),
                     (milliseconds - seconds).count());
}

std::string forecast_json(const watchdog::Exhaustion& forecast) {
  return fmt::format(R"({{"expected_seconds":{},"earliest_seconds":{},"latest_seconds":{}}})",
                     json_seconds(forecast.expected), json_seconds(forecast.earliest),
                     json_seconds(forecast.latest));
}

std::string fuse_json(const watchdog::OpenFuse& fuse, Instant now) {
  std::optional<Duration> closes;
  if (fuse.closes) closes = std::max(*fuse.closes - now, Duration::zero());
  return fmt::format(
      R"({{"fuse":{},"scope":{},"rule":{},"application":{},"closes_in_seconds":{},"why":{}}})",
      json_text(watchdog::name(fuse.kind)), json_text(watchdog::name(fuse.scope)),
      nullable(fuse.rule), nullable(fuse.application), json_seconds(closes), json_text(fuse.why));
}

void append(std::string& list, const std::string& item) {
  if (!list.empty()) list += ",\n";
  list += item;
}

std::string quotas_json(const watchdog::LeakStatus& leaks) {
  std::string all;
  for (const watchdog::QuotaForecast& one : leaks.quota_forecasts)
    append(all,
           fmt::format(
               R"({{"quota":{},"key":{},"holder":{},"sessions":{},"limit":{},"forecast":{}}})",
               json_text(one.quota), json_text(config::word_for(config::quota_key_words, one.key)),
               json_text(one.holder), one.sessions, one.limit, forecast_json(one.end)));
  return all;
}

}  // namespace

std::string overview_json(const watchdog::WatchdogStatus& status, const config::Config& config,
                          Instant now) {
  const watchdog::Snapshot& snapshot = *status.snapshot;
  const watchdog::BrakeStatus& brake = status.brake;
  std::string fuses;
  for (const watchdog::OpenFuse& fuse : brake.open_fuses) append(fuses, fuse_json(fuse, now));
  const config::Pace& pace = config.enforcement.pace;
  return fmt::format(
      R"({{"server":{},"mode":{},"paused":{},"held_after":{},"waiting":{},)"
      R"("kills_per_minute":{},"monitor_configured":{},"monitor_up":{},"monitor_problem":{},)"
      R"("sample_age_seconds":{},"sessions":{},"orphans":{},"survivors":{},"manual_kills":{},)"
      R"("slots":{{"max":{},"reserved":{},"proxied":{},"direct":{}}},"forecast":{},"quotas":[{}],"fuses":[{}]}})",
      json_text(status.server), json_text(config::name(status.mode)), brake.paused,
      brake.held ? json_text(watchdog::name(*brake.held)) : "null", brake.waiting,
      pace.kills_per_minute, status.monitor_configured, status.monitor_up,
      nullable(status.monitor_problem), json_seconds(snapshot.sample_age), snapshot.sessions.size(),
      status.orphans, status.survivors, brake.manual_kills, snapshot.max_connections,
      snapshot.reserved_connections, snapshot.sessions.size(), snapshot.direct.size(),
      forecast_json(status.leaks.forecast), quotas_json(status.leaks), fuses);
}

namespace {

constexpr std::size_t most_addresses = 20;

/// Whom to ask, and for which line of code: as it was when the leak was detected.
std::string evidence_json(const watchdog::LeakReport& report) {
  std::string clients;
  for (std::size_t i = 0; i < std::min<std::size_t>(report.addresses.size(), most_addresses); ++i)
    append(clients, fmt::format(R"({{"client_addr":{},"suspects":{}}})",
                                nullable(report.addresses[i].first), report.addresses[i].second));
  std::string oldest;
  for (const watchdog::LeakSuspect& suspect : report.oldest)
    append(oldest, fmt::format(R"({{"session":"{}","client_addr":{},"client_port":{},"pid":{},)"
                               R"("unused_seconds":{},"bytes_to_server":{},)"
                               R"("bytes_to_client":{}}})",
                               proxy::number(suspect.session),
                               nullable(suspect.who->client.address), suspect.who->client.port,
                               suspect.who->pid
                                   ? std::to_string(static_cast<std::int32_t>(*suspect.who->pid))
                                   : "null",
                               json_seconds(suspect.unused), suspect.bytes_to_server,
                               suspect.bytes_to_client));
  std::string tags;
  for (const auto& [key, value] : report.tags)
    append(tags, fmt::format("{}:{}", json_text(key), json_text(value)));
  return fmt::format(R"("clients":[{}],"oldest":[{}],"statement":{},"statement_fingerprint":{},)"
                     R"("same_statement_share":{:.3f},"first_statement":{},)"
                     R"("first_statement_fingerprint":{},"tags":{{{}}})",
                     clients, oldest,
                     report.statement.empty() ? "null" : json_prose(report.statement),
                     nullable(report.statement_fingerprint), report.same_statement,
                     report.first_statement.empty() ? "null" : json_prose(report.first_statement),
                     nullable(report.first_statement_fingerprint), tags);
}

}  // namespace

std::string leaks_json(const watchdog::WatchdogStatus& status, Instant now) {
  static const watchdog::LeakReport unasked;  // its statements are being asked for
  std::string leaks;
  for (const watchdog::Leak& leak : status.leaks.standing) {
    const auto report = std::ranges::find_if(
        status.leaks.reports, [&](const auto& one) { return one->leak.group == leak.group; });
    append(leaks,
           fmt::format(R"({{"application":{},"user":{},"database":{},"suspects":{},"sessions":{},)"
                       R"("floor":{},"growth_sessions":{:.3f},"growth_per_hour":{:.3f},)"
                       R"("window_seconds":{},"stands_seconds":{},"losing_since_seconds":{},{}}})",
                       json_text(leak.group.application), json_text(leak.group.user),
                       json_text(leak.group.database), leak.suspect_count, leak.sessions,
                       leak.floor, leak.growth, leak.slope.value * 3600, json_seconds(leak.window),
                       json_seconds(now - leak.detected), json_seconds(now - leak.since),
                       evidence_json(report == status.leaks.reports.end() ? unasked : **report)));
  }
  std::string applications;
  for (const auto& [name, one] : status.leaks.applications)
    append(applications,
           fmt::format(R"({{"application":{},"suspects":{},"floor":{},"growth_per_hour":{:.3f}}})",
                       json_text(name), one.suspects, one.floor, one.growth * 3600));
  return fmt::format(R"({{"server":{},"forecast":{},"slots_known":{},"quotas":[{}],"leaks":[{}],)"
                     R"("applications":[{}]}})",
                     json_text(status.server), forecast_json(status.leaks.forecast),
                     status.leaks.limit_known, quotas_json(status.leaks), leaks, applications);
}

std::string rules_json(const watchdog::WatchdogStatus& status, const config::Config& config) {
  std::map<std::string_view, std::map<std::string_view, std::uint64_t>> outcomes;
  for (const auto& [key, count] : status.actions_total)
    outcomes[std::get<0>(key)][std::get<3>(key)] += count;
  std::string rules;
  for (const config::Rule& rule : config.rules) {
    const auto seen = std::ranges::find(status.rules, rule.name, &watchdog::RuleStatus::rule);
    const watchdog::RuleStatus now = seen == status.rules.end() ? watchdog::RuleStatus{} : *seen;
    std::string counts;
    for (const auto& [outcome, count] : outcomes[rule.name])
      append(counts, fmt::format("{}:{}", json_text(outcome), count));
    const std::string value =
        rule.value ? json_text(config::show_measure(config::measure_unit(rule.kind), *rule.value))
                   : "null";
    append(rules, fmt::format(R"({{"rule":{},"kind":{},"action":{},"value":{},"warn_seconds":{},)"
                              R"("limit_seconds":{},"matching":{},"warned_total":{},"unjudged":{},)"
                              R"("outcomes":{{{}}}}})",
                              json_text(rule.name), json_text(config::name(rule.kind)),
                              json_text(config::name(rule.action)), value, json_seconds(rule.warn),
                              json_seconds(rule.limit), now.matching, now.warned_total, now.paused,
                              counts));
  }
  return fmt::format(R"({{"server":{},"rules":[{}]}})", json_text(status.server), rules);
}

std::string blocking_json(const watchdog::WatchdogStatus& status) {
  const watchdog::Snapshot& snapshot = *status.snapshot;
  const watchdog::BlockingForest& forest = snapshot.blocking;
  std::string roots;
  for (const watchdog::BlockingRoot& root : forest.roots) {
    std::string blocked;
    for (const auto& one : root.blocked) {
      const watchdog::BlockedSession& wait = forest.waits[one.wait];
      append(blocked,
             fmt::format(R"({{"pid":{},"session":{},"lock_type":{},"lock_mode":{},)"
                         R"("waited_seconds":{},"because_of_it_seconds":{}}})",
                         static_cast<std::int32_t>(wait.pid), session_text(snapshot, wait.session),
                         nullable(wait.lock_type), nullable(wait.mode), json_seconds(wait.waited),
                         json_seconds(one.because_of_it)));
    }
    const bool process = root.kind != watchdog::RootKind::prepared;
    append(roots,
           fmt::format(R"({{"kind":{},"pid":{},"session":{},"user":{},"database":{},)"
                       R"("application":{},"state":{},"gid":{},"blocked":[{}]}})",
                       json_text(watchdog::name(root.kind)),
                       process ? std::to_string(static_cast<std::int32_t>(root.pid)) : "null",
                       session_text(snapshot, root.session), nullable(root.user),
                       nullable(root.database), nullable(root.application), nullable(root.state),
                       nullable(root.gid), blocked));
  }
  return fmt::format(R"({{"server":{},"known":{},"roots":[{}]}})", json_text(status.server),
                     forest.taken.has_value(), roots);
}

std::string action_json(std::string_view server, const watchdog::RecentAction& action) {
  const watchdog::Verdict& verdict = action.verdict;
  const watchdog::SessionEntry& session = verdict.session;
  static const proxy::SessionIdentity nobody;
  const proxy::SessionIdentity& who = session.view.who ? *session.view.who : nobody;
  const auto pid = session.backend ? std::optional{session.backend->pid} : who.pid;
  const bool ours = watchdog::is_ours(verdict.target);
  const bool by_hand = !verdict.actor.empty();
  return fmt::format(
      R"({{"incident":{},"at":{},"server":{},"rule":{},"kind":{},"action":{},"mode":{},)"
      R"("outcome":{},"why":{},"step":{},"took_seconds":{},"actor":{},"target":{},"session":{},)"
      R"("pid":{},"user":{},"database":{},"application":{},"client_addr":{},"client_port":{},)"
      R"("state":{},"measured_seconds":{},"limit_seconds":{},"value":{},"threshold":{},)"
      R"("exemption":{},"others":{},"sqlstate":{}}})",
      json_text(verdict.id.text), utc(action.at), json_text(server), json_text(verdict.rule),
      json_text(watchdog::kind_name(verdict)), json_text(config::name(verdict.action)),
      json_text(config::name(action.mode)), json_text(watchdog::name(action.outcome)),
      nullable(action.why), nullable(action.step),
      action.took > Duration::zero() ? json_seconds(action.took) : "null", nullable(verdict.actor),
      json_text(watchdog::name(verdict.target)),
      ours ? fmt::format("\"{}\"", proxy::number(session.view.id)) : "null",
      pid ? std::to_string(static_cast<std::int32_t>(*pid)) : "null", nullable(who.user),
      nullable(who.database), nullable(who.application), nullable(who.client.address),
      who.client.port, json_text(protocol::name(session.view.facts.state)),
      json_seconds(verdict.measured), by_hand ? "null" : json_seconds(verdict.limit),
      verdict.cost ? std::to_string(verdict.cost->value) : "null",
      verdict.cost ? std::to_string(verdict.cost->threshold) : "null",
      verdict.exemption == watchdog::Exemption::none ? "null"
                                                     : json_text(watchdog::name(verdict.exemption)),
      verdict.others, nullable(verdict.sqlstate));
}

std::string actions_json(std::string_view server, const watchdog::RecentActions& actions) {
  std::string all;
  for (const watchdog::RecentAction* one : actions.newest()) append(all, action_json(server, *one));
  return fmt::format(R"({{"server":{},"actions":[{}]}})", json_text(server), all);
}

}  // namespace pgleash::metrics
