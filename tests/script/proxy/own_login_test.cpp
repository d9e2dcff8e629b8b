#include "proxy/scram_exchange.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>
#include <openssl/evp.h>

/// Logins that pgleash takes part in (scram = "reoriginate"): what hostile clients and servers make
/// of them, and what the other side sees.
namespace pgleash::proxy {
namespace {

using test::error_field;
using ::testing::HasSubstr;

namespace scram = protocol::scram;

const std::string salt(16, 's');

struct Password {
  std::string client_key;
  ScramSecret secret;
  [[nodiscard]] std::string verifier() const {
    return "SCRAM-SHA-256$4096:" + scram::to_base64(salt) + "$" +
           scram::to_base64(secret.stored_key.view()) + ":" +
           scram::to_base64(secret.server_key.view());
  }
};
Password password(const std::string& text) {
  std::string salted(scram::key_size, '\0');
  PKCS5_PBKDF2_HMAC(text.data(), static_cast<int>(text.size()),
                    reinterpret_cast<const unsigned char*>(salt.data()),
                    static_cast<int>(salt.size()), 4096, EVP_sha256(),
                    static_cast<int>(salted.size()),
                    reinterpret_cast<unsigned char*>(salted.data()));
  const ScramKey client = hmac_sha256(salted, "Client Key");
  return {std::string{client.view()},
          {true, 4096, salt, sha256(client.view()), hmac_sha256(salted, "Server Key")}};
}
const Password right = password("right");

Stage::Adjust own_login() {
  return [](config::Config& config) {
    config.listeners.front().scram = config::Scram::reoriginate;
    config.listeners.front().require_challenge = config::RequireChallenge::always;
  };
}

std::string demand() {
  return wire::message('R', wire::int32(10) + wire::zero_ended("SCRAM-SHA-256") + '\0');
}
std::string sasl(std::uint32_t code, const std::string& data) {
  return wire::message('R', wire::int32(code) + data);
}
std::string initial(const std::string& mechanism, const std::string& data) {
  return wire::message('p', wire::zero_ended(mechanism) +
                                wire::int32(static_cast<std::uint32_t>(data.size())) + data);
}
/// What is behind the code of an Authentication message.
std::string data_of(const std::string& message) {
  return message.substr(9);
}

/// A client that has been told what to prove, and a server that waits.
Pair asked(Stage& stage) {
  Pair pair;
  pair.client = stage.connect();
  pair.client.send(startup_packet());
  pair.server = stage.backend.accept();
  pair.server.expect(startup_packet());
  pair.server.send(demand());
  pair.client.expect(demand());
  return pair;
}

ScramForServer client_with(const Password& known) {
  return {ScramKey{known.client_key}, known.secret, "", false, false, scram_nonce()};
}

/// The client's proof is on its way; what the server gets of it.
std::string prove(Pair& pair, const Password& known) {
  ScramForServer client = client_with(known);
  pair.client.send(initial("SCRAM-SHA-256", client.first()));
  const auto proof = client.final(data_of(pair.client.read_message()));
  EXPECT_TRUE(proof);
  pair.client.send(wire::message('p', *proof));
  return {};
}

TEST(OwnLogin, ProvesTheClientToUsAndUsToTheServer) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  Pair pair = asked(stage);
  ScramForServer client = client_with(right);
  pair.client.send(initial("SCRAM-SHA-256", client.first()));
  const auto proof = client.final(data_of(pair.client.read_message()));
  ASSERT_TRUE(proof);
  EXPECT_FALSE(stage.backend.called());
  pair.client.send(wire::message('p', *proof));
  // The server's side of the second exchange.
  ScramForClient server{right.secret, "", scram_nonce()};
  const std::string first = pair.server.read_message();
  const auto response = scram::parse_initial_response(std::string_view{first}.substr(5));
  ASSERT_TRUE(response);
  const auto challenge = server.first(response->mechanism, response->data);
  ASSERT_TRUE(challenge);
  pair.server.send(sasl(11, *challenge));
  const auto key = server.final(std::string_view{pair.server.read_message()}.substr(5));
  ASSERT_TRUE(key);
  EXPECT_EQ(key->view(), right.client_key);
  pair.server.send(sasl(12, server.last()) + wire::authentication(0) +
                   wire::message('K', wire::int32(7) + "1234") + wire::ready());
  EXPECT_TRUE(client.verify(data_of(pair.client.read_message())));
  pair.client.expect(wire::authentication(0) + wire::message('K', wire::int32(7) + "1234") +
                     wire::ready());
  const SessionView up = stage.session_of(pair);
  EXPECT_TRUE(up.facts.challenged);
  EXPECT_EQ(up.facts.state, protocol::SessionState::idle);
  EXPECT_EQ(up.facts.anomalies, 0U);
  pair.echo();
}

class HostileProof : public testing::TestWithParam<std::pair<const char*, std::string>> {};

INSTANTIATE_TEST_SUITE_P(
    Messages, HostileProof,
    testing::Values(
        std::pair{"AnotherMechanism", initial("SCRAM-SHA-1", "n,,n=,r=abc")},
        std::pair{"BindingThatNobodyOffered",
                  initial("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=abc")},
        std::pair{"BindingWithoutPlus",
                  initial("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=abc")},
        std::pair{"AnotherIdentity", initial("SCRAM-SHA-256", "n,a=postgres,n=,r=abc")},
        std::pair{"NoNonce", initial("SCRAM-SHA-256", "n,,n=")},
        std::pair{"ALongNonce", initial("SCRAM-SHA-256", "n,,n=,r=" + std::string(5000, 'a'))},
        std::pair{"AWrongOrder", initial("SCRAM-SHA-256", "n,,r=abc,n=")},
        std::pair{"AZeroByte", initial("SCRAM-SHA-256", std::string("n,,n=,r=a\0b", 11))},
        std::pair{"ALengthThatLies", wire::message('p', wire::zero_ended("SCRAM-SHA-256") +
                                                            wire::int32(0x7fffffff) + "n,,")},
        std::pair{"ALengthThatWrapsAround",
                  wire::message('p', wire::zero_ended("SCRAM-SHA-256") + wire::int32(0xffffffff) +
                                         "n,,")},
        std::pair{"AnotherStartupPacket", startup_packet("postgres")},
        std::pair{"APassword", wire::message('p', wire::zero_ended("secret"))},
        std::pair{"AQuery", wire::query("select 1")}),
    [](const auto& one) { return std::string{one.param.first}; });

TEST_P(HostileProof, IsRefusedAndTheServerNeverHearsOfIt) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  Pair pair = asked(stage);
  pair.client.send(GetParam().second);
  const std::string code = error_field(pair.client.read_message(), 'C');
  EXPECT_TRUE(code == "08P01" || code == "0A000") << code;
  pair.client.expect_end();
  pair.server.expect_end();
  EXPECT_EQ(stage.connections(AcceptResult::server_refused), 1U);
}

