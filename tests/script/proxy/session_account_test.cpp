#include "tests/script/proxy/stage.hpp"

#include <gtest/gtest.h>

#include <chrono>

/// What sessions cost is booked on their application, while it goes on and once.
namespace pgleash::proxy {
namespace {

struct Booked {
  std::uint64_t bytes = 0;
  std::chrono::microseconds idle{};
  std::chrono::microseconds stalled{};
};

/// As it is after a look at the sessions, as the watchdog takes one at each tick.
Booked booked(Stage& stage, std::string_view application) {
  (void)stage.views();
  Booked sum;
  for (const auto& worker : stage.proxy->workers()) {
    for (const auto& counts : worker->server_counters().front().applications.all()) {
      if (counts->name != application) continue;
      sum.bytes += counts->sent_bytes.get();
      sum.idle += std::chrono::microseconds{counts->idle_in_transaction_microseconds.get()};
      sum.stalled += std::chrono::microseconds{counts->stalled_microseconds.get()};
    }
  }
  return sum;
}

std::string name_of(Stage& stage, const Pair& pair) {
  return stage.session_of(pair).who->application;
}

TEST(SessionAccount, AnIdleTransactionIsCountedWhileItGoesOnAndNoLonger) {
  Stage stage;
  Pair pair = stage.login();
  const std::string who = name_of(stage, pair);
  const auto before = std::chrono::steady_clock::now();
  pair.up(wire::query("begin"));
  pair.down(wire::complete("BEGIN") + wire::ready('T'));
  ASSERT_TRUE(soon([&] { return booked(stage, who).idle > 100ms; }));
  pair.up(wire::query("commit"));
  const auto after = std::chrono::steady_clock::now();
  pair.down(wire::complete("COMMIT") + wire::ready());
  const auto total = booked(stage, who).idle;
  EXPECT_LE(total, after - before) << "counted twice";
  for (int i = 0; i < 100; ++i) pair.echo();
  EXPECT_EQ(booked(stage, who).idle, total) << "outside of a transaction nothing is wasted";
}

TEST(SessionAccount, ATransactionThatFailedIdlesTooAndItsEndIsBooked) {
  Stage stage;
  Pair pair = stage.login();
  const std::string who = name_of(stage, pair);
  pair.up(wire::query("begin"));
  const auto since = std::chrono::steady_clock::now();
  pair.down(wire::complete("BEGIN") + wire::ready('E'));
  ASSERT_TRUE(soon([&] { return std::chrono::steady_clock::now() - since > 60ms; }));
  const auto elapsed = std::chrono::steady_clock::now() - since;
  pair.client.close();  // nobody took a look meanwhile
  pair.server.expect_end();
  ASSERT_TRUE(soon([&] { return booked(stage, who).idle >= 50ms; }));
  EXPECT_LT(booked(stage, who).idle, elapsed + 1s);
}

TEST(SessionAccount, BytesAreCountedOnce) {
  Stage stage;
  Pair pair = stage.login();
  const std::string who = name_of(stage, pair);
  const auto login = booked(stage, who).bytes;
  const std::string answer = wire::message('D') + wire::complete("SELECT 1") + wire::ready();
  for (int i = 0; i < 10; ++i) {
    pair.echo();
    (void)stage.views();
  }
  EXPECT_EQ(booked(stage, who).bytes, login + 10 * answer.size());
}

TEST(SessionAccount, AResultThatNobodyReadsIsCountedUntilItIsRead) {
  constexpr std::size_t size = 64U << 20U;
  Stage stage;
  Pair pair = stage.login();
  const std::string who = name_of(stage, pair);
  pair.up(wire::query("select much"));
  const std::string block(1U << 20U, 'x');
  std::jthread sender{[&] {
    pair.server.send('D' + wire::int32(static_cast<std::uint32_t>(size + 4)));
    for (std::size_t at = 0; at < size; at += block.size()) pair.server.send(block);
    pair.server.send(wire::complete("SELECT 1") + wire::ready());
  }};
  ASSERT_TRUE(soon([&] { return booked(stage, who).stalled > 100ms; }));
  std::string sink(block.size(), '\0');
  std::size_t got = 0;
  const std::size_t whole = size + 5 + wire::complete("SELECT 1").size() + wire::ready().size();
  while (got < whole) {
    const std::size_t some = pair.client.read_some(sink.data(), sink.size());
    ASSERT_GT(some, 0U);
    got += some;
  }
  const auto total = booked(stage, who).stalled;
  for (int i = 0; i < 100; ++i) pair.echo();
  EXPECT_EQ(booked(stage, who).stalled, total) << "nothing waits for it any more";
  EXPECT_EQ(booked(stage, who).idle, 0us);
}

TEST(SessionAccount, NobodyIsBookedBeforeTheLoginIsOver) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  ASSERT_TRUE(soon([&] { return !stage.views().empty(); }));
  for (const auto& worker : stage.proxy->workers())
    EXPECT_TRUE(worker->server_counters().front().applications.all().empty());
}

TEST(SessionAccount, ACancelRequestIsTimedOnTheServerThatItWentTo) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(pair.pid, pair.secret));
  test::CancelArrived arrived = stage.backend.accept_cancel();
  arrived.connection.close();
  canceller.expect_end();
  const auto timed = [&] {
    std::uint64_t count = 0;
    for (const auto& worker : stage.proxy->workers())
      for (const auto& bucket : worker->server_counters().front().cancel_duration.buckets)
        count += bucket.get();
    return count;
  };
  EXPECT_TRUE(soon([&] { return timed() == 1; }));
  for (const auto& worker : stage.proxy->workers())
    EXPECT_EQ(worker->server_counters().front().cancels_waiting.get(), 0U);
}

TEST(SessionAccount, TheTicksTellTheirLateness) {
  Stage stage;
  ASSERT_TRUE(soon([&] {
    std::uint64_t ticks = 0;
    for (const auto& worker : stage.proxy->workers())
      for (const auto& bucket : worker->lag().buckets) ticks += bucket.get();
    return ticks >= 4;
  }));
}

}  // namespace
}  // namespace pgleash::proxy
