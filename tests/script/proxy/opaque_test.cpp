#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>

/// A listener whose clients' TLS ends at the server: what the start of a connection promises, and
/// that nothing of ours ever gets between the two.
namespace pgleash::proxy {
namespace {

using test::error_field;

Stage::Adjust opaque(Stage::Adjust more = {}) {
  return [more = std::move(more)](config::Config& config) {
    config.listeners.front().tls.mode = config::ListenerTlsMode::opaque;
    config.listeners.front().require_challenge = config::RequireChallenge::never;
    if (more) more(config);
  };
}

/// What no decoder of ours could follow, and none must try to.
const std::string records = std::string{"\x16\x03\x01\x00\x05hello\x17\x03\x03\x00\x04", 15} +
                            std::string("\0\0\0\0", 4) + std::string(100, '\xff');

Pair begin(Stage& stage) {
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(ssl_request());
  pair.server = stage.backend.accept();
  pair.server.expect(ssl_request());
  EXPECT_TRUE(pair.client.silent()) << "the answer is the server's to give";
  pair.server.send("S");
  pair.client.expect("S");
  EXPECT_TRUE(soon([&] { return stage.view(pair.client).has_value(); }));
  return pair;
}

TEST(OpaqueTls, PassesEveryByteAsItIsBothWays) {
  Stage stage{opaque()};
  Pair pair = begin(stage);
  pair.up(records);
  pair.down(records);
  pair.up(std::string(100'000, '\0'));
  const SessionView session = stage.session_of(pair);
  EXPECT_TRUE(session.who->opaque);
  EXPECT_EQ(session.who->user, "");
  EXPECT_EQ(session.facts.state, protocol::SessionState::starting) << "nobody may judge it by that";
  EXPECT_EQ(session.facts.frontend_bytes, records.size() + 100'000);
  EXPECT_EQ(session.facts.backend_bytes, records.size());
  EXPECT_EQ(stage.connections(AcceptResult::accepted), 1U);
}

TEST(OpaqueTls, MayBeginAtOnceAndThenTakesNothingForItself) {
  Stage stage{opaque()};
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(records);
  pair.server = stage.backend.accept();
  pair.server.expect(records);
  pair.down(records);
}

TEST(OpaqueTls, TakesNobodyInClear) {
  Stage stage{opaque()};
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  EXPECT_EQ(error_field(client.read_message(), 'C'), "28000");
  client.expect_end();
  EXPECT_FALSE(stage.backend.called());
  EXPECT_EQ(stage.connections(AcceptResult::tls_error), 1U);
}

TEST(OpaqueTls, DoesNotGoOnInClearWhenTheServerHasNoTls) {
  Stage stage{opaque()};
  ScriptedPeer client = stage.connect();
  client.send(ssl_request());
  ScriptedPeer server = stage.backend.accept();
  server.expect(ssl_request());
  server.send("N");
  EXPECT_EQ(error_field(client.read_message(), 'C'), "08006");
  client.expect_end();
  server.expect_end();
}

TEST(OpaqueTls, RefusesBytesBehindAnSslRequest) {
  Stage stage{opaque()};
  ScriptedPeer client = stage.connect();
  client.send(ssl_request() + "injected");
  EXPECT_EQ(error_field(client.read_message(), 'C'), "08P01");
  client.expect_end();
  EXPECT_FALSE(stage.backend.called());
}

TEST(OpaqueTls, AnswersARequestForGssapiItselfAndTakesTheNextOne) {
  Stage stage{opaque()};
  ScriptedPeer client = stage.connect();
  client.send(gss_request());
  client.expect("N");
  client.send(ssl_request());
  ScriptedPeer server = stage.backend.accept();
  server.expect(ssl_request());
  server.send("S");
  client.expect("S");
}

TEST(OpaqueTls, PassesACancelRequestInClearOn) {
  Stage stage{opaque()};
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(9, "key!"));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.pid, 9);
  cancel.connection.close();
  canceller.expect_end();
}

TEST(OpaqueTls, EndsWithEitherSide) {
  Stage stage{opaque()};
  Pair one = begin(stage);
  one.client.close();
  one.server.expect_end();
  one.server.close();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_terminate") == 1; }));
  Pair other = begin(stage);
  other.server.send(records);
  other.server.close();
  other.client.expect(records);
  other.client.expect_end();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed server_close") == 1; }));
  Pair third = begin(stage);
  third.client.reset();
  third.server.expect_end();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_abort") == 1; }));
}

TEST(OpaqueTls, AKillInBandIsRefusedAndWritesNothing) {
  Stage stage{opaque()};
  Pair pair = begin(stage);
  for (const KillAction action : {KillAction::terminate, KillAction::cancel}) {
    auto report = stage.carry_out(stage.order_for(pair, action));
    const KillReport done = Stage::result(report);
    EXPECT_EQ(done.result, KillResult::failed);
    EXPECT_EQ(done.step, InBandStep::none);
  }
  EXPECT_TRUE(pair.client.silent());
  pair.up(records);
  pair.down(records);
}

TEST(OpaqueTls, ADrainEndsItAtTheDeadlineWithoutAWordInClear) {
  Stage stage{opaque()};
  Pair pair = begin(stage);
  stage.proxy->drain(200ms);
  pair.client.expect_end();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed drain") == 1; }));
}

TEST(OpaqueTls, HasAPlaceUnderAQuotaByAddressOnly) {
  Stage stage{opaque()};
  config::Config config;
  config.quotas = {{"by-address", config::QuotaKey::address, 1, std::nullopt, "53300"},
                   {"by-user", config::QuotaKey::user, 1, std::nullopt, "53300"}};
  config.quotas.front().sessions = 2;
  stage.proxy->reload(config);
  Pair one = begin(stage);
  Pair two = begin(stage);  // the quota by user does not take them for the same one
  ScriptedPeer third = stage.connect();
  third.send(ssl_request());
  EXPECT_EQ(error_field(third.read_message(), 'C'), "53300");
  one.client.close();
  one.server.expect_end();
  one.server.close();
  ASSERT_TRUE(soon([&] { return stage.views().size() == 1; }));
  Pair again = begin(stage);
  again.up(records);
}

}  // namespace
}  // namespace pgleash::proxy
