#include "app/watch/render.hpp"
#include "config/config.hpp"
#include "config/words.hpp"
#include "watchdog/utf8.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::app {

namespace json = boost::json;

namespace {

json::string text(std::string_view value) {
  return json::string{watchdog::valid_utf8(value)};
}

json::value seconds(std::optional<Duration> duration) {
  if (!duration) return nullptr;
  return static_cast<double>(
             std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count()) /
         1000;
}

json::value nullable(std::string_view value) {
  if (value.empty()) return nullptr;
  return text(value);
}

json::object forecast_json(const watchdog::Exhaustion& end) {
  return {{"expected_seconds", seconds(end.expected)},
          {"earliest_seconds", seconds(end.earliest)},
          {"latest_seconds", seconds(end.latest)}};
}

json::object session_json(const SessionLine& line, const watchdog::Snapshot& snapshot) {
  const auto& who = *line.entry->view.who;
  json::object one;
  one["pid"] = who.pid ? json::value(static_cast<std::int32_t>(*who.pid)) : json::value(nullptr);
  one["usename"] = text(who.user);
  one["datname"] = text(who.database);
  one["application_name"] = text(who.application_name);
  one["application"] = text(who.application);
  one["client_addr"] = nullable(who.client.address);
  one["client_port"] = who.client.port;
  const bool veiled = line.state == "?";
  one["state"] = veiled ? json::value(nullptr) : json::value(text(line.state));
  one["state_age_seconds"] = veiled ? json::value(nullptr) : seconds(line.age);
  const auto& row = line.entry->row;
  const bool open = row && row->xact_start;
  one["transaction_age_seconds"] =
      open ? seconds(snapshot.now - line.entry->view.facts.transaction_since)
           : json::value(nullptr);
  one["wait_event_type"] = nullable(row ? row->wait_event_type : "");
  one["wait_event"] = nullable(row ? row->wait_event : "");
  one["superuser"] = line.entry->superuser;
  one["hurts"] = nullable(line.hurt.why);
  one["query"] = nullable(line.query);
  return one;
}

json::object leak_json(const watchdog::LeakReport& report) {
  const watchdog::Leak& leak = report.leak;
  json::object one;
  one["application"] = text(leak.group.application);
  one["usename"] = text(leak.group.user);
  one["datname"] = text(leak.group.database);
  one["sessions"] = leak.sessions;
  one["floor"] = leak.floor;
  one["suspects"] = leak.suspect_count;
  one["growth_per_hour"] = leak.slope.value * 3600;
  one["stands_seconds"] = seconds(report.stands);
  json::array oldest;
  for (const watchdog::LeakSuspect& suspect : report.oldest) {
    json::object entry;
    entry["pid"] = suspect.who->pid ? json::value(static_cast<std::int32_t>(*suspect.who->pid))
                                    : json::value(nullptr);
    entry["client_addr"] = nullable(suspect.who->client.address);
    entry["client_port"] = suspect.who->client.port;
    entry["unused_seconds"] = seconds(suspect.unused);
    oldest.push_back(std::move(entry));
  }
  one["oldest"] = std::move(oldest);
  json::object addresses;
  for (const auto& [address, count] : report.addresses) addresses[text(address)] = count;
  one["client_addrs"] = std::move(addresses);
  one["statement_fingerprint"] = nullable(report.statement_fingerprint);
  one["statement"] = nullable(report.statement);
  one["same_statement_share"] = report.same_statement;
  one["quota"] = nullable(report.quota ? report.quota->quota : "");
  one["quota_refuses_in_seconds"] =
      report.quota ? seconds(report.quota->end.expected) : json::value(nullptr);
  json::object tags;
  for (const auto& [key, value] : report.tags) tags[text(key)] = text(value);
  one["tags"] = std::move(tags);
  return one;
}

json::array blocking_json(const watchdog::BlockingForest& forest) {
  json::array all;
  for (const watchdog::BlockingRoot& root : forest.roots) {
    json::object one;
    one["kind"] = watchdog::name(root.kind);
    one["pid"] = static_cast<std::int32_t>(root.pid);
    one["gid"] = nullable(root.gid);
    one["application"] = nullable(root.application);
    one["usename"] = nullable(root.user);
    one["datname"] = nullable(root.database);
    one["state"] = nullable(root.state);
    one["longest_wait_seconds"] = seconds(root.longest);
    json::array waits;
    for (const auto& blocked : root.blocked) {
      const watchdog::BlockedSession& wait = forest.waits[blocked.wait];
      json::array behind;
      for (const std::size_t ahead : wait.behind)
        behind.push_back(static_cast<std::int32_t>(forest.waits[ahead].pid));
      waits.push_back(json::object{{"pid", static_cast<std::int32_t>(wait.pid)},
                                   {"behind", std::move(behind)},
                                   {"mode", text(wait.mode)},
                                   {"lock_type", text(wait.lock_type)},
                                   {"waited_seconds", seconds(wait.waited)}});
    }
    one["blocked"] = std::move(waits);
    all.push_back(std::move(one));
  }
  return all;
}

json::array would_act_json(const WatchView& view) {
  json::array all;
  for (const auto& [key, row] : view.would_act) {
    json::object one;
    one["rule"] = text(key.first);
    one["kind"] = config::name(row.kind);
    one["application"] = text(key.second);
    one["would_act"] = row.count;
    one["exempted"] = row.exempted;
    one["sessions"] = row.sessions;
    one["evidence"] = nullable(row.evidence);
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace

std::string render_json(const WatchView& view) {
  json::object all;
  all["ts"] = utc(view.when);
  all["server"] = text(view.place);
  all["server_version"] = view.server_version;
  all["problem"] = nullable(view.problem);
  all["advice"] = nullable(view.advice);
  if (view.snapshot) {
    const watchdog::Snapshot& snapshot = *view.snapshot;
    all["slots"] = json::object{{"max", snapshot.max_connections},
                                {"reserved", snapshot.reserved_connections},
                                {"used", snapshot.sessions.size()}};
    all["forecast"] = forecast_json(view.forecast);
    json::array quotas;
    for (const watchdog::QuotaForecast& one : view.quotas)
      quotas.push_back(
          json::object{{"quota", text(one.quota)},
                       {"key", json::string{config::word_for(config::quota_key_words, one.key)}},
                       {"holder", text(one.holder)},
                       {"sessions", one.sessions},
                       {"limit", one.limit},
                       {"forecast", forecast_json(one.end)}});
    all["quotas"] = std::move(quotas);
    json::array leaks;
    for (const watchdog::LeakReport& report : view.leaks) leaks.push_back(leak_json(report));
    all["leaks"] = std::move(leaks);
    all["blocking"] = blocking_json(snapshot.blocking);
    all["would_act"] = would_act_json(view);
    json::array unjudged;
    for (const std::string& rule : view.unjudged) unjudged.push_back(text(rule));
    all["unjudged_rules"] = std::move(unjudged);
    json::array nameless;
    for (const watchdog::Nameless& one : view.nameless) {
      json::array users;
      for (const std::string& user : one.users) users.push_back(text(user));
      nameless.push_back(json::object{{"application_name", text(one.said)},
                                      {"sessions", one.sessions},
                                      {"users", std::move(users)},
                                      {"remedy", text(one.remedy)}});
    }
    all["nameless"] = std::move(nameless);
    json::array sessions;
    for (const SessionLine& line : view.sessions) sessions.push_back(session_json(line, snapshot));
    all["sessions"] = std::move(sessions);
  }
  return json::serialize(all);
}

}  // namespace pgleash::app
