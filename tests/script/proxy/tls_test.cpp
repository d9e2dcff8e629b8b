#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"
#include "tests/support/certificates.hpp"

#include <gmock/gmock.h>

#include <array>
#include <fstream>

namespace pgleash::proxy {
namespace {

using config::ListenerTlsMode;
using config::SslMode;
using test::Certificates;
using test::error_field;
using test::ScriptedTls;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const Certificates& certificates() {
  static const Certificates made;
  return made;
}
const test::CertificateFiles& listeners() {
  static const test::CertificateFiles files = certificates().issue("pgleash");
  return files;
}
const test::CertificateFiles& servers() {
  static const test::CertificateFiles files = certificates().issue("server");
  return files;
}
ScriptedTls as_server(const test::CertificateFiles& files = servers()) {
  return {.cert_file = files.cert, .key_file = files.key};
}
ScriptedTls verifying() {
  return {.ca_file = certificates().ca()};
}

enum class Legs : std::uint8_t { client, server, both };
bool client_leg(Legs legs) {
  return legs != Legs::server;
}
bool server_leg(Legs legs) {
  return legs != Legs::client;
}

Stage::Adjust with_tls(Legs legs, const Stage::Adjust& more = {}) {
  return [legs, more](config::Config& config) {
    if (client_leg(legs)) {
      auto& tls = config.listeners.front().tls;
      tls.mode = ListenerTlsMode::prefer;
      tls.cert_file = listeners().cert;
      tls.key_file = listeners().key;
    }
    if (server_leg(legs)) {
      config.servers.front().tls.mode = SslMode::verify_full;
      config.servers.front().tls.ca_file = certificates().ca();
    }
    if (more) more(config);
  };
}

ScriptedPeer secure_client(const Stage& stage, const ScriptedTls& how = verifying()) {
  ScriptedPeer client = stage.connect();
  client.send(ssl_request());
  client.expect("S");
  client.connect_tls(how);
  return client;
}

ScriptedPeer secure_server(Stage& stage, const ScriptedTls& how = as_server()) {
  ScriptedPeer server = stage.backend.accept();
  server.expect(ssl_request());
  server.send("S");
  server.accept_tls(how);
  return server;
}

/// Up to the startup packet, which the server has read.
Pair arrive(Stage& stage, Legs legs) {
  Pair pair;
  pair.client = client_leg(legs) ? secure_client(stage) : stage.connect();
  pair.client.send(startup_packet());
  pair.server = server_leg(legs) ? secure_server(stage) : stage.backend.accept();
  pair.server.expect(startup_packet());
  return pair;
}

void finish_login(Pair& pair, std::int32_t pid = 77) {
  pair.pid = pid;
  pair.secret = "key!";
  pair.down(wire::authentication(3));
  pair.up(wire::message('p', wire::zero_ended("secret")));
  pair.down(wire::authentication(0) + wire::parameter("is_superuser", "off") +
            wire::message('K', wire::int32(static_cast<std::uint32_t>(pid)) + pair.secret) +
            wire::ready());
}

Pair login(Stage& stage, Legs legs, std::int32_t pid = 77) {
  Pair pair = arrive(stage, legs);
  finish_login(pair, pid);
  return pair;
}

class EachWay : public ::testing::TestWithParam<Legs> {};
INSTANTIATE_TEST_SUITE_P(Legs, EachWay, ::testing::Values(Legs::client, Legs::server, Legs::both),
                         [](const auto& legs) {
                           return legs.param == Legs::client   ? "Client"
                                  : legs.param == Legs::server ? "Server"
                                                               : "Both";
                         });

TEST_P(EachWay, RelaysByteForByteAndTellsOfItsEncryption) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  pair.echo();
  const auto tls = stage.session_of(pair).who->tls;
  ASSERT_TRUE(tls);
  EXPECT_EQ(tls->client_version, client_leg(GetParam()) ? "TLSv1.3" : "");
  EXPECT_EQ(tls->server_version, server_leg(GetParam()) ? "TLSv1.3" : "");
  EXPECT_EQ(tls->client_cipher.empty(), !client_leg(GetParam()));
  EXPECT_FALSE(tls->same_certificate);
  EXPECT_THAT(tls->client_dn, IsEmpty());

