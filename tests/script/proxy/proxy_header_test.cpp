#include "tests/script/proxy/stage.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/temp_dir.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::proxy {
namespace {

using test::error_field;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string v1 = "PROXY TCP4 203.0.113.7 10.0.0.1 40312 5432\r\n";
const std::string v2{
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x12"
    "\xCB\x00\x71\x07\x0A\x00\x00\x01\x9D\x78\x15\x38\x04\x00\x03zzz",
    34};
const std::string v2_local{"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", 16};
/// A client on the balancer's own host, as that sees it.
const std::string v1_loopback = "PROXY TCP4 127.0.0.1 127.0.0.1 40312 5432\r\n";

void behind_balancer(config::Config& config) {
  config.listeners[0].proxy_protocol = config::ProxyProtocol::require;
  config.listeners[0].proxy_trusted = {network("127.0.0.0/8")};
}
Stage::Adjust and_also(Stage::Adjust more) {
  return [more = std::move(more)](config::Config& config) {
    behind_balancer(config);
    more(config);
  };
}

/// The startup packet comes to the server whole and nothing else does; what follows flows.
void log_in(Stage& stage, ScriptedPeer& client) {
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  server.send(wire::authentication(3));
  client.expect(wire::authentication(3));
  client.send(wire::message('p', "secret"));
  server.expect(wire::message('p', "secret"));
  server.send(wire::authentication(0) + wire::message('K', wire::int32(7) + wire::int32(8)) +
              wire::ready());
  client.expect(wire::authentication(0) + wire::message('K', wire::int32(7) + wire::int32(8)) +
                wire::ready());
  client.send(wire::query("select 1"));
  server.expect(wire::query("select 1"));
  const auto views = stage.views();
  ASSERT_EQ(views.size(), 1U);
  EXPECT_EQ(views[0].who->client, (Endpoint{"203.0.113.7", 40312}));
  EXPECT_EQ(views[0].who->via, "127.0.0.1:" + std::to_string(client.local_port()));
  EXPECT_FALSE(views[0].who->client_is_local);
  client.close();
  server.close();
  EXPECT_TRUE(soon([&] { return stage.views().empty(); }));
}

TEST(ProxyProtocol, NamesTheClientAndLeavesNoByteBehind) {
  Stage stage{behind_balancer};
  for (const std::string& header : {v1, v2}) {
    ScriptedPeer client = stage.connect();
    client.send(header + startup_packet());
    log_in(stage, client);
  }
}

TEST(ProxyProtocol, MayComeByteByByte) {
  Stage stage{behind_balancer};
  for (const std::string& header : {v1, v2}) {
    ScriptedPeer client = stage.connect();
    for (const char byte : header + startup_packet()) client.send({&byte, 1});
    log_in(stage, client);
  }
}

TEST(ProxyProtocol, MayBeCutAtEachOffset) {
  Stage stage{behind_balancer};
  for (const std::string& header : {v1, v2}) {
    const std::string all = header + startup_packet();
    for (std::size_t cut = 1; cut <= header.size() + 1; ++cut) {
      ScriptedPeer client = stage.connect();
      client.send(all.substr(0, cut));
      client.send(all.substr(cut));
      log_in(stage, client);
      if (HasFatalFailure()) FAIL() << "cut at " << cut;
    }
  }
}

TEST(ProxyProtocol, CountsAHeaderThatEndsTooEarly) {
  Stage stage{behind_balancer};
  std::uint64_t ended = 0;
  for (const std::string& header : {v1, v2})
    for (std::size_t cut = 1; cut < header.size(); ++cut) {
      ScriptedPeer client = stage.connect();
      client.send(header.substr(0, cut));
      client.half_close();
      client.expect_end();
      ++ended;
    }
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::proxy_header) == ended; }));
  EXPECT_FALSE(stage.backend.called());
}

TEST(ProxyProtocol, ComesBeforeTls) {
  const test::Certificates certificates;
  const auto own = certificates.issue("pgleash");
  Stage stage{and_also([&](config::Config& config) {
    config.listeners[0].tls.mode = config::ListenerTlsMode::require;
    config.listeners[0].tls.cert_file = own.cert;
    config.listeners[0].tls.key_file = own.key;
  })};
  for (const std::string& header : {v1, v2}) {
    ScriptedPeer client = stage.connect();
    client.send(header + ssl_request());
    client.expect("S");
    client.connect_tls();
    client.send(startup_packet());
    log_in(stage, client);
    ScriptedPeer direct = stage.connect();
    direct.send(header);
    direct.connect_tls({.protocol = "postgresql"});
    direct.send(startup_packet());
    log_in(stage, direct);
  }
}

