#include "protocol/startup.hpp"

#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"
#include "tests/support/temp_dir.hpp"

#include <gmock/gmock.h>

namespace pgleash::proxy {
namespace {

using test::error_field;
using ::testing::HasSubstr;

constexpr std::uint32_t version_3_2 = (3U << 16U) | 2U;

TEST(Startup, ForwardsThePacketByteForByteAndRelaysTheLogin) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  const std::string packet = startup_packet(
      "app", 3U << 16U, wire::zero_ended("options") + wire::zero_ended("-c geqo=off"));
  client.send(packet);
  ScriptedPeer server = stage.backend.accept();
  server.expect(packet);
  Pair pair{std::move(client), std::move(server), 7, "1234"};
  pair.down(wire::message('R', wire::int32(10) + wire::zero_ended("SCRAM-SHA-256") + '\0'));
  pair.up(wire::message('p', "SCRAM first"));
  pair.down(wire::message('R', wire::int32(11) + "r=,s=,i="));
  pair.up(wire::message('p', "SCRAM final"));
  pair.down(wire::message('R', wire::int32(12) + "v=") + wire::authentication(0));
  pair.down(wire::message('N', "SNOTICE\0\0"));
  EXPECT_EQ(stage.state_of(pair), protocol::SessionState::starting);
  pair.down(wire::parameter("is_superuser", "on") + wire::message('K', wire::int32(7) + "1234") +
            wire::ready());
  const SessionView up = stage.session_of(pair);
  EXPECT_EQ(up.facts.state, protocol::SessionState::idle);
  EXPECT_TRUE(up.facts.challenged);
  EXPECT_TRUE(up.facts.superuser_at_login);
  EXPECT_EQ(up.who->user, "app");
  EXPECT_EQ(up.who->database, "app");
  EXPECT_EQ(up.who->application_name, "script");
  EXPECT_EQ(up.who->pid, protocol::BackendPid{7});
  EXPECT_EQ(stage.connections(AcceptResult::accepted), 1U);
  pair.echo();
}

TEST(Startup, RelaysANegotiationAndKeepsALongCancelKey) {
  Stage stage;
  const std::string packet =
      startup_packet("app", version_3_2, wire::zero_ended("_pq_.x") + wire::zero_ended("1"));
  const std::string secret(32, 'k');
  ScriptedPeer client = stage.connect();
  client.send(packet);
  ScriptedPeer server = stage.backend.accept();
  server.expect(packet);
  Pair pair{std::move(client), std::move(server), 9, secret};
  pair.down(
      wire::message('v', wire::int32(3U << 16U) + wire::int32(1) + wire::zero_ended("_pq_.x")));
  pair.down(wire::authentication(3));
  pair.up(wire::message('p', wire::zero_ended("pw")));
  pair.down(wire::authentication(0) + wire::message('K', wire::int32(9) + secret) + wire::ready());
  EXPECT_TRUE(stage.session_of(pair).who->cancel_key);

  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(9, secret));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.pid, 9);
  EXPECT_EQ(cancel.secret, secret);
  cancel.connection.close();
  canceller.expect_end();
}

TEST(Startup, AnswersRequestsForEncryptionWithNo) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(ssl_request());
  client.expect("N");
  client.send(gss_request());
  client.expect("N");
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
}

TEST(Startup, TakesACancelRequestBehindARefusedEncryption) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(ssl_request());
  client.expect("N");
  client.send(cancel_packet(5, "abcd"));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  EXPECT_EQ(cancel.pid, 5);
  EXPECT_EQ(cancel.secret, "abcd");
  cancel.connection.close();
  client.expect_end();
}

TEST(Startup, RefusesASecondRequestForTheSameEncryption) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(ssl_request() + ssl_request());
  client.expect("N");
  EXPECT_EQ(error_field(client.read_to_end(), 'C'), "08P01");
}

TEST(Startup, IsTheSameHoweverThePacketIsCut) {
  Stage stage;
  const std::string packet = startup_packet();
  const std::string all = ssl_request() + packet;
  for (std::size_t at = 1; at < all.size(); ++at) {
    ScriptedPeer client = stage.connect();
    client.send(all.substr(0, at));
    if (at >= ssl_request().size()) client.expect("N");
    client.send(all.substr(at));
    if (at < ssl_request().size()) client.expect("N");
    ScriptedPeer server = stage.backend.accept();
    server.expect(packet);
  }
}

TEST(Startup, ForwardsWhatTheClientSendsBehindThePacketAtOnce) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet() + wire::message('p', "early") + wire::query("select 1"));
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet() + wire::message('p', "early") + wire::query("select 1"));
}

