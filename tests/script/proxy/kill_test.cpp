#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>

namespace pgleash::proxy {
namespace {

using protocol::SessionState;

std::string our_fatal() {
  return protocol::error_response({.sqlstate = "57P05",
                                   .message = "ended by the test",
                                   .detail = "the detail",
                                   .hint = "the hint"});
}

struct Waiting {
  const char* name;
  SessionState state;
  std::string up;
  std::string down;
};

std::ostream& operator<<(std::ostream& out, const Waiting& waiting) {
  return out << waiting.name;
}

class KillOfAWaitingSession : public ::testing::TestWithParam<Waiting> {};

TEST_P(KillOfAWaitingSession, TellsTheClientAndTerminatesTheServer) {
  Stage stage;
  Pair pair = stage.login();
  if (!GetParam().up.empty()) {
    pair.up(GetParam().up);
    pair.down(GetParam().down);
  }
  ASSERT_EQ(stage.state_of(pair), GetParam().state);
  auto asked = stage.carry_out(stage.order_for(pair));
  pair.client.expect(our_fatal());
  pair.client.expect_end();  // a FIN: a reset could take the message away
  const bool copying = GetParam().state == SessionState::copy_in;
  if (copying) pair.server.expect(protocol::copy_fail("ended by the test"));
  pair.server.expect(protocol::terminate());
  pair.server.close();
  const KillReport report = Stage::result(asked);
  EXPECT_EQ(report.result, KillResult::done) << report.why;
  EXPECT_EQ(report.step, copying ? InBandStep::end_copy_in : InBandStep::end_waiting);
  EXPECT_TRUE(report.client_told);
  EXPECT_TRUE(report.server_eof);
  EXPECT_EQ(stage.events.count("closed rule"), 1U);
  EXPECT_FALSE(stage.backend.called());
}

INSTANTIATE_TEST_SUITE_P(
    In, KillOfAWaitingSession,
    ::testing::Values(
        Waiting{"Idle", SessionState::idle, "", ""},
        Waiting{"IdleInTransaction", SessionState::idle_in_transaction, wire::query("begin"),
                wire::complete("BEGIN") + wire::ready('T')},
        Waiting{"Aborted", SessionState::aborted, wire::query("begin; bad"),
                wire::complete("BEGIN") + wire::error("42601") + wire::ready('E')},
        Waiting{"PipelineFlushed", SessionState::pipeline_flushed,
                wire::parse("select 1") + wire::bind() + wire::execute() + wire::message('H'),
                wire::message('1') + wire::message('2') + wire::message('D') +
                    wire::complete("SELECT 1")},
        Waiting{"PipelineFailed", SessionState::pipeline_failed,
                wire::parse("bad") + wire::bind() + wire::message('H'), wire::error("42601")},
        Waiting{"CopyIn", SessionState::copy_in, wire::query("copy t from stdin"),
                wire::message('G', std::string(3, '\0'))}),
    [](const auto& one) { return std::string{one.param.name}; });

TEST(Kill, ReportsAServerThatDoesNotClose) {
  Stage stage;
  Pair pair = stage.login();
  auto asked = stage.carry_out(stage.order_for(pair));
  pair.client.expect(our_fatal());
  const KillReport report = Stage::result(asked);
  EXPECT_EQ(report.result, KillResult::done);
  EXPECT_FALSE(report.server_eof);
  pair.server.expect_reset();
}

TEST(Kill, ResetsTheServerLegOfABusySessionBeforeItCancels) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  auto asked = stage.carry_out(stage.order_for(pair));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(pair.server.end(), StreamEnd::reset);
  EXPECT_EQ(cancel.pid, pair.pid);
  EXPECT_EQ(cancel.secret, pair.secret);
  EXPECT_EQ(asked.wait_for(100ms), std::future_status::timeout)
      << "the end of the cancel connection is awaited";
  cancel.connection.close();
  const KillReport report = Stage::result(asked);
  EXPECT_EQ(report.result, KillResult::done) << report.why;
  EXPECT_EQ(report.step, InBandStep::reset_then_cancel);
  EXPECT_TRUE(report.client_told);
  EXPECT_EQ(pair.client.read_to_end(), our_fatal());
  EXPECT_EQ(stage.cancels(CancelOrigin::rule, CancelResult::delivered), 1U);
}

TEST(Kill, EndsWorkThatWasAskedForBeforeATerminate) {
  // Terminate behind it is no leave to run for ever: it is judged as any other work is.
  for (const bool gone : {false, true}) {
    Stage stage;
    Pair pair = stage.login();
    pair.up(wire::query("select pg_sleep(600)") + protocol::terminate());
    ASSERT_EQ(stage.state_of(pair), SessionState::busy);
    KillOrder order = stage.order_for(pair);
    if (gone) pair.client.close();
    auto asked = stage.carry_out(order);
    test::CancelArrived cancel = stage.backend.accept_cancel();
    EXPECT_EQ(pair.server.end(), StreamEnd::reset);
    EXPECT_EQ(cancel.pid, pair.pid);
    cancel.connection.close();
    const KillReport report = Stage::result(asked);
    EXPECT_EQ(report.result, KillResult::done) << report.why;
    EXPECT_EQ(report.step, InBandStep::reset_then_cancel);
  }
}

/// A cancel that comes before the backend has read the statement is forgotten (and does not hit
/// the next one either). On a busy server that is how it goes.
TEST(Kill, CancelsAgainWhatRunsOnAsIfNothingHadCome) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  KillOrder order = stage.order_for(pair, KillAction::cancel);
  order.deadline = 20s;
  auto asked = stage.carry_out(order);
  stage.backend.accept_cancel().connection.close();
  pair.client.send(wire::query("select 'meanwhile'"));
  test::CancelArrived again = stage.backend.accept_cancel();
  EXPECT_EQ(again.pid, pair.pid);
  again.connection.close();
  pair.server.send(wire::error("57014") + wire::ready());
  const KillReport report = Stage::result(asked);
  EXPECT_EQ(report.result, KillResult::done) << report.why;
  EXPECT_TRUE(report.statement_ended);
  EXPECT_TRUE(report.client_told);
  EXPECT_EQ(stage.cancels(CancelOrigin::rule, CancelResult::delivered), 2U);
  pair.server.expect(wire::query("select 'meanwhile'"));
}

