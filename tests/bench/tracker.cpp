#include "protocol/session_tracker.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <benchmark/benchmark.h>
#include <string>

/// What following the protocol costs a worker: one transaction of each kind, both directions, each
/// direction in one chunk; and rows in bulk.
namespace pgleash::protocol {
namespace {

class Nothing final : public TrackerEvents {
  void backend_key(BackendPid, Bytes) override {}
  void parameter_status(std::string_view, std::string_view) override {}
  void server_error(std::string_view, std::string_view) override {}
  void negotiated_minor(std::int32_t) override {}
};

struct Session {
  StatementTexts texts;
  Nothing events;
  SessionTracker tracker{texts, Instant{}};
  Session() { tracker.on_backend(wire::bytes(wire::login()), Instant{}, events); }
  void round(std::string_view up, std::string_view down) {
    tracker.on_frontend(wire::bytes(up), Instant{}, events);
    tracker.on_backend(wire::bytes(down), Instant{}, events);
  }
};

const std::string row = wire::message('T', std::string(30, 'x')) +
                        wire::message('D', "0123456789") + wire::complete("SELECT 1") +
                        wire::ready();

void same_simple_query(benchmark::State& state) {
  Session session;
  const std::string query = wire::query("SELECT abalance FROM pgbench_accounts WHERE aid = 1");
  for (auto _ : state) session.round(query, row);
}
BENCHMARK(same_simple_query);

/// As pgbench -S sends them: each text another one.
void other_simple_query(benchmark::State& state) {
  Session session;
  std::vector<std::string> queries;
  for (int i = 0; i < 1024; ++i)
    queries.push_back(wire::query("SELECT abalance FROM pgbench_accounts WHERE aid = " +
                                  std::to_string(i * 977)));
  std::size_t next = 0;
  for (auto _ : state) session.round(queries[next++ % queries.size()], row);
}
BENCHMARK(other_simple_query);

void extended_query(benchmark::State& state) {
  Session session;
  const std::string up = wire::parse("SELECT $1") + wire::bind() + wire::execute() + wire::sync();
  const std::string down = wire::message('1') + wire::message('2') +
                           wire::message('D', "0123456789") + wire::complete("SELECT 1") +
                           wire::ready();
  for (auto _ : state) session.round(up, down);
}
BENCHMARK(extended_query);

void rows_of_100_bytes(benchmark::State& state) {
  Session session;
  session.tracker.on_frontend(wire::bytes(wire::query("select * from t")), Instant{},
                              session.events);
  std::string rows;
  while (rows.size() < (64U << 10U)) rows += wire::message('D', std::string(95, 'x'));
  for (auto _ : state) session.tracker.on_backend(wire::bytes(rows), Instant{}, session.events);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * rows.size()));
}
BENCHMARK(rows_of_100_bytes);

}  // namespace
}  // namespace pgleash::protocol

BENCHMARK_MAIN();