TEST(OwnLogin, AMessageOfAGigabyteIsNotWaitedForNorOneOfMore) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  for (const std::uint32_t length : {1U << 30U, 0x7fffffffU, 0x80000001U, 0xffffffffU}) {
    Pair pair = asked(stage);
    pair.client.send("p" + wire::int32(length));
    pair.client.expect_end();
    pair.server.expect_end();
  }
}

TEST(OwnLogin, AProofThatLacksAPartIsRefusedAndTheServerNeverHearsOfIt) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  for (const std::string& hostile :
       {wire::message('p', ""), wire::message('p', "c=biws"), wire::message('p', "r=abc,p=AAAA"),
        wire::message('p', "c=biws,p=AAAA"), wire::message('p', "c=biws,r=abc"),
        wire::message('p', "c=biws,r=abc,p"), wire::message('p', ",,,"),
        startup_packet("postgres")}) {
    Pair pair = asked(stage);
    ScramForServer client = client_with(right);
    pair.client.send(initial("SCRAM-SHA-256", client.first()));
    ASSERT_TRUE(client.final(data_of(pair.client.read_message())));
    pair.client.send(hostile);
    EXPECT_EQ(error_field(pair.client.read_message(), 'C'), "08P01");
    pair.client.expect_end();
    pair.server.expect_end();
  }
}

TEST(OwnLogin, AWrongPasswordAndAStrangerHearTheSame) {
  for (const bool known : {true, false}) {
    Stage stage{own_login()};
    stage.secrets.know(known ? "app" : "somebody else", right.verifier());
    Pair pair = asked(stage);
    (void)prove(pair, password("wrong"));
    const std::string error = pair.client.read_message();
    EXPECT_EQ(error_field(error, 'C'), "28P01");
    EXPECT_EQ(error_field(error, 'M'), "password authentication failed for user \"app\"");
    pair.client.expect_end();
    pair.server.expect_end();
  }
}

