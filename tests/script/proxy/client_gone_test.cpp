#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>

namespace pgleash::proxy {
namespace {

void enforce(config::Config& config) {
  config.enforcement.mode = config::Mode::enforce;
  config.listeners[0].client_gone_grace = 100ms;
}

void expect_cancel_of(Stage& stage, const Pair& pair) {
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(pair.server.end(), StreamEnd::reset)
      << "the server leg must be reset before the cancel request";
  EXPECT_EQ(cancel.pid, pair.pid);
  EXPECT_EQ(cancel.secret, pair.secret);
  cancel.connection.close();
  EXPECT_TRUE(
      soon([&] { return stage.cancels(CancelOrigin::client_gone, CancelResult::delivered) == 1; }));
  EXPECT_EQ(stage.events.count("client_gone cancelled"), 1U);
}

TEST(ClientGone, StopsTheStatementOfAClientThatClosedWithoutTerminate) {
  Stage stage{enforce};
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  pair.client.close();
  expect_cancel_of(stage, pair);
}

TEST(ClientGone, StopsTheStatementAtOnceAfterAReset) {
  Stage stage{[](config::Config& config) {
    enforce(config);
    config.listeners[0].client_gone_grace = 1h;
  }};
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  pair.client.reset();
  expect_cancel_of(stage, pair);
}

TEST(ClientGone, LeavesACommitAlone) {
  Stage stage{enforce};
  for (const bool reset : {false, true}) {
    Pair pair = stage.login();
    pair.up(wire::query("begin"));
    pair.down(wire::complete("BEGIN") + wire::ready('T'));
    pair.up(wire::query("commit"));
    reset ? pair.client.reset() : pair.client.close();
    EXPECT_FALSE(stage.backend.called(400ms));
    EXPECT_NE(pair.server.end(), StreamEnd::reset);
    pair.server.send(wire::complete("COMMIT") + wire::ready());
    pair.server.expect_end();  // it finds nobody behind its COMMIT, and leaves
    pair.server.close();
    EXPECT_TRUE(soon([&] { return stage.views().empty(); }));
  }
  EXPECT_EQ(stage.events.count("client_gone cancelled"), 0U);
}

TEST(ClientGone, LetsWorkBeforeATerminateFinish) {
  Stage stage{enforce};
  for (const bool reset : {false, true}) {
    Pair pair = stage.login();
    pair.up(wire::query("insert into t values (1)") + protocol::terminate());
    reset ? pair.client.reset() : pair.client.close();
    EXPECT_FALSE(stage.backend.called(300ms));
    EXPECT_EQ(pair.server.end(), StreamEnd::open);
    pair.server.send(wire::complete("INSERT 0 1") + wire::ready());
    pair.server.close();
    EXPECT_TRUE(soon([&] { return stage.views().empty(); }));
  }
  EXPECT_EQ(stage.events.count("closed client_terminate"), 2U);
}

TEST(ClientGone, ForwardsWhatWasSentBeforeAReset) {
  // A close over an answer that was not read is a reset right behind the last words.
  Stage stage{enforce};
  const std::string words = wire::query("insert into t values (1)") + protocol::terminate();
  for (int i = 0; i < 200; ++i) {
    Pair pair = stage.login();
    pair.server.send(wire::message('A', "unread"));
    ASSERT_TRUE(soon([&] { return pair.client.unread() > 0; }));
    pair.client.send(words);
    pair.client.close();
    ASSERT_NO_THROW(pair.server.expect(words)) << "session " << i;
  }
}

TEST(ClientGone, BringsTheAnswerToAHalfClosedClient) {
  Stage stage{[](config::Config& config) {
    enforce(config);
    config.listeners[0].client_gone_grace = 10s;
  }};
  Pair pair = stage.login();
  pair.up(wire::query("select 1"));
  pair.client.half_close();
  EXPECT_TRUE(soon([&] { return pair.server.end() == StreamEnd::closed; }));
  pair.down(wire::complete("SELECT 1") + wire::ready());
  pair.server.close();
  pair.client.expect_end();
  EXPECT_FALSE(stage.backend.called());
}

TEST(ClientGone, IsOnlyCountedInObserveMode) {
  Stage stage{[](config::Config& config) { config.listeners[0].client_gone_grace = 100ms; }};
  Pair closed = stage.login();
  closed.up(wire::query("select pg_sleep(600)"));
  closed.client.close();
  EXPECT_TRUE(
      soon([&] { return stage.cancels(CancelOrigin::client_gone, CancelResult::observed) == 1; }));
  Pair reset = stage.login();
  reset.up(wire::query("select pg_sleep(600)"));
  reset.client.reset();
  EXPECT_TRUE(
      soon([&] { return stage.cancels(CancelOrigin::client_gone, CancelResult::observed) == 2; }));
  EXPECT_EQ(stage.events.count("client_gone observed"), 2U);
  EXPECT_FALSE(stage.backend.called(200ms));
}

TEST(ClientGone, StopsNothingWhenTheListenerSaysFinish) {
  Stage stage{[](config::Config& config) {
    enforce(config);
    config.listeners[0].on_client_gone = config::OnClientGone::finish;
  }};
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  pair.client.reset();
  EXPECT_FALSE(stage.backend.called(300ms));
  pair.server.send(wire::ready());
  pair.server.expect_end();
  pair.server.close();
  EXPECT_TRUE(soon([&] { return stage.views().empty(); }));
}

/// Nothing is sent after it, and it finishes.
void expect_left_alone(Stage& stage, Pair& pair, bool reset) {
  pair.up(wire::query("select pg_sleep(600)"));
  reset ? pair.client.reset() : pair.client.close();
  EXPECT_FALSE(stage.backend.called(300ms));
  EXPECT_NE(pair.server.end(), StreamEnd::reset);
  pair.server.send(wire::complete("SELECT 1") + wire::ready());
  pair.server.expect_end();
  pair.server.close();
}

TEST(ClientGone, StopsNothingOfWhoIsProtected) {
  const std::vector<std::function<void(config::Protect&)>> protections{
      [](config::Protect& protect) {
        protect.users = {{"ap+", {}}};
      },
      [](config::Protect& protect) { protect.clients = {network("127.0.0.0/8")}; },
      [](config::Protect& protect) {
        protect.entries = {{"scri.*", {"other", "app"}, {}}};
      }};
  for (const auto& protection : protections) {
    Stage stage{[&](config::Config& config) {
      enforce(config);
      protection(config.protect);
    }};
    for (const bool reset : {false, true}) {
      Pair pair = stage.login();
      expect_left_alone(stage, pair, reset);
    }
    EXPECT_EQ(stage.events.count("client_gone cancelled"), 0U);
  }
}

TEST(ClientGone, StopsWhoIsProtectedOnlyInPart) {
  const std::vector<std::function<void(config::Protect&)>> protections{
      [](config::Protect& protect) {
        protect.users = {{"ap", {}}};
      },  // a whole name
      [](config::Protect& protect) { protect.clients = {network("10.0.0.0/8")}; },
      [](config::Protect& protect) {
        protect.entries = {{"script", {"backup"}, {}}};
      },
      [](config::Protect& protect) {
        protect.entries = {{"pg_dump", {"app"}, {}}};
      },
      [](config::Protect& protect) {
        protect.marker_users = {{"app", {}}};
      }};
  for (const auto& protection : protections) {
    Stage stage{[&](config::Config& config) {
      enforce(config);
      protection(config.protect);
    }};
    Pair pair = stage.login();
    pair.up(wire::query("select pg_sleep(600)"));
    pair.client.reset();
    expect_cancel_of(stage, pair);
  }
}

TEST(ClientGone, ProtectsByTheSectionAsItIsReloaded) {
  config::Config running;
  Stage stage{[&](config::Config& config) {
    enforce(config);
    running = config;
  }};
  Pair pair = stage.login();  // before the reload
  running.protect.users = {{"app", {}}};
  stage.proxy->reload(running);
  expect_left_alone(stage, pair, true);
  running.protect.users.clear();
  stage.proxy->reload(running);
  Pair again = stage.login();
  again.up(wire::query("select pg_sleep(600)"));
  again.client.reset();
  expect_cancel_of(stage, again);
}

TEST(ClientGone, PassesTheEndOfAnIdleSessionOn) {
  Stage stage{enforce};
  Pair pair = stage.login();
  pair.client.close();
  pair.server.expect_end();
  pair.server.close();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_abort") == 1; }));
  EXPECT_FALSE(stage.backend.called());
}

/// Sends until the proxy can hand nothing more on to a server that reads nothing.
void fill(Stage& stage, Pair& pair) {
  const std::string block = wire::message('d', std::string(256U << 10U, 'x'));
  std::uint64_t sent = stage.session_of(pair).facts.frontend_bytes;
  for (;;) {
    pair.client.send(block);
    sent += block.size();
    const auto all = [&] { return stage.session_of(pair).facts.frontend_bytes == sent; };
    if (!test::wait_until(all, 300ms)) return;
  }
}

TEST(ClientGone, StopsWorkWhoseInputTheServerDoesNotTake) {
  // Its end of file is behind bytes that cannot be read while the server takes none.
  Stage stage{enforce};
  Pair pair = stage.login();
  pair.up(wire::query("copy t from stdin"));
  pair.down(wire::message('G', std::string("\0\0\0", 3)));
  fill(stage, pair);
  pair.client.close();
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.pid, pair.pid);
  cancel.connection.close();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_abort") == 1; }));
}

TEST(ClientGone, LetsInputThatEndsInTerminateBeTaken) {
  Stage stage{enforce};
  Pair pair = stage.login();
  pair.up(wire::query("copy t from stdin"));
  pair.down(wire::message('G', std::string("\0\0\0", 3)));
  fill(stage, pair);
  pair.client.send(wire::message('c') + protocol::terminate());
  pair.client.close();
  EXPECT_FALSE(stage.backend.called(500ms));
  EXPECT_EQ(pair.server.end(), StreamEnd::open);
}

}  // namespace
}  // namespace pgleash::proxy