  pair.up(protocol::terminate());
  pair.server.close();
  pair.client.expect_end();
  EXPECT_EQ(!client_leg(GetParam()) || pair.client.closed_in_order(), true);
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_terminate") == 1; }));
}

TEST_P(EachWay, CarriesMoreThanAnySocketHolds) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  pair.up(wire::query("select"));
  const std::string row = wire::message('D', std::string(100'000, 'x'));
  constexpr int rows = 200;
  std::thread sender{[&] {
    for (int i = 0; i < rows; ++i) pair.server.send(row);
    pair.server.send(wire::complete("SELECT 200") + wire::ready());
  }};
  for (int i = 0; i < rows; ++i) pair.client.expect(row);
  sender.join();
  pair.client.expect(wire::complete("SELECT 200") + wire::ready());

  const std::string big = wire::query(std::string(8'000'000, 'y'));
  std::thread writer{[&] { pair.client.send(big); }};
  pair.server.expect(big);
  writer.join();
  pair.down(wire::complete("SELECT 0") + wire::ready());
  EXPECT_EQ(stage.state_of(pair), protocol::SessionState::idle);
}

TEST_P(EachWay, AStalledReaderHoldsTheOtherSideBack) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  pair.up(wire::query("select"));
  const std::string row = wire::message('D', std::string(65'000, 'x'));
  std::size_t sent = 0;
  // Full buffers of four sockets, and one chunk: then nothing is taken any more.
  std::string rest = row;
  EXPECT_TRUE(soon([&] {
    for (int i = 0; i < 64; ++i) {
      const std::size_t now = pair.server.send_some(rest);
      if (now == 0) return stage.session_of(pair).stalled_since != Instant{};
      sent += now;
      rest.erase(0, now);
      if (rest.empty()) rest = row;
    }
    return false;
  }));
  EXPECT_LT(sent, 64U * 1024 * 1024);
  std::thread tail{[&] { pair.server.send(rest); }};
  std::size_t rows = (sent + rest.size()) / row.size();
  for (std::size_t i = 0; i < rows; ++i) pair.client.expect(row);
  tail.join();
  EXPECT_TRUE(soon([&] { return stage.session_of(pair).stalled_since == Instant{}; }));
}

TEST_P(EachWay, NewKeysOnTheWayChangeNothing) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  for (int round = 0; round < 3; ++round) {
    if (client_leg(GetParam())) pair.client.update_keys();
    if (server_leg(GetParam())) pair.server.update_keys();
    pair.echo();
  }
}

TEST_P(EachWay, TellsTheClientOfAnIdleTransactionWhyItIsEnded) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  pair.up(wire::query("begin"));
  pair.down(wire::complete("BEGIN") + wire::ready('T'));
  auto report = stage.carry_out(stage.order_for(pair));
  const std::string words = pair.client.read_message();
  EXPECT_EQ(error_field(words, 'C'), "57P05");
  EXPECT_EQ(error_field(words, 'M'), "ended by the test");
  pair.client.expect_end();
  EXPECT_EQ(!client_leg(GetParam()) || pair.client.closed_in_order(), true);
  pair.server.expect(protocol::terminate());
  pair.server.close();
  const KillReport done = Stage::result(report);
  EXPECT_EQ(done.result, KillResult::done);
  EXPECT_TRUE(done.client_told);
  EXPECT_TRUE(done.server_eof);
}

TEST_P(EachWay, CancelsARunawayOverTheSameSortOfLeg) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam(), 4711);
  pair.up(wire::query("select pg_sleep(600)"));
  auto report = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  ScriptedPeer cancel = server_leg(GetParam()) ? secure_server(stage) : stage.backend.accept();
  cancel.expect(cancel_packet(4711, "key!"));
  // Held: what the client sends now must not reach the server before the cancel is through.
  pair.client.send(wire::query("select 2"));
  EXPECT_TRUE(pair.server.silent());
  cancel.close();
  pair.server.send(wire::error("57014") + wire::ready());
  EXPECT_EQ(error_field(pair.client.read_message(), 'M'), "ended by the test");
  pair.client.expect(wire::ready());
  pair.server.expect(wire::query("select 2"));
  const KillReport done = Stage::result(report);
  EXPECT_EQ(done.result, KillResult::done);
  EXPECT_TRUE(done.statement_ended);
}