TEST(Kill, SaysNothingInsideAHalfSentMessage) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select large"));
  pair.down(wire::message('D', std::string(100, 'x')).substr(0, 50));
  auto asked = stage.carry_out(stage.order_for(pair));
  stage.backend.accept_cancel().connection.close();
  EXPECT_FALSE(Stage::result(asked).client_told);
  pair.client.expect_end();
}

TEST(Kill, ResetsAServerThatWaitsForTheRestOfAMessage) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select 1").substr(0, 3));
  ASSERT_TRUE(stage.session_of(pair).facts.half_message);
  auto asked = stage.carry_out(stage.order_for(pair));
  const KillReport report = Stage::result(asked);
  ASSERT_EQ(report.result, KillResult::done)
      << report.why << " in " << protocol::name(stage.state_of(pair));
  EXPECT_EQ(report.step, InBandStep::reset_stalled);
  EXPECT_TRUE(report.client_told);
  pair.server.expect_reset();
  EXPECT_EQ(pair.client.read_to_end(), our_fatal());
}

/// Sends rows until the proxy takes no more, as its client does not read.
std::string stall(Stage& stage, Pair& pair) {
  pair.up(wire::query("select large"));
  const std::string row = wire::message('D', std::string(32'000, 'x'));
  std::string sent;
  const auto stalled = [&] { return stage.session_of(pair).stalled_since != Instant{}; };
  const bool done = soon([&] {
    for (int i = 0; i < 32; ++i) {
      const std::size_t taken = pair.server.send_some(row);
      sent.append(row, 0, taken);
      if (taken < row.size()) {
        if (taken == 0) break;
        pair.server.send(std::string_view{row}.substr(taken));
        sent.append(row, taken);
        break;
      }
    }
    return stalled();
  });
  EXPECT_TRUE(done);
  return sent;
}

TEST(Kill, ResetsTheServerLegOfAStalledReader) {
  Stage stage;
  Pair pair = stage.login();
  (void)stall(stage, pair);
  KillOrder order = stage.order_for(pair);
  order.counter = JudgedCounter::request;
  order.require_stalled = true;
  order.stalled_since = stage.session_of(pair).stalled_since;
  auto asked = stage.carry_out(order);
  // Behind the reset, since a server that is between two rows would go on computing.
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.pid, pair.pid);
  pair.server.expect_reset();
  cancel.connection.close();
  const KillReport report = Stage::result(asked);
  EXPECT_EQ(report.result, KillResult::done) << report.why;
  EXPECT_EQ(report.step, InBandStep::reset_stalled);
  EXPECT_FALSE(report.client_told);
}

TEST(Kill, TakesACopyBehindItsCopyDoneForTheWorkThatItIs) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("copy t from stdin"));
  pair.down(wire::message('G', std::string_view{"\0\0\0", 3}));
  pair.up(wire::message('d', "1\n") + wire::message('c'));
  EXPECT_EQ(stage.state_of(pair), SessionState::busy)
      << "triggers and constraints may run for long";
  auto asked = stage.carry_out(stage.order_for(pair));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  pair.server.expect_reset();
  cancel.connection.close();
  EXPECT_EQ(Stage::result(asked).step, InBandStep::reset_then_cancel);
}