TEST(Startup, RelaysAnErrorBetweenAuthenticationAndTheKey) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  const std::string refusal = wire::authentication(3);
  server.send(refusal);
  client.expect(refusal);
  const std::string bytes = wire::authentication(0) + wire::error("3D000", "FATAL");
  server.send(bytes);
  server.close();
  EXPECT_EQ(client.read_to_end(), bytes);
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::server_refused) == 1; }));
  EXPECT_EQ(stage.connections(AcceptResult::accepted), 0U);
  EXPECT_TRUE(stage.views().empty());
}

TEST(Startup, RelaysTheServersRefusal) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  server.send(wire::error("53300", "FATAL"));
  server.close();
  EXPECT_EQ(client.read_to_end(), wire::error("53300", "FATAL"));
}

TEST(Startup, ClosesTheServerLegOfAClientThatLeavesAtThePasswordPrompt) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  server.send(wire::authentication(3));
  client.expect(wire::authentication(3));
  client.close();
  server.expect_end();
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::client_gone) == 1; }));
}

// ---------------------------------------------------------------- what no session can come of

struct BadStart {
  const char* name;
  std::string bytes;
  std::string answer;  ///< SQLSTATE of the error; "2.0" for the old form; empty: none
};

std::ostream& operator<<(std::ostream& out, const BadStart& bad) {
  return out << bad.name;
}

class StartupOf : public ::testing::TestWithParam<BadStart> {};

TEST_P(StartupOf, GarbageDisturbsNobody) {
  Stage stage;
  Pair healthy = stage.login();
  healthy.echo();
  ScriptedPeer client = stage.connect();
  client.send(GetParam().bytes);
  if (GetParam().answer.empty()) {
    EXPECT_TRUE(soon([&] { return client.end() != StreamEnd::open; }));
    EXPECT_EQ(client.unread(), 0U);
  } else if (GetParam().answer == "2.0") {
    const std::string answer = client.read_to_end();
    EXPECT_THAT(answer, ::testing::StartsWith("EFATAL:")) << "type and text, without a length";
    EXPECT_EQ(answer.back(), '\0');
  } else {
    const std::string answer = client.read_message();
    EXPECT_EQ(error_field(answer, 'S'), "FATAL");
    EXPECT_EQ(error_field(answer, 'C'), GetParam().answer);
    client.expect_end();
  }
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::protocol_error) == 1; }));
  EXPECT_FALSE(stage.backend.called());
  healthy.echo();
}

INSTANTIATE_TEST_SUITE_P(
    Every, StartupOf,
    ::testing::Values(
        BadStart{"Http", "GET / HTTP/1.1\r\nHost: db\r\n\r\n", ""},
        BadStart{"DirectTls", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), ""},
        BadStart{"LengthOfZero", wire::int32(0) + wire::int32(3U << 16U), ""},
        BadStart{"LengthOfSeven", wire::int32(7) + wire::int32(3U << 16U), ""},
        BadStart{"NegativeLength", wire::int32(0xFFFFFFF0) + wire::int32(3U << 16U), ""},
        BadStart{"LengthPastTheLimit", wire::int32(10'005) + wire::int32(3U << 16U), ""},
        BadStart{"Protocol2", startup_packet("app", 2U << 16U), "2.0"},
        BadStart{"Protocol4", startup_packet("app", 4U << 16U), "0A000"},
        BadStart{"NoUser", startup_packet(""), "28000"},
        BadStart{"NoTerminator", wire::untyped(wire::int32(3U << 16U) + "user"), "08P01"},
        BadStart{"ShortCancel", wire::untyped(wire::int32(80877102)), ""}),
    [](const auto& bad) { return std::string{bad.param.name}; });

TEST(Startup, TakesAPacketOfTheLargestSize) {
  Stage stage;
  const std::size_t without =
      startup_packet("app", 3U << 16U, wire::zero_ended("options") + '\0').size();
  const std::string packet =
      startup_packet("app", 3U << 16U,
                     wire::zero_ended("options") +
                         wire::zero_ended(std::string(protocol::max_startup_size - without, 'o')));
  ASSERT_EQ(packet.size(), protocol::max_startup_size);
  ScriptedPeer client = stage.connect();
  client.send(packet);
  ScriptedPeer server = stage.backend.accept();
  server.expect(packet);
}

TEST(Startup, HalfSentPacketsKeepNobodyOut) {
  Stage stage;
  Pair healthy = stage.login();
  std::vector<ScriptedPeer> half;
  for (int i = 0; i < 1000; ++i) {
    half.push_back(stage.connect());
    half.back().send(startup_packet().substr(0, static_cast<std::size_t>(i % 30)));
  }
  healthy.echo();
  Pair late = stage.login();
  late.echo();
  EXPECT_GT(stage.connections(AcceptResult::login_limit), 500U);
  healthy.echo();
}

TEST(Startup, RefusedClientsThatStayKeepNobodyOut) {
  Stage stage;
  std::vector<ScriptedPeer> stubborn;
  for (int i = 0; i < 400; ++i) {
    stubborn.push_back(stage.connect());
    stubborn.back().send(startup_packet("app", 4U << 16U));
  }
  EXPECT_EQ(error_field(stubborn.back().read_message(), 'C'), "0A000");
  Pair late = stage.login();
  late.echo();
}

// ---------------------------------------------------------------- the server is away

TEST(Startup, TellsWhatWasTriedWhenTheServerIsDown) {
  Stage stage;
  const std::string where = "127.0.0.1:" + std::to_string(stage.backend.port());
  stage.backend.stop();
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  const std::string answer = client.read_to_end();
  EXPECT_EQ(error_field(answer, 'S'), "FATAL");
  EXPECT_EQ(error_field(answer, 'C'), "08006");
  EXPECT_THAT(error_field(answer, 'M'), HasSubstr("scripted"));
  EXPECT_THAT(error_field(answer, 'D'), HasSubstr(where));
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::server_unreachable) == 1; }));
}