TEST_P(EachWay, ResetsTheServerLegOfARunawayBeforeItIsCancelled) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam(), 12);
  pair.up(wire::query("select pg_sleep(600)"));
  KillOrder order = stage.order_for(pair);
  order.counter = JudgedCounter::request;
  auto report = stage.carry_out(order);
  EXPECT_EQ(error_field(pair.client.read_message(), 'C'), "57P05");
  pair.client.expect_end();
  pair.server.expect_reset();
  ScriptedPeer cancel = server_leg(GetParam()) ? secure_server(stage) : stage.backend.accept();
  cancel.expect(cancel_packet(12, "key!"));
  cancel.close();
  EXPECT_EQ(Stage::result(report).result, KillResult::done);
}

TEST_P(EachWay, SparesAClientThatHasJustSpoken) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  KillOrder order = stage.order_for(pair);
  pair.up(wire::query("select 1"));
  pair.down(wire::complete("SELECT 1") + wire::ready());
  auto report = stage.carry_out(order);
  EXPECT_EQ(Stage::result(report).result, KillResult::recovered);
  pair.echo();
}

TEST_P(EachWay, AClientThatVanishesIsNoticed) {
  Stage stage{with_tls(
      GetParam(), [](config::Config& config) { config.enforcement.mode = config::Mode::enforce; })};
  Pair pair = login(stage, GetParam(), 31);
  pair.up(wire::query("select pg_sleep(600)"));
  pair.client.reset();
  pair.server.expect_reset();
  ScriptedPeer cancel = server_leg(GetParam()) ? secure_server(stage) : stage.backend.accept();
  cancel.expect(cancel_packet(31, "key!"));
  cancel.close();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_abort") == 1; }));
}

TEST_P(EachWay, AServersLastWordsArriveBeforeItsEnd) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  pair.server.send(wire::error("57P01", "FATAL"));
  pair.server.close();
  pair.client.expect(wire::error("57P01", "FATAL"));
  pair.client.expect_end();
}

TEST_P(EachWay, ATerminateBehindWorkFinishes) {
  Stage stage{with_tls(
      GetParam(), [](config::Config& config) { config.enforcement.mode = config::Mode::enforce; })};
  Pair pair = login(stage, GetParam());
  pair.client.send(wire::query("insert") + protocol::terminate());
  if (client_leg(GetParam())) pair.client.say_goodbye();
  pair.client.close();
  pair.server.expect(wire::query("insert") + protocol::terminate());
  pair.server.send(wire::complete("INSERT 0 1") + wire::ready());
  pair.server.close();
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_terminate") == 1; }));
  EXPECT_FALSE(stage.backend.called());
}

TEST_P(EachWay, AClientIsToldOnItsNextUse) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  KillOrder order = stage.order_for(pair);
  order.notify_within = 60s;
  auto report = stage.carry_out(order);
  pair.server.expect(protocol::terminate());
  pair.server.close();
  EXPECT_TRUE(Stage::result(report).told_on_next_use);
  EXPECT_TRUE(pair.client.silent());
  pair.client.send(wire::query("select 1"));
  EXPECT_EQ(error_field(pair.client.read_message(), 'C'), "57P05");
  pair.client.expect_end();
}

TEST_P(EachWay, BrokenRecordsEndTheSession) {
  Stage stage{with_tls(GetParam())};
  Pair pair = login(stage, GetParam());
  (client_leg(GetParam()) ? pair.client : pair.server)
      .send_clear(std::string{"\x17\x03\x03\x00\x20", 5} + std::string(32, 'x'));
  EXPECT_TRUE(soon([&] {
    return stage.events.count("closed client_abort") + stage.events.count("closed server_error") ==
           1;
  }));
}

