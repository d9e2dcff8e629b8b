#include "config/config.hpp"
#include "watchdog/leak_watch.hpp"
#include "watchdog/rule_engine.hpp"
#include "watchdog/session_book.hpp"
#include "watchdog/snapshot.hpp"

#include <benchmark/benchmark.h>
#include <memory>
#include <string>
#include <vector>

/// What a tick of the watchdog costs the control thread, for many sessions: a tenth of them work,
/// a twentieth is idle in a transaction, the others are idle; fifty applications; a sample that
/// shows each of them.
namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;
using protocol::SessionState;
using protocol::TransactionStatus;

struct World {
  std::vector<proxy::SessionView> views;
  ActivitySample sample;
  Instant now = Instant{} + 1000h;
};

SessionState state_of(std::size_t number) {
  if (number % 10 == 0) return SessionState::busy;
  return number % 20 == 1 ? SessionState::idle_in_transaction : SessionState::idle;
}

World world(std::size_t sessions) {
  World made;
  for (std::size_t i = 0; i < sessions; ++i) {
    const auto pid = protocol::BackendPid{static_cast<std::int32_t>(1000 + i)};
    const auto port = static_cast<std::int32_t>(10000 + i);
    proxy::SessionIdentity who;
    who.listener = "main";
    who.server = "orders";
    who.client = {"10.0.0." + std::to_string(i % 200), port};
    who.user = "web";
    who.database = "orders";
    who.application = who.application_name = "service-" + std::to_string(i % 50);
    who.leg = {"10.1.0.1", port};
    who.pid = pid;
    who.connected = made.now - 1h;

    proxy::SessionView& view = made.views.emplace_back();
    view.id = proxy::SessionId{i + 1};
    view.who = std::make_shared<const proxy::SessionIdentity>(std::move(who));
    view.facts.state = state_of(i);
    if (view.facts.state == SessionState::idle_in_transaction)
      view.facts.transaction = TransactionStatus::in_transaction;
    if (view.facts.state == SessionState::busy) view.facts.outstanding = 1;
    view.facts.state_since = view.facts.request_since = view.facts.transaction_since =
        made.now - std::chrono::seconds{i % 100};

    ActivityRow& row = made.sample.rows.emplace_back().edit();
    row.backend = {pid, ServerTime{static_cast<std::int64_t>(i) + 1}};
    row.user = "web";
    row.database = "orders";
    row.application_name = made.views.back().who->application_name;
    row.client_addr = "10.1.0.1";
    row.client_port = port;
    row.state = protocol::name(view.facts.state);
    row.backend_age = 1h;
  }
  made.sample.taken = made.now - 500ms;
  made.sample.max_connections = static_cast<std::uint32_t>(sessions) + 100;
  return made;
}

/// Views: all of them copied, and the book patched with those of the tenth that works.
void views_copied(benchmark::State& state) {
  const World made = world(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    std::vector<proxy::SessionView> views = made.views;
    benchmark::DoNotOptimize(views);
  }
}
BENCHMARK(views_copied)->Arg(5000)->Arg(20000)->Unit(benchmark::kMillisecond);

void views_patched(benchmark::State& state) {
  const World made = world(static_cast<std::size_t>(state.range(0)));
  SessionBook book;
  book.apply({true, made.views, {}});
  proxy::ViewChanges changes;
  for (std::size_t i = 0; i < made.views.size(); i += 10) changes.changed.push_back(made.views[i]);
  for (auto _ : state) book.apply(changes);
}
BENCHMARK(views_patched)->Arg(5000)->Arg(20000)->Unit(benchmark::kMillisecond);

void join(benchmark::State& state) {
  const World made = world(static_cast<std::size_t>(state.range(0)));
  SnapshotJoin joiner{"orders"};
  for (auto _ : state)
    benchmark::DoNotOptimize(joiner.join(made.now, made.views, &made.sample, true));
}
BENCHMARK(join)->Arg(5000)->Arg(20000)->Unit(benchmark::kMillisecond);

void evaluate(benchmark::State& state) {
  const World made = world(static_cast<std::size_t>(state.range(0)));
  SnapshotJoin joiner{"orders"};
  Snapshot snapshot = joiner.join(made.now, made.views, &made.sample, true);
  std::vector<config::Diagnostic> faults;
  const auto engine =
      RuleEngine::compile(config::default_rules(), config::Protect{}, faults, VerdictIds{1});
  for (auto _ : state) benchmark::DoNotOptimize(engine->evaluate(snapshot));
}
BENCHMARK(evaluate)->Arg(5000)->Arg(20000)->Unit(benchmark::kMillisecond);

void leaks(benchmark::State& state) {
  const World made = world(static_cast<std::size_t>(state.range(0)));
  SnapshotJoin joiner{"orders"};
  Snapshot snapshot = joiner.join(made.now, made.views, &made.sample, true);
  LeakWatch watch{config::Leak{}, config::Protect{}, VerdictIds{1}, 30s};
  for (auto _ : state) {
    snapshot.now += 1s;
    benchmark::DoNotOptimize(watch.tick(snapshot));
  }
}
BENCHMARK(leaks)->Arg(5000)->Arg(20000)->Unit(benchmark::kMillisecond);

/// All three, as in each tick.
void tick(benchmark::State& state) {
  const World made = world(static_cast<std::size_t>(state.range(0)));
  SnapshotJoin joiner{"orders"};
  std::vector<config::Diagnostic> faults;
  const auto engine =
      RuleEngine::compile(config::default_rules(), config::Protect{}, faults, VerdictIds{1});
  LeakWatch watch{config::Leak{}, config::Protect{}, VerdictIds{2}, 30s};
  Instant now = made.now;
  for (auto _ : state) {
    now += 1s;
    const Snapshot snapshot = joiner.join(now, made.views, &made.sample, true);
    benchmark::DoNotOptimize(engine->evaluate(snapshot));
    benchmark::DoNotOptimize(watch.tick(snapshot));
  }
}
BENCHMARK(tick)->Arg(5000)->Arg(20000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pgleash::watchdog

BENCHMARK_MAIN();