TEST(Kill, SparesAStalledReaderThatReadsAgain) {
  Stage stage;
  Pair pair = stage.login();
  const std::string sent = stall(stage, pair);
  KillOrder order = stage.order_for(pair);
  order.counter = JudgedCounter::request;
  order.require_stalled = true;
  order.stalled_since = stage.session_of(pair).stalled_since;
  pair.client.expect(sent);
  auto asked = stage.carry_out(order);
  EXPECT_EQ(Stage::result(asked).result, KillResult::recovered);
  pair.down(wire::complete("SELECT 9") + wire::ready());
  pair.echo();
}

TEST(Kill, SparesASessionThatMovedOn) {
  Stage stage;
  Pair pair = stage.login();
  const KillOrder order = stage.order_for(pair);
  pair.echo();
  auto asked = stage.carry_out(order);
  EXPECT_EQ(Stage::result(asked).result, KillResult::recovered);
  pair.echo();
}

TEST(Kill, SparesASessionWhoseBytesNobodyHasRead) {
  // A client's cancel in flight keeps the proxy from reading the client: what it sends waits in the
  // socket.
  Stage stage;
  Pair pair = stage.login();
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(pair.pid, pair.secret));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  pair.client.send(wire::query("select 1"));
  const KillOrder order = stage.order_for(pair);
  auto asked = stage.carry_out(order);
  EXPECT_EQ(Stage::result(asked).result, KillResult::recovered);
  cancel.connection.close();
  pair.server.expect(wire::query("select 1"));
}

TEST(Kill, TrustsNoDegradedTracking) {
  Stage stage;
  Pair pair = stage.login();
  pair.down(wire::ready());  // nobody asked for it
  ASSERT_TRUE(stage.session_of(pair).facts.degraded);
  auto asked = stage.carry_out(stage.order_for(pair));
  EXPECT_EQ(Stage::result(asked).result, KillResult::untrustworthy);
  pair.echo();
}

TEST(Kill, SparesACommit) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("commit"));
  for (const KillAction action : {KillAction::terminate, KillAction::cancel}) {
    auto asked = stage.carry_out(stage.order_for(pair, action));
    EXPECT_EQ(Stage::result(asked).result, KillResult::exempt_now);
  }
  pair.down(wire::complete("COMMIT") + wire::ready());
}