// ---------------------------------------------------------------- the client leg's start

TEST(ClientTls, IsTheSameHoweverItsFirstBytesAreCut) {
  Stage stage{with_tls(Legs::client)};
  for (std::size_t at = 1; at < ssl_request().size(); ++at) {
    ScriptedPeer client = stage.connect();
    client.send(ssl_request().substr(0, at));
    client.send(ssl_request().substr(at));
    client.expect("S");
    client.connect_tls(verifying());
    EXPECT_EQ(client.shown_certificate(), "pgleash");
  }
  const std::string packet = startup_packet();
  for (std::size_t at = 1; at < packet.size(); ++at) {
    ScriptedPeer client = secure_client(stage);
    client.send(packet.substr(0, at));
    client.send(packet.substr(at));
    ScriptedPeer server = stage.backend.accept();
    server.expect(packet);
  }
}

TEST(ClientTls, WhoAsksForNewKeysAndNeverReadsIsCutOff) {
  Stage stage{with_tls(Legs::client, [](config::Config& config) {
    // On a busy machine the kernel would lose its patience with who takes nothing, and end it
    // first.
    config.listeners.front().keepalive.user_timeout = std::chrono::minutes{10};
  })};
  Pair pair = login(stage, Legs::client);
  pair.client.small_receive_buffer();
  Pair other = login(stage, Legs::client, 78);
  EXPECT_THROW(
      {
        for (int i = 0; i < 1'000'000; ++i) pair.client.update_keys();
      },
      test::ScriptFailure);
  // Each demand costs both sides some cryptography: on a busy machine it takes its time.
  EXPECT_TRUE(test::wait_until([&] { return stage.events.count("closed client_abort") == 1; },
                               std::chrono::seconds{60}));
  other.echo();
}

TEST(ClientTls, RelaysWhatComesInOneRecordWithTheStartupPacket) {
  Stage stage{with_tls(Legs::client)};
  ScriptedPeer client = secure_client(stage);
  client.send(startup_packet() + wire::message('p', "early") + wire::query("select 1"));
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet() + wire::message('p', "early") + wire::query("select 1"));
}

TEST(ClientTls, RefusesBytesBehindAnSslRequest) {
  Stage stage{with_tls(Legs::both)};
  for (const std::string& injected :
       {std::string{"X"}, startup_packet("mallory"), wire::query("drop table t"), ssl_request()}) {
    ScriptedPeer client = stage.connect();
    client.send(ssl_request() + injected);
    const std::string answer = client.read_to_end();
    EXPECT_EQ(error_field(answer, 'C'), "08P01");
    EXPECT_EQ(error_field(answer, 'M'), "received unencrypted data after SSL request");
  }
  EXPECT_FALSE(stage.backend.called());
  EXPECT_EQ(stage.connections(AcceptResult::protocol_error), 4U);
}

TEST(ClientTls, TakesClearBytesBehindItsYesForNoneOfTheClients) {
  Stage stage{with_tls(Legs::client)};
  ScriptedPeer client = stage.connect();
  client.send(ssl_request());
  client.expect("S");
  client.send(startup_packet("mallory"));
  EXPECT_THAT(client.read_to_end(), Not(HasSubstr("mallory")));
  EXPECT_FALSE(stage.backend.called());
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::tls_error) == 1; }));
}

TEST(ClientTls, MayBeginAtOnceWithAlpn) {
  Stage stage{with_tls(Legs::client)};
  ScriptedTls how = verifying();
  how.protocol = "postgresql";
  ScriptedPeer client = stage.connect();
  client.connect_tls(how);
  client.send(ssl_request());
  client.expect("N");
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
}

TEST(ClientTls, MayNotBeginAtOnceWithoutAlpn) {
  Stage stage{with_tls(Legs::client)};
  ScriptedPeer client = stage.connect();
  client.connect_tls(verifying());
  client.send(startup_packet());
  EXPECT_THAT(error_field(client.read_to_end(), 'M'), HasSubstr("without ALPN"));
  EXPECT_FALSE(stage.backend.called());
}

