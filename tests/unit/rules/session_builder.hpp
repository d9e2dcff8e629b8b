#pragma once

#include "watchdog/rule_engine.hpp"
#include "watchdog/snapshot.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

/// Sessions, rows and rules as a test's sentence needs them.
namespace pgleash::watchdog {

using namespace std::chrono_literals;
using config::Action;
using config::RuleKind;
using protocol::SessionState;
using protocol::TransactionStatus;

/// The tests' clock stands still here; sessions connected an hour before.
inline const Instant noon = Instant{} + 1000h;

/// A session that is confirmed, in a state that began `age` ago, of checkout / alice / orders
/// from 10.0.0.7.
class SessionBuilder {
 public:
  explicit SessionBuilder(SessionState state, Duration age = 0s) {
    who_.listener = "main";
    who_.server = "orders";
    who_.client = {"10.0.0.7", 50000};
    who_.user = "alice";
    who_.database = "orders";
    who_.application = who_.application_name = "checkout";
    who_.leg = {"10.0.0.1", 40001};
    who_.pid = protocol::BackendPid{101};
    who_.connected = noon - 1h;
    entry_.view.id = proxy::SessionId{1};
    auto& facts = entry_.view.facts;
    facts.state = state;
    facts.mark = {7, 5, 3};
    since(age);
    switch (state) {
      case SessionState::idle_in_transaction:
        facts.transaction = TransactionStatus::in_transaction;
        break;
      case SessionState::aborted:
        facts.transaction = TransactionStatus::failed;
        break;
      case SessionState::busy:
      case SessionState::fastpath:
      case SessionState::copy_in:
      case SessionState::copy_out:
        facts.outstanding = 1;
        break;
      default:
        break;
    }
    entry_.mapping = Mapping::confirmed;
    entry_.backend = BackendId{protocol::BackendPid{101}, ServerTime{1000}};
  }

  SessionBuilder& id(std::uint64_t id) { return entry_.view.id = proxy::SessionId{id}, *this; }
  /// A session of its own, with this backend.
  SessionBuilder& pid(std::int32_t pid) {
    who_.pid = protocol::BackendPid{pid};
    entry_.backend = BackendId{protocol::BackendPid{pid}, ServerTime{1000}};
    return id(static_cast<std::uint64_t>(pid));
  }
  SessionBuilder& user(std::string name) { return who_.user = std::move(name), *this; }
  SessionBuilder& database(std::string name) { return who_.database = std::move(name), *this; }
  SessionBuilder& application(std::string name) {
    return who_.application = who_.application_name = std::move(name), *this;
  }
  SessionBuilder& client(std::string address) {
    return who_.client.address = std::move(address), *this;
  }
  SessionBuilder& in_transaction() {
    return facts().transaction = TransactionStatus::in_transaction, *this;
  }
  /// All of what a rule may measure began `age` ago.
  SessionBuilder& since(Duration age) {
    auto& f = facts();
    f.state_since = f.request_since = f.transaction_since = noon - age;
    f.last_frontend_byte = f.last_backend_byte = noon - age;
    return *this;
  }
  SessionBuilder& stalled(Duration age) { return entry_.view.stalled_since = noon - age, *this; }
  /// What the newest sample says: PostgreSQL's state and wait event.
  SessionBuilder& row(std::string state, std::string wait_event = {}, std::string query = {}) {
    entry_.row.reset();  // what was built before keeps its own
    ActivityRow& row = entry_.row.edit();
    row.backend = *entry_.backend;
    row.state = std::move(state);
    row.wait_event = std::move(wait_event);
    row.query = std::move(query);
    return *this;
  }
  SessionBuilder& mapping(Mapping mapping) { return entry_.mapping = mapping, *this; }

  [[nodiscard]] protocol::SessionFacts& facts() { return entry_.view.facts; }
  [[nodiscard]] proxy::SessionIdentity& who() { return who_; }
  [[nodiscard]] SessionEntry& entry() { return entry_; }

  operator SessionEntry()
      const {  // NOLINT(google-explicit-constructor): a builder reads as what it builds
    SessionEntry built = entry_;
    built.view.who = std::make_shared<const proxy::SessionIdentity>(who_);
    return built;
  }

 private:
  proxy::SessionIdentity who_;
  SessionEntry entry_;
};

/// A moment with these sessions and a sample one second old.
template <class... Sessions>
Snapshot snapshot_of(const Sessions&... sessions) {
  Snapshot snapshot;
  snapshot.now = noon;
  snapshot.server = "orders";
  snapshot.monitor_up = true;
  snapshot.sample_age = 1s;
  snapshot.advisory_taken = noon;
  (snapshot.sessions.push_back(sessions), ...);
  return snapshot;
}

inline Snapshot without_sample(Snapshot snapshot) {
  snapshot.monitor_up = false;
  snapshot.sample_age.reset();
  snapshot.advisory_taken.reset();
  snapshot.blocking = {};
  for (auto& entry : snapshot.sessions) entry.row.reset();
  return snapshot;
}

inline Snapshot without_monitor(Snapshot snapshot) {
  snapshot = without_sample(std::move(snapshot));
  snapshot.monitor_configured = false;
  return snapshot;
}

inline config::Rule rule(std::string name, RuleKind kind, config::Duration limit,
                         Action action = Action::terminate) {
  config::Rule rule;
  rule.name = std::move(name);
  rule.kind = kind;
  rule.limit = limit;
  rule.action = action;
  return rule;
}

inline config::Pattern pattern(std::string text) {
  return {std::move(text), {"pgleash.toml", 12, 20}};
}

inline std::unique_ptr<RuleEngine> engine(const std::vector<config::Rule>& rules,
                                          const config::Protect& protect = {}) {
  std::vector<config::Diagnostic> diagnostics;
  return RuleEngine::compile(rules, protect, diagnostics, VerdictIds{42});
}

}  // namespace pgleash::watchdog
