#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <sys/resource.h>

/// Kills whose client is told on its next use.
namespace pgleash::proxy {
namespace {

using protocol::SessionState;

std::string our_fatal() {
  return protocol::error_response({.sqlstate = "57P05",
                                   .message = "ended by the test",
                                   .detail = "the detail",
                                   .hint = "the hint"});
}

KillOrder silent_order(Stage& stage, const Pair& pair, Duration within = 1h) {
  KillOrder order = stage.order_for(pair);
  order.notify_within = within;
  return order;
}

/// Ends the session behind its client's back.
KillReport silence(Stage& stage, Pair& pair, Duration within = 1h) {
  auto asked = stage.carry_out(silent_order(stage, pair, within));
  pair.server.expect(protocol::terminate());
  pair.server.close();
  return Stage::result(asked);
}

std::uint64_t untold(const Stage& stage) {
  std::uint64_t sum = 0;
  for (const auto& worker : stage.proxy->workers())
    for (const ServerCounters& server : worker->server_counters()) sum += server.untold.get();
  return sum;
}

/// What it gets is the notice and a FIN; a reset could take the message away.
void expect_told(Pair& pair) {
  EXPECT_EQ(pair.client.read_to_end(), our_fatal());
}

/// Nothing of the session is left, not even in the counts.
void expect_forgotten(const Stage& stage) {
  EXPECT_TRUE(soon([&] { return stage.proxy->total_live() == 0 && untold(stage) == 0; }))
      << stage.proxy->total_live() << " live, " << untold(stage) << " untold";
  EXPECT_EQ(stage.events.count("closed rule"), 1U);
}

struct Waiting {
  const char* name;
  std::string up;
  std::string down;
};

std::ostream& operator<<(std::ostream& out, const Waiting& waiting) {
  return out << waiting.name;
}

class KillOnNextUse : public ::testing::TestWithParam<Waiting> {};

TEST_P(KillOnNextUse, FreesTheServerNowAndTellsTheClientWhenItSpeaks) {
  Stage stage;
  Pair pair = stage.login();
  if (!GetParam().up.empty()) {
    pair.up(GetParam().up);
    pair.down(GetParam().down);
  }
  const KillReport report = silence(stage, pair);
  EXPECT_EQ(report.result, KillResult::done) << report.why;
  EXPECT_EQ(report.step, InBandStep::end_waiting);
  EXPECT_TRUE(report.server_eof);
  EXPECT_FALSE(report.client_told);
  EXPECT_TRUE(report.told_on_next_use);
  EXPECT_TRUE(pair.client.silent());
  EXPECT_THAT(stage.views(), ::testing::IsEmpty());
  EXPECT_EQ(stage.events.count("closed rule"), 1U);
  EXPECT_EQ(stage.proxy->total_live(), 1U) << "its client's socket is still there";
  EXPECT_EQ(untold(stage), 1U);
  pair.client.send(wire::query("select 1"));
  expect_told(pair);
  expect_forgotten(stage);
}

INSTANTIATE_TEST_SUITE_P(In, KillOnNextUse,
                         ::testing::Values(Waiting{"Idle", "", ""},
                                           Waiting{"IdleInTransaction", wire::query("begin"),
                                                   wire::complete("BEGIN") + wire::ready('T')},
                                           Waiting{"Aborted", wire::query("begin; bad"),
                                                   wire::complete("BEGIN") + wire::error("42601") +
                                                       wire::ready('E')}),
                         [](const auto& one) { return std::string{one.param.name}; });

TEST(KilledOnNextUse, TakesHalfAMessageForUse) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  pair.client.send(wire::query("select 1").substr(0, 3));
  expect_told(pair);
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, TellsAClientThatSendsALotAndReadsLater) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  pair.client.send(wire::query(std::string(8U << 20U, ' ')) + wire::query("select 1"));
  expect_told(pair);
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, TellsAClientThatLeavesBehindItsQuery) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  pair.client.send(wire::query("select 1") + protocol::terminate());
  pair.client.half_close();
  expect_told(pair);
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, OwesATerminateNoAnswer) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  pair.client.send(protocol::terminate());
  pair.client.expect_end();
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, GoesWithItsClientsEndOfFile) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  pair.client.half_close();
  pair.client.expect_end();
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, GoesWithItsClientsReset) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  pair.client.reset();
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, TellsTheClientAtTheEndOfItsTime) {
  Stage stage;
  Pair pair = stage.login();
  const auto before = std::chrono::steady_clock::now();
  EXPECT_TRUE(silence(stage, pair, 300ms).told_on_next_use);
  expect_told(pair);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 300ms);
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, TellsTheClientWhenItIsDrained) {
  Stage stage;
  Pair pair = stage.login();
  (void)silence(stage, pair);
  stage.proxy->drain(1h);
  expect_told(pair);
  pair.client.close();
  EXPECT_TRUE(soon([&] { return stage.proxy->drained(); }));
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, TellsAtOnceWhileItIsDrained) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("begin"));
  pair.down(wire::complete("BEGIN") + wire::ready('T'));
  const KillOrder order = silent_order(stage, pair);
  stage.proxy->drain(1h);
  ASSERT_TRUE(soon([&] {
    try {
      (void)stage.connect();
      return false;
    } catch (const test::ScriptFailure&) {
      return true;
    }
  }));
  auto asked = stage.carry_out(order);
  expect_told(pair);
  pair.server.close();
  const KillReport report = Stage::result(asked);
  EXPECT_TRUE(report.client_told);
  EXPECT_FALSE(report.told_on_next_use);
}