TEST(ClientTls, RefusesAnotherProtocolThanPostgresql) {
  Stage stage{with_tls(Legs::client)};
  ScriptedTls how = verifying();
  how.protocol = "h2";
  for (const bool asks : {true, false}) {
    ScriptedPeer client = stage.connect();
    if (asks) {
      client.send(ssl_request());
      client.expect("S");
    }
    EXPECT_THROW(client.connect_tls(how), test::ScriptFailure);
  }
}

TEST(ClientTls, IsAMustWhereTheListenerSaysSo) {
  Stage stage{with_tls(Legs::client, [](config::Config& config) {
    config.listeners.front().tls.mode = ListenerTlsMode::require;
  })};
  ScriptedPeer clear = stage.connect();
  clear.send(gss_request());
  clear.expect("N");
  clear.send(startup_packet());
  EXPECT_EQ(error_field(clear.read_to_end(), 'C'), "28000");
  EXPECT_FALSE(stage.backend.called());

  // libpq before 17 cannot do otherwise.
  ScriptedPeer canceller = stage.connect();
  canceller.send(cancel_packet(5, "abcd"));
  EXPECT_EQ(stage.backend.accept_cancel().pid, 5);

  Pair pair = login(stage, Legs::client);
  pair.echo();
}

TEST(ClientTls, TakesACancelRequestThroughIt) {
  Stage stage{with_tls(Legs::both)};
  Pair pair = login(stage, Legs::both, 99);
  ScriptedPeer canceller = secure_client(stage);
  canceller.send(cancel_packet(99, "key!"));
  ScriptedPeer arrived = secure_server(stage);
  arrived.expect(cancel_packet(99, "key!"));
  EXPECT_TRUE(canceller.silent());
  arrived.close();
  canceller.expect_end();
  EXPECT_TRUE(canceller.closed_in_order());
  pair.echo();
}

TEST(ClientTls, AsksForACertificateAndShowsWhoseItIs) {
  Stage stage{with_tls(Legs::client, [](config::Config& config) {
    config.listeners.front().tls.client_ca_file = certificates().ca();
  })};
  const auto alice = certificates().issue("alice");
  ScriptedTls how = verifying();
  how.cert_file = alice.cert;
  how.key_file = alice.key;
  Pair pair;
  pair.client = secure_client(stage, how);
  pair.client.send(startup_packet());
  pair.server = stage.backend.accept();
  pair.server.expect(startup_packet());
  finish_login(pair);
  EXPECT_EQ(stage.session_of(pair).who->tls->client_dn, "CN=alice,O=tests");
}

TEST(ClientTls, TurnsAwayWhoHasNoneOrAStrangers) {
  const Certificates strangers;
  const auto mallory = strangers.issue("mallory");
  for (const bool only_1_2 : {true, false}) {
    for (const bool shows : {true, false}) {
      Stage stage{with_tls(Legs::client, [](config::Config& config) {
        config.listeners.front().tls.client_ca_file = certificates().ca();
      })};
      ScriptedTls how = verifying();
      how.only_1_2 = only_1_2;
      if (shows) {
        how.cert_file = mallory.cert;
        how.key_file = mallory.key;
      }
      // TLS 1.3: the client's handshake is over before the server has seen its certificate.
      EXPECT_THROW(
          {
            ScriptedPeer client = secure_client(stage, how);
            client.send(startup_packet());
            client.read(1);
          },
          test::ScriptFailure);
      EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::tls_error) == 1; }));
      EXPECT_FALSE(stage.backend.called());
    }
  }
}

TEST(ClientTls, TurnsAwayARevokedCertificate) {
  const Certificates own;
  const auto bob = own.issue("bob");
  const std::string revoked = own.revoke(bob);
  Stage stage{with_tls(Legs::client, [&](config::Config& config) {
    config.listeners.front().tls.client_ca_file = own.ca();
    config.listeners.front().tls.client_crl_file = revoked;
  })};
  ScriptedTls how = verifying();
  how.cert_file = bob.cert;
  how.key_file = bob.key;
  EXPECT_THROW(
      {
        ScriptedPeer client = secure_client(stage, how);
        client.send(startup_packet());
        client.read(1);
      },
      test::ScriptFailure);
  EXPECT_FALSE(stage.backend.called());
}