TEST(Kill, ReportsASessionThatIsGone) {
  Stage stage;
  Pair pair = stage.login();
  const KillOrder order = stage.order_for(pair);
  pair.client.close();
  pair.server.close();
  ASSERT_TRUE(soon([&] { return stage.views().empty(); }));
  auto asked = stage.carry_out(order);
  EXPECT_EQ(Stage::result(asked).result, KillResult::gone);
}

// ---------------------------------------------------------------- cancel alone

TEST(KillByCancel, HoldsTheClientsBytesWhileItIsInFlight) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.pid, pair.pid);
  EXPECT_EQ(cancel.secret, pair.secret);
  pair.client.send(wire::query("select 2") + wire::query("select 3"));
  pair.server.send(wire::error("57014") + wire::ready());
  const std::string error = pair.client.read_message();
  EXPECT_EQ(test::error_field(error, 'S'), "ERROR");
  EXPECT_EQ(test::error_field(error, 'M'), "ended by the test")
      << "the rule's words, not \"due to user request\"";
  pair.client.expect(wire::ready());
  EXPECT_TRUE(pair.server.silent());
  EXPECT_EQ(asked.wait_for(100ms), std::future_status::timeout);
  EXPECT_TRUE(pair.server.silent());
  cancel.connection.close();
  const KillReport report = Stage::result(asked);
  EXPECT_EQ(report.result, KillResult::done) << report.why;
  EXPECT_EQ(report.step, InBandStep::cancel);
  EXPECT_TRUE(report.statement_ended);
  EXPECT_TRUE(report.client_told);
  pair.server.expect(wire::query("select 2") + wire::query("select 3"));
}

/// Rows stream: the order comes while one of them is under way, mostly in the middle of its header.
TEST(KillByCancel, SaysItInTheRulesWordsWhateverIsUnderWayThen) {
  const std::string row = wire::message('D', std::string_view{"\0\1\0\0\0\1x", 7});
  for (std::size_t cut = 1; cut < row.size(); ++cut) {
    Stage stage;
    Pair pair = stage.login();
    pair.up(wire::query("select generate_series(1, 1000000)"));
    pair.down(row + row.substr(0, cut));
    auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
    test::CancelArrived cancel = stage.backend.accept_cancel();
    pair.server.send(row.substr(cut) + row + wire::error("57014") + wire::ready());
    pair.client.expect(row.substr(cut) + row);
    EXPECT_EQ(test::error_field(pair.client.read_message(), 'M'), "ended by the test") << cut;
    cancel.connection.close();
    EXPECT_TRUE(Stage::result(asked).client_told);
  }
}

/// A statement that streams rows has its error anywhere in what is read, also across two reads.
TEST(KillByCancel, SaysItInTheRulesWordsWhereverTheServersErrorIsCut) {
  const std::string row = wire::message('D', std::string_view{"\0\1\0\0\0\1x", 7});
  const std::string error = wire::error("57014");
  for (std::size_t cut = 1; cut < error.size(); cut += 7) {
    Stage stage;
    Pair pair = stage.login();
    pair.up(wire::query("select generate_series(1, 1000000)"));
    pair.down(row);
    auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
    test::CancelArrived cancel = stage.backend.accept_cancel();
    pair.server.send(row + error.substr(0, cut));
    pair.client.expect(row);
    EXPECT_TRUE(pair.client.silent()) << "half of an error is of no use";
    cancel.connection.close();
    pair.server.send(error.substr(cut) + wire::ready());
    EXPECT_EQ(test::error_field(pair.client.read_message(), 'M'), "ended by the test") << cut;
    pair.client.expect(wire::ready());
    const KillReport report = Stage::result(asked);
    EXPECT_EQ(report.result, KillResult::done) << report.why;
    EXPECT_TRUE(report.client_told);
    pair.echo();
  }
}