// ---------------------------------------------------------------- before the server is gone

TEST(KilledOnNextUse, TellsAClientThatSpeaksBeforeTheServerIsGone) {
  Stage stage;
  Pair pair = stage.login();
  auto asked = stage.carry_out(silent_order(stage, pair));
  pair.server.expect(protocol::terminate());
  pair.client.send(wire::query("select 1"));
  expect_told(pair);
  EXPECT_TRUE(pair.server.silent()) << "none of it reached the server";
  pair.server.close();
  EXPECT_EQ(Stage::result(asked).result, KillResult::done);
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, GoesWithAClientThatLeavesBeforeTheServerIsGone) {
  for (const bool reset : {false, true}) {
    Stage stage;
    Pair pair = stage.login();
    auto asked = stage.carry_out(silent_order(stage, pair));
    pair.server.expect(protocol::terminate());
    reset ? pair.client.reset() : pair.client.half_close();
    EXPECT_TRUE(soon([&] { return untold(stage) == 0; }));
    pair.server.close();
    const KillReport report = Stage::result(asked);
    EXPECT_EQ(report.result, KillResult::done);
    EXPECT_TRUE(report.server_eof);
    expect_forgotten(stage);
  }
}

TEST(KilledOnNextUse, StaysSilentWhenTheServerDoesNotClose) {
  Stage stage;
  Pair pair = stage.login();
  auto asked = stage.carry_out(silent_order(stage, pair));
  const KillReport report = Stage::result(asked);
  EXPECT_TRUE(report.told_on_next_use);
  EXPECT_FALSE(report.server_eof);
  pair.server.expect_reset();
  EXPECT_TRUE(pair.client.silent());
  pair.client.send(wire::query("select 1"));
  expect_told(pair);
  expect_forgotten(stage);
}

TEST(KilledOnNextUse, PassesOnNothingThatTheServerStillSays) {
  Stage stage;
  Pair pair = stage.login();
  auto asked = stage.carry_out(silent_order(stage, pair));
  pair.server.expect(protocol::terminate());
  pair.server.send(wire::parameter("TimeZone", "UTC"));
  pair.server.close();
  (void)Stage::result(asked);
  EXPECT_TRUE(pair.client.silent());
  pair.client.send(wire::query("select 1"));
  expect_told(pair);
}