TEST(ClientTls, SpeaksNothingOlderThanItMay) {
  Stage stage{with_tls(Legs::client, [](config::Config& config) {
    config.listeners.front().tls.min_version = config::TlsVersion::v1_3;
  })};
  ScriptedTls how = verifying();
  how.only_1_2 = true;
  EXPECT_THROW((void)secure_client(stage, how), test::ScriptFailure);
  (void)secure_client(stage);
}

TEST(ClientTls, OfVersion12RelaysAsWell) {
  Stage stage{with_tls(Legs::both)};
  ScriptedTls client = verifying();
  client.only_1_2 = true;
  ScriptedTls server = as_server();
  server.only_1_2 = true;
  Pair pair;
  pair.client = secure_client(stage, client);
  pair.client.send(startup_packet());
  pair.server = secure_server(stage, server);
  pair.server.expect(startup_packet());
  finish_login(pair);
  pair.echo();
  EXPECT_EQ(stage.session_of(pair).who->tls->client_version, "TLSv1.2");
  EXPECT_EQ(stage.session_of(pair).who->tls->server_version, "TLSv1.2");
}

TEST(ClientTls, RenewedCertificatesAreForConnectionsToCome) {
  config::Config config;
  Stage stage{with_tls(Legs::client, [&](config::Config& adjusted) { config = adjusted; })};
  Pair old = login(stage, Legs::client);
  const auto renewed = certificates().issue("renewed");
  config.listeners.front().tls.cert_file = renewed.cert;
  config.listeners.front().tls.key_file = renewed.key;
  std::vector<config::Diagnostic> faults;
  auto made = make_tls(config, {}, faults);
  ASSERT_TRUE(made) << faults.front().message;
  stage.proxy->reload(std::move(*made));
  EXPECT_EQ(secure_client(stage).shown_certificate(), "renewed");
  EXPECT_EQ(old.client.shown_certificate(), "pgleash");
  old.echo();
}

// ---------------------------------------------------------------- the server leg's start

/// What the client is told of a server that answers the first connection so.
std::string told_of(Stage& stage, const std::function<void(ScriptedPeer&)>& answer) {
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  try {
    answer(server);
  } catch (const test::ScriptFailure&) {  // the handshake fails on this side too
  }
  const std::string message = client.read_to_end();
  EXPECT_EQ(error_field(message, 'C'), "08006");
  return error_field(message, 'D');
}

/// The same behind an SSLRequest.
std::string refusal(Stage& stage, const std::function<void(ScriptedPeer&)>& answer) {
  return told_of(stage, [&](ScriptedPeer& server) {
    server.expect(ssl_request());
    answer(server);
  });
}

TEST(ServerTls, RefusesBytesBehindTheServersYes) {
  Stage stage{with_tls(Legs::server)};
  EXPECT_THAT(refusal(stage, [](ScriptedPeer& server) { server.send("SX"); }),
              HasSubstr("received unencrypted data after SSL response"));
}

TEST(ServerTls, PassesNoErrorOnThatNobodyVouchesFor) {
  Stage stage{with_tls(Legs::server)};
  EXPECT_THAT(refusal(stage,
                      [](ScriptedPeer& server) {
                        server.send(wire::error("28000", "FATAL"));
                        server.close();
                      }),
              HasSubstr("answered SSLRequest with an error"));
}

TEST(ServerTls, DoesNotGoOnInClearWhereItMustNot) {
  Stage stage{with_tls(Legs::server)};
  EXPECT_THAT(refusal(stage, [](ScriptedPeer& server) { server.send("N"); }),
              HasSubstr("does not speak TLS"));
}