TEST(ProxyProtocol, IsNotTakenFromAnybodyElse) {
  Stage stage{and_also([](config::Config& config) {
    config.listeners[0].proxy_trusted = {network("10.20.0.0/16")};
  })};
  for (int i = 0; i < 5; ++i) {
    ScriptedPeer client = stage.connect();
    client.send(v1 + startup_packet());
    const auto answer = client.read_to_end();
    EXPECT_EQ(error_field(answer, 'C'), "28000");
    EXPECT_THAT(error_field(answer, 'M'), HasSubstr("127.0.0.1"))
        << "its own, not the one it names";
  }
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::proxy_header) == 5; }));
  EXPECT_FALSE(stage.backend.called());
  const std::size_t logged = stage.events.count("refused proxy_header");
  EXPECT_GE(logged, 1U);
  EXPECT_LE(logged, 2U) << "once a worker: it is a flood";
}

TEST(ProxyProtocol, IsAMust) {
  Stage stage{behind_balancer};
  for (const std::string& first : {startup_packet(), ssl_request(), cancel_packet(7, "abcd")}) {
    ScriptedPeer client = stage.connect();
    client.send(first);
    const auto answer = client.read_to_end();
    EXPECT_EQ(error_field(answer, 'C'), "08P01");
    EXPECT_THAT(error_field(answer, 'M'), HasSubstr("PROXY"));
  }
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::proxy_header) == 3; }));
  EXPECT_FALSE(stage.backend.called());
}

TEST(ProxyProtocol, IsNotUnderstoodWhereItIsOff) {
  Stage stage;
  for (const std::string& header : {v1, v2}) {
    ScriptedPeer client = stage.connect();
    client.send(header + startup_packet());
    (void)client.end();
    EXPECT_TRUE(soon([&] { return client.end() != StreamEnd::open; }));
  }
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::protocol_error) == 2; }));
  EXPECT_FALSE(stage.backend.called());
}

TEST(ProxyProtocol, HasToBeThereWithinTheLoginTimeout) {
  Stage stage{and_also([](config::Config& config) { config.listeners[0].login_timeout = 150ms; })};
  ScriptedPeer client = stage.connect();
  client.send(v2.substr(0, 20));
  client.expect_end();
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::login_timeout) == 1; }));
}

TEST(ProxyProtocol, LeavesAProbeUnlogged) {
  Stage stage{behind_balancer};
  stage.connect().close();
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::client_gone) == 1; }));
  EXPECT_THAT(stage.events.lines(), IsEmpty());
}

// ---------------------------------------------------------------- who the client is to all others

TEST(ProxyProtocol, DecidesByTheClientsAddressWhoMayComeIn) {
  Stage stage{and_also(
      [](config::Config& config) { config.listeners[0].allow = {network("203.0.113.0/24")}; })};
  ScriptedPeer good = stage.connect();
  good.send(v1 + startup_packet());
  log_in(stage, good);
  ScriptedPeer bad = stage.connect();
  bad.send("PROXY TCP4 198.51.100.9 10.0.0.1 40312 5432\r\n" + startup_packet());
  const auto answer = bad.read_to_end();
  EXPECT_EQ(error_field(answer, 'C'), "28000");
  EXPECT_THAT(error_field(answer, 'M'), HasSubstr("198.51.100.9"));
  ScriptedPeer itself = stage.connect();
  itself.send(v2_local + startup_packet());
  EXPECT_THAT(error_field(itself.read_to_end(), 'M'), HasSubstr("127.0.0.1"));
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::not_allowed) == 2; }));
}

TEST(ProxyProtocol, CountsQuotasByTheClientsAddress) {
  Stage stage{and_also([](config::Config& config) {
    config.quotas = {{"q", config::QuotaKey::address, 1, {}, "53300"}};
  })};
  const auto enter = [&](const std::string& address) {
    ScriptedPeer client = stage.connect();
    client.send("PROXY TCP4 " + address + " 10.0.0.1 1 5432\r\n" + startup_packet());
    return client;
  };
  ScriptedPeer first = enter("203.0.113.7");
  ScriptedPeer first_server = stage.backend.accept();
  ScriptedPeer second = enter("203.0.113.8");
  ScriptedPeer second_server = stage.backend.accept();
  ScriptedPeer again = enter("203.0.113.7");
  EXPECT_THAT(error_field(again.read_to_end(), 'M'), HasSubstr("203.0.113.7"));
}

/// What a login without a challenge gets: the first byte of the answer, 'R' or 'E'.
char unproved(const std::string& header) {
  Stage stage{behind_balancer};
  ScriptedPeer client = stage.connect();
  client.send(header + startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  server.send(wire::authentication(0) + wire::message('K', wire::int32(1) + wire::int32(2)) +
              wire::ready());
  return client.read_message()[0];
}

TEST(ProxyProtocol, MakesTheBalancersClientARemoteOneThoughTheBalancerIsLocal) {
  EXPECT_EQ(unproved(v1), 'E');
  EXPECT_EQ(unproved(v2), 'E');
  EXPECT_EQ(unproved("PROXY UNKNOWN\r\n"), 'E') << "somebody, from anywhere";
  EXPECT_EQ(unproved(v1_loopback), 'R') << "both on this host";
  EXPECT_EQ(unproved(v2_local), 'R') << "the balancer itself";
}

}  // namespace
}  // namespace pgleash::proxy
