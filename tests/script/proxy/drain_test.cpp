#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>

namespace pgleash::proxy {
namespace {

void expect_shut_down(Pair& pair) {
  const std::string error = pair.client.read_message();
  EXPECT_EQ(test::error_field(error, 'S'), "FATAL");
  EXPECT_EQ(test::error_field(error, 'C'), "57P01");
  pair.client.expect_end();
}

TEST(Drain, EndsIdleSessionsAtOnceAndTransactionsWhenTheyAreOver) {
  Stage stage;
  Pair idle = stage.login();
  Pair working = stage.login();
  working.up(wire::query("begin"));
  working.down(wire::complete("BEGIN") + wire::ready('T'));
  ScriptedPeer starting = stage.connect();
  starting.send(ssl_request());
  starting.expect("N");

  stage.proxy->drain(1h);
  expect_shut_down(idle);
  idle.server.expect(protocol::terminate());
  idle.server.close();

  EXPECT_TRUE(soon([&] {
    try {
      (void)stage.connect();
      return false;
    } catch (const test::ScriptFailure&) {
      return true;
    }
  }));
  starting.send(startup_packet());
  EXPECT_EQ(test::error_field(starting.read_to_end(), 'C'), "57P03");
  starting.close();

  working.up(wire::query("select 1"));
  working.down(wire::complete("SELECT 1") + wire::ready('T'));
  EXPECT_EQ(stage.state_of(working), protocol::SessionState::idle_in_transaction);
  working.up(wire::query("commit"));
  working.down(wire::complete("COMMIT") + wire::ready());
  expect_shut_down(working);
  working.server.expect(protocol::terminate());
  working.server.close();
  working.client.close();
  idle.client.close();
  EXPECT_TRUE(soon([&] { return stage.proxy->drained(); }));
  EXPECT_EQ(stage.events.count("closed drain"), 2U);
}

TEST(Drain, EndsWhatIsLeftAtTheDeadline) {
  Stage stage;
  Pair in_transaction = stage.login();
  in_transaction.up(wire::query("begin"));
  in_transaction.down(wire::complete("BEGIN") + wire::ready('T'));
  Pair busy = stage.login();
  busy.up(wire::query("select pg_sleep(600)"));
  stage.proxy->drain(200ms);
  expect_shut_down(in_transaction);
  in_transaction.server.expect(protocol::terminate());
  expect_shut_down(busy);
  busy.server.expect_reset();
  in_transaction.server.close();
  in_transaction.client.close();
  busy.client.close();
  EXPECT_TRUE(soon([&] { return stage.views().empty(); }));
  auto cancel = stage.backend.accept_cancel();
  EXPECT_FALSE(stage.proxy->drained()) << "whoever goes now leaves the statement running";
  cancel.connection.close();
  EXPECT_TRUE(soon([&] { return stage.proxy->drained(); }));
}

TEST(Drain, EndsClientsThatHaveNotSaidAWordOnceTheyHadTheirTime) {
  Stage stage{[](config::Config& config) {
    config.listeners[0].login_timeout = 100ms;
    config.listeners[0].tls.mode =
        config::ListenerTlsMode::opaque;  // looks what comes before it reads
  }};
  ScriptedPeer silent = stage.connect();
  (void)silent.read_to_end();
  silent.close();
  ScriptedPeer another = stage.connect();
  stage.proxy->drain(50ms);
  EXPECT_TRUE(soon([&] { return stage.proxy->drained(); }));
}

TEST(Drain, AnEndOfTheProxyWaitsForNoSilentClient) {
  Stage stage{[](config::Config& config) { config.listeners[0].login_timeout = 1h; }};
  ScriptedPeer silent = stage.connect();
  silent.send(startup_packet().substr(0, 6));
  Pair idle = stage.login();
  stage.destroy_proxy();
  EXPECT_NE(silent.end(), StreamEnd::open);
  EXPECT_NE(idle.server.end(), StreamEnd::open);
}

}  // namespace
}  // namespace pgleash::proxy