TEST(ServerTls, RefusesAStrangersCertificateAndAnotherHosts) {
  const Certificates strangers;
  const auto files = strangers.issue("server");
  Stage stage{with_tls(Legs::server)};
  EXPECT_THAT(refusal(stage,
                      [&](ScriptedPeer& server) {
                        server.send("S");
                        server.accept_tls(as_server(files));
                      }),
              HasSubstr("certificate verify failed"));

  const auto elsewhere = certificates().issue("elsewhere", "DNS:elsewhere,IP:127.0.0.2");
  EXPECT_THAT(refusal(stage,
                      [&](ScriptedPeer& server) {
                        server.send("S");
                        server.accept_tls(as_server(elsewhere));
                      }),
              HasSubstr("mismatch"));
}

TEST(ServerTls, PreferGoesOnInClear) {
  Stage stage{with_tls(Legs::server, [](config::Config& config) {
    config.servers.front().tls = {};
    config.servers.front().tls.mode = SslMode::prefer;
  })};
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(ssl_request());
  server.send("N");
  server.expect(startup_packet());
}

TEST(ServerTls, PreferTriesInClearWhenTheHandshakeFails) {
  Stage stage{with_tls(Legs::server, [](config::Config& config) {
    config.servers.front().tls = {};
    config.servers.front().tls.mode = SslMode::prefer;
  })};
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(ssl_request());
  server.send("S");
  server.close();
  ScriptedPeer again = stage.backend.accept();
  again.expect(startup_packet());
}

TEST(ServerTls, AllowComesBackWithItWhenTheServerWantsIt) {
  Stage stage{with_tls(Legs::server, [](config::Config& config) {
    config.servers.front().tls = {};
    config.servers.front().tls.mode = SslMode::allow;
  })};
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(startup_packet());
  ScriptedPeer clear = stage.backend.accept();
  clear.expect(startup_packet());
  clear.send(wire::error("28000", "FATAL"));
  clear.close();
  pair.server = secure_server(stage);
  pair.server.expect(startup_packet());
  finish_login(pair);
  pair.echo();
}

TEST(ServerTls, AllowStaysInClearWhereThatWillDo) {
  Stage stage{with_tls(Legs::server, [](config::Config& config) {
    config.servers.front().tls = {};
    config.servers.front().tls.mode = SslMode::allow;
  })};
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(startup_packet());
  pair.server = stage.backend.accept();
  pair.server.expect(startup_packet());
  finish_login(pair);
  pair.echo();
  EXPECT_FALSE(stage.session_of(pair).who->tls);
}

TEST(ServerTls, ShowsACertificateOfOurOwn) {
  const auto own = certificates().issue("pgleash-as-client");
  Stage stage{with_tls(Legs::server, [&](config::Config& config) {
    config.servers.front().tls.cert_file = own.cert;
    config.servers.front().tls.key_file = own.key;
  })};
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedTls how = as_server();
  how.ca_file = certificates().ca();
  ScriptedPeer server = secure_server(stage, how);
  EXPECT_EQ(server.shown_certificate(), "pgleash-as-client");
}

TEST(ServerTls, KnowsTheCertificateThatBothLegsShow) {
  Stage stage{with_tls(Legs::both)};
  Pair pair;
  pair.client = secure_client(stage);
  pair.client.send(startup_packet());
  pair.server = secure_server(stage, as_server(listeners()));
  pair.server.expect(startup_packet());
  const std::string offer =
      wire::message('R', wire::int32(10) + wire::zero_ended("SCRAM-SHA-256-PLUS") +
                             wire::zero_ended("SCRAM-SHA-256") + '\0');
  pair.down(offer);  // as it is: the binding holds
  EXPECT_TRUE(stage.session_of(pair).who->tls->same_certificate);
}

// ---------------------------------------------------------------- begun outright

Stage::Adjust outright() {
  return with_tls(Legs::server, [](config::Config& config) {
    config.servers.front().tls.negotiation = config::TlsNegotiation::direct;
  });
}