TEST(KillByCancel, PassesOnWhatAClientSentBeforeItResetMeanwhile) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  const std::string words = wire::query("insert into t values (1)") + protocol::terminate();
  pair.client.send(words);
  pair.client.reset();
  EXPECT_TRUE(pair.server.silent());
  pair.server.send(wire::error("57014") + wire::ready());
  cancel.connection.close();
  EXPECT_EQ(Stage::result(asked).result, KillResult::done);
  pair.server.expect(words);
}

TEST(KillByCancel, WaitsUntilOneRequestIsOutstanding) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)") + wire::query("select 2"));
  KillOrder order = stage.order_for(pair, KillAction::cancel);
  order.deadline = 300ms;
  auto asked = stage.carry_out(order);
  EXPECT_EQ(Stage::result(asked).result, KillResult::failed);
  EXPECT_FALSE(stage.backend.called());
  pair.down(wire::complete("SELECT 1") + wire::ready() + wire::complete("SELECT 1") +
            wire::ready());
  pair.echo();
}

TEST(KillByCancel, IsNotSentWhileASegmentWithoutItsSyncStandsBehind) {
  // Its Sync would be held back with the client's other bytes: the segment could be hit, and nobody
  // would know.
  Stage stage;
  Pair pair = stage.login();
  const std::string segment = wire::message('P', std::string_view{"\0select 2\0\0\0", 12}) +
                              wire::message('B', std::string_view{"\0\0\0\0\0\0\0\0", 8}) +
                              wire::message('E', std::string_view{"\0\0\0\0\0", 5});
  pair.up(wire::query("select pg_sleep(600)") + segment);
  KillOrder order = stage.order_for(pair, KillAction::cancel);
  order.deadline = 300ms;
  auto asked = stage.carry_out(order);
  EXPECT_EQ(Stage::result(asked).result, KillResult::failed);
  EXPECT_FALSE(stage.backend.called());
}

TEST(KillByCancel, LeavesTheServersOwn57014Alone) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)") + wire::query("select 2"));
  auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  (void)stage.views();  // the order waits for its moment by then
  const std::string own = wire::error("57014") + wire::ready();
  pair.server.send(own);
  pair.client.expect(own);
  EXPECT_EQ(Stage::result(asked).result, KillResult::recovered);
}

TEST(KillByCancel, IsNotSentToAStatementThatHasEnded) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)") + wire::query("select 2"));
  auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  (void)stage.views();  // the order is on its way by then
  pair.down(wire::complete("SELECT 1") + wire::ready());
  EXPECT_EQ(Stage::result(asked).result, KillResult::recovered)
      << "the judged statement was the first one";
  EXPECT_FALSE(stage.backend.called());
}

TEST(KillByCancel, FailsWithoutAKey) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  Pair pair{std::move(client), std::move(server), 0, ""};
  pair.down(wire::authentication(0) + wire::ready());
  pair.up(wire::query("select pg_sleep(600)"));
  auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  EXPECT_EQ(Stage::result(asked).result, KillResult::failed);
}

// ---------------------------------------------------------------- cancel requests of clients

TEST(ClientCancel, IsHeldOpenUntilTheServerClosesAndTheSessionsBytesWait) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(pair.pid, pair.secret));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  pair.down(wire::error("57014") + wire::ready());
  pair.client.send(wire::query("select 2"));
  EXPECT_FALSE(test::wait_until([&] { return pair.server.unread() > 0; }, 100ms));
  EXPECT_EQ(canceller.end(), StreamEnd::open);
  cancel.connection.close();
  canceller.expect_end();
  pair.server.expect(wire::query("select 2"));
  EXPECT_EQ(stage.cancels(CancelOrigin::client, CancelResult::delivered), 1U);
}

TEST(ClientCancel, WithAnUnknownKeyIsTheServersAffair) {
  Stage stage;
  Pair pair = stage.login();
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(pair.pid, "nope"));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.secret, "nope");
  pair.echo();
  cancel.connection.close();
  canceller.expect_end();
}

}  // namespace
}  // namespace pgleash::proxy
