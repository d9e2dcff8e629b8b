#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

/// What brought other proxies down before a login was over (docs/faults.md names the CVEs): it
/// passes as it is, or is refused, and a session beside it notices nothing.
namespace pgleash::proxy {
namespace {

using test::error_field;
using testing::HasSubstr;

class HostileLogin : public testing::Test {
 protected:
  void TearDown() override { neighbour_.echo(); }

  /// A login of which the server got the startup packet, and has asked for SCRAM.
  Pair asked() {
    ScriptedPeer client = stage_.connect();
    client.send(startup_packet());
    ScriptedPeer server = stage_.backend.accept();
    server.expect(startup_packet());
    Pair pair{std::move(client), std::move(server), 7, "1234"};
    pair.down(wire::message('R', wire::int32(10) + wire::zero_ended("SCRAM-SHA-256") + '\0'));
    return pair;
  }
  /// The server has had enough.
  static void refuse(Pair& pair, const std::string& error) {
    pair.server.send(error);
    pair.server.close();
    EXPECT_EQ(pair.client.read_to_end(), error);
  }

  Stage stage_;
  Pair neighbour_ = stage_.login();
};

TEST_F(HostileLogin, PassesMalformedScramMessagesToTheServerThatHasToRefuseThem) {
  const std::string initial = wire::zero_ended("SCRAM-SHA-256");
  const std::vector<std::string> messages = {
      "",
      std::string(1, '\0'),
      "SCRAM-SHA-256",  // without its end
      initial,
      initial + wire::int32(0xFFFFFFFFU),  // no initial response
      initial + wire::int32(0x7FFFFFFFU) + "n,,n=,r=x",
      initial + wire::int32(1000) + "n,,n=,r=x",
      initial + wire::int32(0) + "n,,n=,r=x",
      initial + wire::int32(9) + "n,,n=,r=",
      initial + wire::int32(12) + std::string{"n,,n=\0,r=\0xyz", 12},
      initial + wire::int32(5) + "\xff\xfe\xfd\xfc\xfb",
  };
  for (const std::string& body : messages) {
    Pair pair = asked();
    pair.up(wire::message('p', body));
    refuse(pair, wire::error("08P01", "FATAL"));
  }
  EXPECT_TRUE(
      soon([&] { return stage_.connections(AcceptResult::server_refused) == messages.size(); }));
}

TEST_F(HostileLogin, PassesANonceOfTenThousandBytes) {
  Pair pair = asked();
  const std::string nonce(10'000, 'n');
  const std::string first = "n,,n=,r=" + nonce;
  pair.up(wire::message('p', wire::zero_ended("SCRAM-SHA-256") +
                                 wire::int32(static_cast<std::uint32_t>(first.size())) + first));
  pair.down(wire::message('R', wire::int32(11) + "r=" + nonce + nonce + ",s=,i=4096"));
  pair.up(wire::message('p', "c=biws,r=" + nonce + nonce + ",p=" + std::string(10'000, 'p')));
  pair.down(wire::message('R', wire::int32(12) + "v=" + nonce) + wire::authentication(0) +
            wire::message('K', wire::int32(7) + "1234") + wire::ready());
  pair.echo();
}

TEST_F(HostileLogin, PassesAnErrorWithoutASqlstate) {
  const std::vector<std::string> errors = {
      wire::message('E', std::string{"SFATAL\0Mno code\0\0", 17}),
      wire::message('E', std::string(1, '\0')),
      wire::message('E', ""),
      wire::message('E', "SFATAL"),                        // neither its own end nor the list's
      wire::message('E', std::string{"C\0\0", 3}),         // an empty one
      wire::message('E', std::string{"C28\0M\0\0", 7}),    // a short one
      wire::message('E', "C" + std::string(70'000, '9')),  // an endless one
      "Ecannot fork\n" + std::string(1, '\0'),             // as before protocol 3.0, and no frame
  };
  for (const std::string& error : errors) {
    Pair pair = asked();
    if (error.starts_with("Ecannot")) {
      pair.server.send(error);
      pair.server.close();
      EXPECT_THAT(pair.client.read_to_end(), HasSubstr("E"));
      continue;
    }
    refuse(pair, error);
  }
  EXPECT_TRUE(soon([&] { return stage_.views().size() == 1; })) << "the neighbour's";
}

TEST_F(HostileLogin, PassesASearchPathAndAnyOptionsAsTheyAre) {
  for (const char* options : {"-c search_path=evil", "-c=", "-c =", "--=", "-c", "--", "\\", "="}) {
    const std::string packet =
        startup_packet("app", 3U << 16U,
                       wire::zero_ended("search_path") + wire::zero_ended("evil, \"$user\"") +
                           wire::zero_ended("options") + wire::zero_ended(options));
    ScriptedPeer client = stage_.connect();
    client.send(packet);
    ScriptedPeer server = stage_.backend.accept();
    server.expect(packet);
    EXPECT_TRUE(server.silent()) << "and nothing of our own behind it";
  }
}

TEST_F(HostileLogin, BelievesNoSecondStartupPacket) {
  Pair pair = asked();
  pair.up(startup_packet("postgres"));  // the server's to refuse: it has a login under way
  const auto view = stage_.view(pair.client);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->who->user, "app");
  refuse(pair, wire::error("08P01", "FATAL"));
}

TEST_F(HostileLogin, WaitsForNoMessageOfTwoGigabytes) {
  constexpr std::uint32_t longest = 0x7fffffff;
  for (const std::uint32_t length : {longest, longest + 1, longest + 2, 0xffffffffU}) {
    Pair pair = asked();
    const std::string begun = "p" + wire::int32(length) + "and a little";
    if (length <= longest) {
      pair.up(begun);
      refuse(pair, wire::error("08P01", "FATAL"));
    } else {
      pair.client.send(begun);
      EXPECT_EQ(error_field(pair.client.read_to_end(), 'M'), "invalid message length from client");
      pair.server.expect_end();
    }
    Pair other = asked();
    other.down("R" + wire::int32(length) + "and a little");
  }
}

TEST_F(HostileLogin, RefusesThousandsOfParameters) {
  std::string many;
  for (int i = 0; i < 2'400; ++i) many += std::string{"a\0b\0", 4};
  ScriptedPeer client = stage_.connect();
  client.send(startup_packet("app", 3U << 16U, many));
  const auto answer = client.read_to_end();
  EXPECT_EQ(error_field(answer, 'C'), "08P01");
  EXPECT_FALSE(stage_.backend.called());
}

TEST_F(HostileLogin, TakesTheLastOfARepeatedParameterAsTheServerDoes) {
  const std::string packet = startup_packet(
      "postgres", 3U << 16U,
      wire::zero_ended("database") + wire::zero_ended("one") + wire::zero_ended("user") +
          wire::zero_ended("app") + wire::zero_ended("database") + wire::zero_ended("two"));
  ScriptedPeer client = stage_.connect();
  client.send(packet);
  ScriptedPeer server = stage_.backend.accept();
  server.expect(packet);
  const auto view = stage_.view(client);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->who->user, "app");
  EXPECT_EQ(view->who->database, "two");
}

TEST_F(HostileLogin, RefusesLengthsThatAreOffByOne) {
  const std::string packet = startup_packet();
  const auto with_length = [&](std::size_t length) {
    return wire::int32(static_cast<std::uint32_t>(length)) + packet.substr(4);
  };
  ScriptedPeer shorter = stage_.connect();
  shorter.send(with_length(packet.size() - 1));
  EXPECT_EQ(error_field(shorter.read_to_end(), 'C'), "08P01");
  ScriptedPeer longer = stage_.connect();
  longer.send(with_length(packet.size() + 1));
  longer.half_close();
  longer.expect_end();
  EXPECT_TRUE(soon([&] { return stage_.connections(AcceptResult::client_gone) == 1; }));
  ScriptedPeer padded = stage_.connect();
  padded.send(with_length(packet.size() + 1) + std::string(1, '\0'));
  EXPECT_EQ(error_field(padded.read_to_end(), 'C'), "08P01");
  EXPECT_FALSE(stage_.backend.called());
}

}  // namespace
}  // namespace pgleash::proxy