TEST(Startup, EndsALoginWhoseServerSaysNothing) {
  Stage stage{[](config::Config& config) { config.listeners[0].login_timeout = 150ms; }};
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  const std::string answer = client.read_to_end();
  EXPECT_EQ(error_field(answer, 'C'), "08006");
  EXPECT_THAT(error_field(answer, 'M'), HasSubstr("timeout"));
  server.expect_end();
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::login_timeout) == 1; }));
}

TEST(Startup, EndsAClientThatSaysNothing) {
  Stage stage{[](config::Config& config) { config.listeners[0].login_timeout = 150ms; }};
  ScriptedPeer client = stage.connect();
  EXPECT_EQ(error_field(client.read_to_end(), 'C'), "08006");
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::login_timeout) == 1; }));
}

TEST(Startup, PassesOnThatTheServerClosedAtOnce) {
  Stage stage;
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  server.close();
  client.expect_end();
  EXPECT_TRUE(soon([&] { return stage.views().empty(); }));
}

// ---------------------------------------------------------------- who may come in

/// A login that the server accepts without asking for anything.
std::string trusted_login(const Stage& stage, ScriptedBackend& backend) {
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = backend.accept();
  server.expect(startup_packet());
  server.send(wire::authentication(0) + wire::message('K', wire::int32(1) + wire::int32(2)) +
              wire::ready());
  return client.read_message();
}

TEST(Startup, RefusesALoginThatNobodyWasAskedToProve) {
  Stage stage{[](config::Config& config) {
    config.listeners[0].require_challenge = config::RequireChallenge::always;
  }};
  const std::string answer = trusted_login(stage, stage.backend);
  EXPECT_EQ(answer[0], 'E');
  EXPECT_EQ(error_field(answer, 'C'), "28000");
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::no_challenge) == 1; }));
  Pair challenged = stage.login();
  challenged.echo();
}

TEST(Startup, LetsALocalClientInWithoutAChallenge) {
  Stage stage;
  EXPECT_EQ(trusted_login(stage, stage.backend), wire::authentication(0));
}

TEST(Startup, LetsAnybodyInWithoutAChallengeWhenToldSo) {
  Stage stage{[](config::Config& config) {
    config.listeners[0].require_challenge = config::RequireChallenge::never;
  }};
  EXPECT_EQ(trusted_login(stage, stage.backend), wire::authentication(0));
}

TEST(Startup, RefusesAnAddressThatIsNotAllowed) {
  Stage stage{[](config::Config& config) { config.listeners[0].allow = {network("10.0.0.0/8")}; }};
  ScriptedPeer client = stage.connect();
  const std::string answer = client.read_to_end();
  EXPECT_EQ(error_field(answer, 'C'), "28000");
  EXPECT_THAT(error_field(answer, 'M'), HasSubstr("127.0.0.1"));
  EXPECT_FALSE(stage.backend.called());
}

TEST(Startup, RefusesMoreSessionsThanMaxSessions) {
  Stage stage{[](config::Config& config) { config.process.max_sessions = 2; }};
  Pair first = stage.login();
  Pair second = stage.login();
  ScriptedPeer third = stage.connect();
  third.send(startup_packet());
  EXPECT_EQ(error_field(third.read_to_end(), 'C'), "53300");
  EXPECT_FALSE(stage.backend.called());
  first.client.send(protocol::terminate());
  first.server.expect(protocol::terminate());
  first.server.close();
  EXPECT_TRUE(soon([&] { return stage.views().size() == 1; }));
  third.close();
  Pair again = stage.login();
  again.echo();
  second.echo();
}

config::Quota quota(config::QuotaKey key, std::optional<std::uint32_t> sessions,
                    std::optional<std::uint32_t> new_per_second = {}) {
  return {"q", key, sessions, new_per_second, "53300"};
}