TEST(OwnLogin, AServerThatCannotProveItselfIsNotBelieved) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  Pair pair = asked(stage);
  (void)prove(pair, right);
  ScramSecret guessed = right.secret;
  guessed.server_key = ScramKey{std::string(scram::key_size, 'g')};
  ScramForClient server{guessed, "", scram_nonce()};
  const std::string first = pair.server.read_message();
  const auto response = scram::parse_initial_response(std::string_view{first}.substr(5));
  const auto challenge = server.first(response->mechanism, response->data);
  pair.server.send(sasl(11, *challenge));
  EXPECT_TRUE(server.final(std::string_view{pair.server.read_message()}.substr(5)));
  pair.server.send(sasl(12, server.last()) + wire::authentication(0));
  const std::string error = pair.client.read_message();
  EXPECT_EQ(error_field(error, 'C'), "08006");
  EXPECT_THAT(error_field(error, 'M'), HasSubstr("could not prove"));
  pair.client.expect_end();
}

/// What a server answers to our first message, once the client has proved itself.
void answer(Pair& pair, const std::string& challenge) {
  (void)prove(pair, right);
  const std::string first = pair.server.read_message();
  const auto response = scram::parse_initial_response(std::string_view{first}.substr(5));
  ASSERT_TRUE(response);
  std::string nonce{response->data.substr(response->data.find(",r=") + 3)};
  pair.server.send(sasl(11, "r=" + nonce + challenge));
}

TEST(OwnLogin, ALongNonceOfTheServersIsNotTaken) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  for (const std::size_t length : {2'000U, 60'000U}) {
    Pair pair = asked(stage);
    answer(pair, std::string(length, 'n') + ",s=AAAA,i=4096");
    EXPECT_EQ(error_field(pair.client.read_message(), 'C'), "08006");
    pair.client.expect_end();
    pair.server.expect_end();
  }
}

TEST(OwnLogin, IterationsThatTheServerDemandsCostNothing) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  Pair pair = asked(stage);
  answer(pair, "more,s=AAAA,i=10000000");
  EXPECT_EQ(pair.server.read_message().front(), 'p') << "no key is derived: the client's is there";
  Pair more = asked(stage);
  answer(more, "more,s=AAAA,i=2147483647");
  EXPECT_EQ(error_field(more.client.read_message(), 'C'), "08006");
}

TEST(OwnLogin, AnErrorWithoutASqlstateIsPassedOn) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  const std::string error = wire::message('E', std::string{"SFATAL\0Mno code\0\0", 17});
  Pair pair = asked(stage);
  (void)prove(pair, right);
  (void)pair.server.read_message();
  pair.server.send(error);
  pair.server.close();
  EXPECT_EQ(pair.client.read_to_end(), error);
}

TEST(OwnLogin, TheServersOwnRefusalIsPassedOn) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  Pair pair = asked(stage);
  (void)prove(pair, right);
  (void)pair.server.read_message();
  pair.server.send(wire::error("28P01", "FATAL"));
  pair.server.close();
  EXPECT_EQ(error_field(pair.client.read_message(), 'C'), "28P01");
  pair.client.expect_end();
}

TEST(OwnLogin, PassesOnWhatIsNoScramAndWhatNobodyCanTell) {
  Stage stage{own_login()};  // nobody can be asked
  Pair pair = asked(stage);
  pair.up(initial("SCRAM-SHA-256", "n,,n=,r=abc"));
  pair.down(sasl(11, "r=abcdef,s=AAAA,i=4096"));
  Pair other;
  other.client = stage.connect();
  other.client.send(startup_packet());
  other.server = stage.backend.accept();
  other.server.expect(startup_packet());
  other.down(wire::message('N', wire::zero_ended("SNOTICE") + '\0') + wire::authentication(3));
  other.up(wire::message('p', wire::zero_ended("secret")));
  other.down(wire::authentication(0) + wire::message('K', wire::int32(8) + "1234") + wire::ready());
  other.echo();
}

TEST(OwnLogin, ATrustLineIsNoWayInEither) {
  Stage stage{own_login()};
  stage.secrets.know("app", right.verifier());
  ScriptedPeer client = stage.connect();
  client.send(startup_packet());
  ScriptedPeer server = stage.backend.accept();
  server.expect(startup_packet());
  server.send(wire::authentication(0));
  EXPECT_EQ(error_field(client.read_message(), 'C'), "28000");
  client.expect_end();
}

}  // namespace
}  // namespace pgleash::proxy
