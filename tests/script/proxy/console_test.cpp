#include "tests/script/proxy/stage.hpp"

#include <gtest/gtest.h>

/// Logins for pgleash itself: the server authenticates, then the console has the server's place.
namespace pgleash::proxy {
namespace {

using test::error_field;

void with_console(config::Config& config) {
  config.console.operators = {"app"};
  config.console.database = "leash";
  config.servers[0].monitor.database = "watchroom";
}

std::string asking_for(std::string_view database) {
  return startup_packet("app", 3U << 16U,
                        wire::zero_ended("database") + wire::zero_ended(database));
}

struct Console {
  ScriptedPeer client;
  ScriptedPeer server;
  Door::Visit visit;
};

std::string key() {
  return wire::message('K', wire::int32(4711) + wire::int32(815));
}

/// As far as the server's word that it wants a password, and the client's password.
Console knock(Stage& stage) {
  Console console;
  console.client = stage.connect();
  console.client.send(asking_for("leash"));
  console.server = stage.backend.accept();
  console.server.expect(asking_for("watchroom"));
  console.server.send(wire::authentication(3));
  console.client.expect(wire::authentication(3));
  console.client.send(wire::message('p', wire::zero_ended("secret")));
  console.server.expect(wire::message('p', wire::zero_ended("secret")));
  return console;
}

Console enter(Stage& stage) {
  Console console = knock(stage);
  console.server.send(wire::authentication(0) + key() + wire::ready());
  console.client.expect(wire::authentication(0) + key());
  console.server.expect(wire::message('X'));
  console.server.expect_end();
  if (!soon([&] { return stage.door.visits() == 1; })) throw test::ScriptFailure{"no visit"};
  console.visit = stage.door.take();
  return console;
}

TEST(ConsoleLogin, TheServerAuthenticatesAndIsLeftPolitely) {
  Stage stage{with_console};
  Console console = enter(stage);
  EXPECT_EQ(console.visit.guest.user, "app");
  EXPECT_EQ(console.visit.guest.server, "scripted");
  EXPECT_EQ(console.visit.guest.client.port, console.client.local_port());
  EXPECT_FALSE(console.visit.guest.ready_sent) << "ReadyForQuery is the console's to say";
  EXPECT_EQ(stage.connections(AcceptResult::console), 1U);
  EXPECT_EQ(stage.connections(AcceptResult::accepted), 0U);
  EXPECT_EQ(stage.events.count("opened"), 0U);
}

TEST(ConsoleLogin, BytesGoBetweenClientAndConsole) {
  Stage stage{with_console};
  Console console = enter(stage);
  console.visit.stream.send(wire::ready());
  console.client.expect(wire::ready());
  console.client.send(wire::query("show sessions"));
  console.visit.stream.expect(wire::query("show sessions"));
  const std::string much(1'000'000, 'x');
  const std::string row = wire::message('D', much);
  std::thread writer{[&] { console.visit.stream.send(row); }};
  console.client.expect(row);
  writer.join();
  EXPECT_TRUE(stage.views().empty()) << "it is nobody's session, and nothing is to be judged";
}

TEST(ConsoleLogin, AReadyForQueryInTwoPiecesGoesThrough) {
  Stage stage{with_console};
  Console console = knock(stage);
  const std::string all = wire::authentication(0) + key() + wire::ready();
  console.server.send(all.substr(0, all.size() - 2));
  console.client.expect(all.substr(0, all.size() - 2));
  console.server.send(all.substr(all.size() - 2));
  console.client.expect(all.substr(all.size() - 2));
  ASSERT_TRUE(soon([&] { return stage.door.visits() == 1; }));
  EXPECT_TRUE(stage.door.take().guest.ready_sent);
}

TEST(ConsoleLogin, OneThatTheServerDidNotAskToProveIsRefusedThoughLocal) {
  Stage stage{[](config::Config& config) {
    with_console(config);
    config.listeners[0].require_challenge = config::RequireChallenge::never;
  }};
  ScriptedPeer client = stage.connect();
  client.send(asking_for("leash"));
  ScriptedPeer server = stage.backend.accept();
  server.expect(asking_for("watchroom"));
  server.send(wire::authentication(0) + key() + wire::ready());
  const std::string answer = client.read_message();
  EXPECT_EQ(error_field(answer, 'C'), "28000");
  EXPECT_NE(error_field(answer, 'H').find("scram-sha-256"), std::string::npos);
  EXPECT_NE(error_field(answer, 'H').find("watchroom"), std::string::npos);
  EXPECT_EQ(stage.door.visits(), 0U);
  EXPECT_TRUE(soon([&] { return stage.connections(AcceptResult::no_challenge) == 1; }));
}

TEST(ConsoleLogin, AStatementBehindThePasswordDoesNotReachTheServer) {
  Stage stage{with_console};
  Console console = knock(stage);
  console.client.send(wire::query("drop table orders"));
  const std::string answer = console.client.read_message();
  EXPECT_EQ(error_field(answer, 'C'), "08P01");
  console.server.expect_end();
  EXPECT_EQ(stage.door.visits(), 0U);
}

TEST(ConsoleLogin, AServersRefusalReachesTheClientAsItIs) {
  Stage stage{with_console};
  Console console = knock(stage);
  console.server.send(wire::error("28P01", "FATAL"));
  console.server.close();
  console.client.expect(wire::error("28P01", "FATAL"));
  console.client.expect_end();
  EXPECT_EQ(stage.door.visits(), 0U);
}

TEST(ConsoleLogin, TheConsoleLearnsThatItsClientIsGone) {
  Stage stage{with_console};
  Console console = enter(stage);
  console.client.reset();
  console.visit.stream.expect_end();
  EXPECT_TRUE(soon([&] { return stage.proxy->total_live() == 0; }));
  EXPECT_EQ(stage.events.count("closed client_abort"), 0U) << "no session was opened either";
}

TEST(ConsoleLogin, TheClientGetsTheLastWordsOfAConsoleThatCloses) {
  Stage stage{with_console};
  Console console = enter(stage);
  console.visit.stream.send(wire::error("42501", "FATAL"));
  console.visit.stream.close();
  console.client.expect(wire::error("42501", "FATAL"));
  console.client.expect_end();
  console.client.close();
  EXPECT_TRUE(soon([&] { return stage.proxy->total_live() == 0; }));
}

TEST(ConsoleLogin, AnIdleConsoleIsDrainedAtOnceAndABusyOneAtTheDeadline) {
  Stage stage{with_console};
  Console console = enter(stage);
  console.visit.stream.send(wire::ready());
  console.client.expect(wire::ready());
  console.client.send(wire::query("kill where true"));
  console.visit.stream.expect(wire::query("kill where true"));
  stage.proxy->drain(0s);
  EXPECT_EQ(error_field(console.client.read_message(), 'C'), "57P01");
  EXPECT_TRUE(soon([&] { return stage.proxy->total_live() == 0; }));
}

TEST(ConsoleLogin, AFullHouseLetsTheConsoleIn) {
  Stage stage{[](config::Config& config) {
    with_console(config);
    config.process.max_sessions = 1;
  }};
  Pair pair = stage.login();
  const Console console = enter(stage);
  pair.echo();
}

TEST(ConsoleLogin, WithNobodyListedTheDatabaseIsOneLikeOthers) {
  Stage stage{[](config::Config& config) {
    with_console(config);
    config.console.operators.clear();
  }};
  ScriptedPeer client = stage.connect();
  client.send(asking_for("leash"));
  stage.backend.accept().expect(asking_for("leash"));
}

}  // namespace
}  // namespace pgleash::proxy