TEST(Startup, RefusesWhoIsOverItsQuotaAndNobodyElse) {
  Stage stage{[](config::Config& config) { config.quotas = {quota(config::QuotaKey::user, 1)}; }};
  Pair first = stage.login();
  ScriptedPeer second = stage.connect();
  second.send(startup_packet());
  const auto answer = second.read_to_end();
  EXPECT_EQ(error_field(answer, 'C'), "53300");
  EXPECT_THAT(error_field(answer, 'M'), HasSubstr("(pgleash quota 'q')"));
  EXPECT_FALSE(stage.backend.called());
  ScriptedPeer other = stage.connect();
  other.send(startup_packet("another"));
  ScriptedPeer its_server = stage.backend.accept();
  its_server.expect(startup_packet("another"));
  first.client.send(protocol::terminate());
  first.server.expect(protocol::terminate());
  first.server.close();
  EXPECT_TRUE(soon([&] { return stage.views().size() == 1; }));
  Pair again = stage.login();
  again.echo();
}

TEST(Startup, ALoginThatFailsGivesItsPlaceBack) {
  Stage stage{
      [](config::Config& config) { config.quotas = {quota(config::QuotaKey::database, 1)}; }};
  for (int i = 0; i < 3; ++i) {
    ScriptedPeer client = stage.connect();
    client.send(startup_packet());
    ScriptedPeer server = stage.backend.accept();
    server.expect(startup_packet());
    server.close();
    client.read_to_end();
    client.close();
    EXPECT_TRUE(soon([&] { return stage.proxy->quotas().at("q").most == 0; }));
  }
}

TEST(Startup, CancelRequestsPassWhenNoSessionMore) {
  Stage stage{[](config::Config& config) { config.process.max_sessions = 1; }};
  Pair only = stage.login();
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(only.pid, only.secret));
  EXPECT_EQ(stage.backend.accept_cancel().pid, only.pid);
}

TEST(Startup, TellsTheServerWhoseAddressItIsAndKeepsTheClientsNameItself) {
  Stage stage{[](config::Config& config) {
    config.servers.front().application_name_suffix = config::ApplicationNameSuffix::address_port;
  }};
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(startup_packet());
  pair.server = stage.backend.accept();
  const std::string sent = "script - 127.0.0.1:" + std::to_string(pair.client.local_port());
  const std::string packet = protocol::with_parameter(startup_packet(), "application_name", sent);
  pair.server.expect(packet);
  pair.down(wire::authentication(3));
  pair.up(wire::message('p', wire::zero_ended("secret")));
  pair.down(wire::authentication(0) + wire::parameter("application_name", sent) +
            wire::message('K', wire::int32(7) + "1234") + wire::ready());
  SessionView up = stage.session_of(pair);
  EXPECT_EQ(up.who->application_name, sent) << "as the server's views show it";
  EXPECT_EQ(up.who->application, "script");
  EXPECT_EQ(up.facts.state, protocol::SessionState::idle);
  pair.down(wire::parameter("application_name", "set later"));
  up = stage.session_of(pair);
  EXPECT_EQ(up.who->application_name, "set later");
  EXPECT_EQ(up.who->application, "script") << "as ever without follow_set";
  pair.echo();
}

TEST(Startup, WorksOnUnixSocketsOnBothLegs) {
  const test::TempDir directory;
  ScriptedBackend backend{directory.path(), 5432};
  Stage stage{[&](config::Config& config) {
    config.servers[0].address = {directory.path(), 5432, true};
    config.listeners[0].listen.push_back({directory.path(), 6432, true});
    config.listeners[0].require_challenge = config::RequireChallenge::remote;
  }};
  Pair pair;
  const auto connected = [&] {
    try {
      pair.client = ScriptedPeer::connect_unix(directory / ".s.PGSQL.6432");
      return true;
    } catch (const test::ScriptFailure&) {
      return false;
    }
  };
  ASSERT_TRUE(soon(connected));
  pair.client.send(startup_packet());
  pair.server = backend.accept();
  pair.server.expect(startup_packet());
  pair.down(wire::authentication(0) + wire::message('K', wire::int32(77) + "key4") + wire::ready());
  pair.echo();
  const auto views = stage.views();
  ASSERT_EQ(views.size(), 1U);
  EXPECT_EQ(views[0].who->client, Endpoint{});
  EXPECT_EQ(views[0].who->leg, Endpoint{});
  EXPECT_TRUE(views[0].who->client_is_local);

  ScriptedPeer canceller = ScriptedPeer::connect_unix(directory / ".s.PGSQL.6432");
  canceller.send(cancel_packet(77, "key4"));
  EXPECT_EQ(backend.accept_cancel().pid, 77);
  pair.client.close();
  pair.server.expect_end();
}

}  // namespace
}  // namespace pgleash::proxy