TEST(ServerTls, IsBegunWithoutAskingWhereTheConfigurationSaysSo) {
  Stage stage{outright()};
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(startup_packet());
  pair.server = stage.backend.accept();
  pair.server.accept_tls(as_server());  // nothing but a handshake begins here
  pair.server.expect(startup_packet());
  finish_login(pair, 4711);
  pair.echo();
  EXPECT_EQ(stage.session_of(pair).who->tls->server_version, "TLSv1.3");

  pair.up(wire::query("select pg_sleep(600)"));
  auto report = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  ScriptedPeer cancel = stage.backend.accept();
  cancel.accept_tls(as_server());
  cancel.expect(cancel_packet(4711, "key!"));
  cancel.close();
  pair.server.send(wire::error("57014") + wire::ready());
  EXPECT_EQ(error_field(pair.client.read_message(), 'M'), "ended by the test");
  pair.client.expect(wire::ready());
  EXPECT_EQ(Stage::result(report).result, KillResult::done);
}

TEST(ServerTls, SaysWhatAnOlderServerMakesOfIt) {
  Stage stage{outright()};
  for (const bool reset : {false, true}) {
    EXPECT_THAT(told_of(stage,
                        [&](ScriptedPeer& server) {
                          std::array<char, 4096> hello{};
                          (void)server.read_some(hello.data(), hello.size());
                          reset ? server.reset() : server.close();
                        }),
                AllOf(HasSubstr("a server before PostgreSQL 17"),
                      HasSubstr("tls_negotiation = \"postgres\" asks first")));
  }
}

TEST(ServerTls, IsNotBegunOutrightWithWhoeverSpeaksIt) {
  Stage stage{outright()};
  EXPECT_THAT(told_of(stage,
                      [](ScriptedPeer& server) {
                        ScriptedTls how = as_server();
                        how.names_protocol = false;
                        server.accept_tls(how);
                      }),
              HasSubstr("did not name the protocol \"postgresql\""));
  const Certificates strangers;
  const auto files = strangers.issue("server");
  EXPECT_THAT(told_of(stage, [&](ScriptedPeer& server) { server.accept_tls(as_server(files)); }),
              AllOf(HasSubstr("certificate verify failed"), Not(HasSubstr("PostgreSQL 17"))));
}

// ---------------------------------------------------------------- what SCRAM makes of it

TEST(ServerTls, OffersNoChannelBindingToAClientInClear) {
  const std::string offered =
      wire::message('R', wire::int32(10) + wire::zero_ended("SCRAM-SHA-256-PLUS") +
                             wire::zero_ended("SCRAM-SHA-256") + '\0');
  const std::string passed_on =
      wire::message('R', wire::int32(10) + wire::zero_ended("SCRAM-SHA-256") + '\0');
  for (std::size_t at = 0; at < offered.size(); ++at) {
    Stage stage{with_tls(Legs::server)};
    Pair pair = arrive(stage, Legs::server);
    if (at > 0) pair.server.send(offered.substr(0, at));
    pair.server.send(offered.substr(at));
    pair.client.expect(passed_on);
    finish_login(pair);
    pair.echo();
    if (at % 8 != 0) at += 3;  // each cut is a stage of its own
  }
}

TEST(ServerTls, SaysWhatHelpsWhereTwoCertificatesKeepSomebodyOut) {
  for (const char* text :
       {"SCRAM channel binding check failed", "SCRAM channel binding negotiation error"}) {
    Stage stage{with_tls(Legs::both)};
    Pair pair = arrive(stage, Legs::both);
    const std::string error = wire::message(
        'E', wire::zero_ended("SFATAL") + wire::zero_ended("VFATAL") + wire::zero_ended("C28P01") +
                 wire::zero_ended(std::string{"M"} + text) + '\0');
    pair.server.send(error);
    pair.server.close();
    const std::string came = pair.client.read_to_end();
    EXPECT_EQ(error_field(came, 'C'), "28P01");
    EXPECT_EQ(error_field(came, 'M'), text);
    EXPECT_THAT(error_field(came, 'H'), StartsWith("pgleash: client and server legs"));
  }
}

TEST(ServerTls, LeavesAllOtherErrorsAsTheyAre) {
  Stage stage{with_tls(Legs::both)};
  Pair pair = arrive(stage, Legs::both);
  pair.server.send(wire::error("28P01", "FATAL"));
  pair.server.close();
  EXPECT_EQ(pair.client.read_to_end(), wire::error("28P01", "FATAL"));
}

}  // namespace
}  // namespace pgleash::proxy