// ---------------------------------------------------------------- where silence will not do

TEST(KilledOnNextUse, SparesASessionWhoseBytesNobodyHasRead) {
  Stage stage;
  Pair pair = stage.login();
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(pair.pid, pair.secret));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  pair.client.send(wire::query("select 1"));
  auto asked = stage.carry_out(silent_order(stage, pair));
  EXPECT_EQ(Stage::result(asked).result, KillResult::recovered);
  EXPECT_EQ(untold(stage), 0U);
  cancel.connection.close();
  pair.server.expect(wire::query("select 1"));
}

TEST(KilledOnNextUse, TellsAtOnceWhoWaitsForAnAnswer) {
  Stage stage;
  Pair flushed = stage.login();
  flushed.up(wire::parse("bad") + wire::bind() + wire::message('H'));
  flushed.down(wire::error("42601"));
  auto asked = stage.carry_out(silent_order(stage, flushed));
  expect_told(flushed);
  flushed.server.close();
  EXPECT_TRUE(Stage::result(asked).client_told);

  Pair busy = stage.login();
  busy.up(wire::query("select pg_sleep(600)"));
  asked = stage.carry_out(silent_order(stage, busy));
  stage.backend.accept_cancel().connection.close();
  expect_told(busy);
  const KillReport report = Stage::result(asked);
  EXPECT_TRUE(report.client_told);
  EXPECT_FALSE(report.told_on_next_use);
  EXPECT_EQ(untold(stage), 0U);
}

TEST(KilledOnNextUse, LeavesNothingToKillTwice) {
  Stage stage;
  Pair pair = stage.login();
  const KillOrder order = silent_order(stage, pair);
  (void)silence(stage, pair);
  auto again = stage.carry_out(order);
  EXPECT_EQ(Stage::result(again).result, KillResult::gone);
  EXPECT_TRUE(pair.client.silent());
}

TEST(KilledOnNextUse, CountsInMaxSessionsUntilTheClientIsTold) {
  Stage stage{[](config::Config& config) { config.process.max_sessions = 1; }};
  Pair pair = stage.login();
  (void)silence(stage, pair);
  ScriptedPeer refused = stage.connect();
  refused.send(startup_packet());
  EXPECT_EQ(test::error_field(refused.read_to_end(), 'C'), "53300");
  EXPECT_TRUE(pair.client.silent());
  pair.client.send(wire::query("select 1"));
  expect_told(pair);
  ASSERT_TRUE(soon([&] { return stage.proxy->total_live() == 0; }));
  stage.login().echo();
}

TEST(KilledOnNextUse, TellsAtOnceWhenAThousandDoNotKnowYet) {
  // A client here and its other end in the proxy; the server legs are gone by then.
  constexpr rlim_t needed = 2 * SessionTable::max_untold + 200;
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_max < needed) GTEST_SKIP() << "needs " << needed << " descriptors";
  files.rlim_cur = std::max(files.rlim_cur, needed);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);

  Stage stage{[](config::Config& config) { config.process.workers = 1; }};
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < SessionTable::max_untold; ++i) {
    pairs.push_back(stage.login());
    ASSERT_TRUE(silence(stage, pairs.back()).told_on_next_use) << i;
  }
  EXPECT_EQ(untold(stage), SessionTable::max_untold);
  Pair one_more = stage.login();
  const KillReport report = silence(stage, one_more);
  EXPECT_TRUE(report.client_told);
  EXPECT_FALSE(report.told_on_next_use);
  expect_told(one_more);

  pairs.front().client.send(wire::query("select 1"));
  expect_told(pairs.front());
  Pair room = stage.login();
  EXPECT_TRUE(silence(stage, room).told_on_next_use);
  EXPECT_TRUE(room.client.silent());
}

}  // namespace
}  // namespace pgleash::proxy
