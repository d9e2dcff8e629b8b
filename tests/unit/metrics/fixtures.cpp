#include "fixtures.hpp"

#include <array>
#include <utility>

namespace pgleash::metrics::testing {

watchdog::SessionEntry session(const SessionSpec& spec, Instant now) {
  auto who = std::make_shared<proxy::SessionIdentity>();
  who->server = "orders";
  who->listener = "main";
  who->application = spec.application;
  who->user = spec.user;
  who->database = spec.database;
  watchdog::SessionEntry entry;
  entry.view.who = std::move(who);
  entry.view.facts.state = spec.state;
  entry.view.facts.state_since = now - spec.age;
  entry.view.facts.request_since = now - spec.age;
  entry.view.facts.last_frontend_byte = now - spec.age;
  return entry;
}

watchdog::ActivityRow row(std::string wait_event_type, std::string wait_event) {
  watchdog::ActivityRow result;
  result.state = "active";
  result.wait_event_type = std::move(wait_event_type);
  result.wait_event = std::move(wait_event);
  return result;
}

watchdog::WatchdogStatus status(StatusSpec spec, Instant now) {
  auto snapshot = std::make_shared<watchdog::Snapshot>();
  snapshot->now = now;
  snapshot->server = spec.server;
  snapshot->sessions = std::move(spec.sessions);
  snapshot->direct.resize(spec.direct);
  snapshot->monitor_up = spec.monitor_up;
  snapshot->sample_age = 1s;
  if (spec.monitor_up) {
    snapshot->blocking = std::move(spec.blocking);
    snapshot->horizon = spec.horizon;
  }
  snapshot->max_connections = 100;
  snapshot->reserved_connections = 3;

  watchdog::WatchdogStatus result;
  result.server = std::move(spec.server);
  result.monitor_configured = true;
  result.monitor_up = spec.monitor_up;
  result.monitor_last_success = std::chrono::system_clock::time_point{1700000100s};
  result.snapshot = std::move(snapshot);
  return result;
}

config::Rule rule(std::string name, config::Action action) {
  config::Rule result;
  result.name = std::move(name);
  result.action = action;
  return result;
}

config::Config small_config() {
  config::Config result;
  result.enforcement.mode = config::Mode::enforce;
  result.servers.resize(1);
  result.servers[0].name = "orders";
  result.listeners.resize(1);
  result.listeners[0].name = "main";
  result.rules = {rule("idle-in-transaction", config::Action::terminate),
                  rule("aborted", config::Action::terminate),
                  rule("held", config::Action::terminate),
                  rule("stalled", config::Action::terminate),
                  rule("statement", config::Action::cancel),
                  rule("transaction-age", config::Action::observe),
                  rule("blocking", config::Action::observe)};
  using config::RuleKind;
  const std::array kinds{RuleKind::idle_in_transaction,
                         RuleKind::aborted,
                         RuleKind::held,
                         RuleKind::stalled,
                         RuleKind::statement,
                         RuleKind::transaction_age,
                         RuleKind::blocking};
  for (std::size_t i = 0; i < kinds.size(); ++i) result.rules[i].kind = kinds[i];
  result.audit.sink = config::AuditSink::file;
  return result;
}

FakeSource::FakeSource(config::Config config)
    : settings(std::make_shared<config::Config>(std::move(config))) {
  // The counters do not move, so a vector is made with its size and stays as it is.
  for (const auto& server : settings->servers) {
    server_counters_.emplace(server.name, std::vector<proxy::ServerCounters>(workers));
  }
  for (const auto& listener : settings->listeners) {
    listener_counters_.emplace(listener.name, std::vector<proxy::ListenerCounters>(workers));
  }
}

std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> FakeSource::statuses() const {
  std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> result;
  for (const auto& [server, status] : statuses_) {
    result.push_back(status);
  }
  return result;
}

template <class Counters>
static std::vector<WorkerCounters<Counters>> by_name(
    const std::map<std::string, std::vector<Counters>>& counters) {
  std::vector<WorkerCounters<Counters>> result;
  for (const auto& [name, workers] : counters) {
    WorkerCounters<Counters> of{name, {}};
    for (const auto& worker : workers) {
      of.workers.push_back(&worker);
    }
    result.push_back(std::move(of));
  }
  return result;
}

std::vector<WorkerCounters<proxy::ListenerCounters>> FakeSource::listeners() const {
  return by_name(listener_counters_);
}

std::vector<WorkerCounters<proxy::ServerCounters>> FakeSource::servers() const {
  return by_name(server_counters_);
}

void FakeSource::set(watchdog::WatchdogStatus status) {
  auto shared = std::make_shared<const watchdog::WatchdogStatus>(std::move(status));
  statuses_[shared->server] = shared;
}

}  // namespace pgleash::metrics::testing
