#include "proxy/scram_exchange.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <string>

namespace pgleash::proxy {
namespace {

namespace scram = protocol::scram;

// RFC 7677, section 3: user "user", password "pencil".
const std::string client_nonce = "rOprNGfwEbeRWgbNEkqO";
const std::string server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const std::string client_first = "n,,n=user,r=" + client_nonce;
const std::string server_first =
    "r=" + client_nonce + server_nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const std::string client_final =
    "c=biws,r=" + client_nonce + server_nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const std::string server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

struct Keys {
  std::string client;
  ScramSecret secret;
};

/// What a server keeps of a password, and what only its owner can compute.
Keys keys_of(const std::string& password, const std::string& salt, std::uint32_t iterations) {
  std::string salted(scram::key_size, '\0');
  PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                    reinterpret_cast<const unsigned char*>(salt.data()),
                    static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
                    static_cast<int>(salted.size()),
                    reinterpret_cast<unsigned char*>(salted.data()));
  const ScramKey client = hmac_sha256(salted, "Client Key");
  Keys keys{std::string{client.view()},
            {true, iterations, salt, sha256(client.view()), hmac_sha256(salted, "Server Key")}};
  return keys;
}

const Keys pencil = keys_of("pencil", *scram::from_base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
const std::string certificate(32, 'c');

/// A whole login: a client with this password, and what it learns at the end.
struct Login {
  std::string failed;  ///< SQLSTATE
  std::string client_key;
  bool server_proved = false;
};
Login log_in(const Keys& client, ScramForClient server, bool tls, bool plus,
             const std::string& seen = certificate) {
  Login login;
  ScramForServer ours{
      ScramKey{client.client}, client.secret, tls ? seen : std::string{}, tls, plus, scram_nonce()};
  const auto challenge = server.first(ours.mechanism(), ours.first());
  if (!challenge) return login.failed = challenge.error().sqlstate, login;
  const auto proof = ours.final(*challenge);
  if (!proof) return login.failed = "client", login;
  const auto key = server.final(*proof);
  if (!key) return login.failed = key.error().sqlstate, login;
  login.client_key = key->view();
  login.server_proved = ours.verify(server.last());
  return login;
}

TEST(ScramExchange, IsTheOneOfTheRfc) {
  ScramForClient server{pencil.secret, "", server_nonce};
  const auto challenge = server.first(scram::plain, client_first);
  ASSERT_TRUE(challenge);
  EXPECT_EQ(*challenge, server_first);
  const auto key = server.final(client_final);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->view(), pencil.client) << "what the proof shows";
  EXPECT_EQ(server.last(), server_final);
}

TEST(ScramExchange, TheKeyOfOneLegIsTheProofOnTheOther) {
  const Login bound =
      log_in(pencil, ScramForClient{pencil.secret, certificate, scram_nonce()}, true, true);
  EXPECT_EQ(bound.failed, "");
  EXPECT_TRUE(bound.server_proved);
  EXPECT_EQ(bound.client_key, pencil.client);
  const Login clear =
      log_in(pencil, ScramForClient{pencil.secret, "", scram_nonce()}, false, false);
  EXPECT_EQ(clear.failed, "");
  EXPECT_TRUE(clear.server_proved);
}

TEST(ScramExchange, AWrongPasswordIsRefusedAndShowsNoKey) {
  const Keys wrong = keys_of("pen", pencil.secret.salt, 4096);
  EXPECT_EQ(log_in(wrong, ScramForClient{pencil.secret, "", scram_nonce()}, false, false).failed,
            "28P01");
}

TEST(ScramExchange, AMadeUpSecretFitsNobodyAndIsTheSameEachTime) {
  const ScramSecret one = ScramSecret::mock("nobody", "seed");
  EXPECT_EQ(one.salt, ScramSecret::mock("nobody", "seed").salt);
  EXPECT_NE(one.salt, ScramSecret::mock("somebody", "seed").salt);
  EXPECT_NE(one.salt, ScramSecret::mock("nobody", "other seed").salt);
  EXPECT_EQ(one.salt.size(), 16U);
  EXPECT_EQ(one.iterations, 4096U);
  // Not even for who knows the made-up keys.
  Keys knowing = keys_of("x", one.salt, 4096);
  ScramSecret unreal = knowing.secret;
  unreal.real = false;
  EXPECT_EQ(log_in(knowing, ScramForClient{unreal, "", scram_nonce()}, false, false).failed,
            "28P01");
}

TEST(ScramExchange, AnotherCertificateInBetweenIsFound) {
  EXPECT_EQ(log_in(pencil, ScramForClient{pencil.secret, certificate, scram_nonce()}, true, true,
                   std::string(32, 'm'))
                .failed,
            "28000");
}

TEST(ScramExchange, AnOfferThatWasChangedOnItsWayIsFound) {
  // The client has TLS and could bind, but somebody took -PLUS out of what it was offered.
  EXPECT_EQ(
      log_in(pencil, ScramForClient{pencil.secret, certificate, scram_nonce()}, true, false).failed,
      "28000");
  ScramForClient server{pencil.secret, certificate, server_nonce};
  EXPECT_EQ(server.first(scram::plain, "y,,n=,r=abc").error().message,
            "SCRAM channel binding negotiation error");
}

TEST(ScramExchange, MechanismAndHeaderMustAgree) {
  const auto begin = [](std::string_view mechanism, std::string_view message, std::string channel) {
    ScramForClient server{pencil.secret, std::move(channel), server_nonce};
    return static_cast<bool>(server.first(mechanism, message));
  };
  EXPECT_TRUE(begin(scram::bound, "p=tls-server-end-point,,n=,r=abc", certificate));
  EXPECT_TRUE(begin(scram::plain, "n,,n=,r=abc", certificate)) << "it does not bind";
  EXPECT_TRUE(begin(scram::plain, "y,,n=,r=abc", "")) << "nothing was offered to it";
  EXPECT_FALSE(begin(scram::bound, "n,,n=,r=abc", certificate));
  EXPECT_FALSE(begin(scram::plain, "p=tls-server-end-point,,n=,r=abc", certificate));
  EXPECT_FALSE(begin(scram::bound, "p=tls-server-end-point,,n=,r=abc", "")) << "in clear";
  EXPECT_FALSE(begin("SCRAM-SHA-1", "n,,n=,r=abc", ""));
}

TEST(ScramExchange, ASwappedNonceOrHeaderIsRefused) {
  const auto end = [](const std::string& final) {
    ScramForClient server{pencil.secret, "", server_nonce};
    EXPECT_TRUE(server.first(scram::plain, client_first));
    const auto key = server.final(final);
    return key ? std::string{"in"} : key.error().sqlstate;
  };
  const std::string proof = ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
  EXPECT_EQ(end(client_final), "in");
  EXPECT_EQ(end("c=biws,r=" + client_nonce + proof), "08P01");
  EXPECT_EQ(end("c=eSws,r=" + client_nonce + server_nonce + proof), "28000")
      << "y,, instead of n,,";
  EXPECT_EQ(end("c=biws,r=" + client_nonce + server_nonce + ",x=1" + proof), "28P01");
}

TEST(ScramExchange, AServerThatDoesNotGoOnFromOurNonceIsLeft) {
  ScramForServer ours{ScramKey{pencil.client}, pencil.secret, "", false, false, "abc"};
  EXPECT_FALSE(ours.final("r=xyz,s=AAAA,i=4096"));
  EXPECT_FALSE(ours.final("r=abc,s=AAAA,i=4096")) << "a replay of our own";
  ASSERT_TRUE(ours.final("r=abcdef,s=AAAA,i=4096"));
  EXPECT_FALSE(ours.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
  EXPECT_FALSE(ours.verify("e=other-error"));
}

TEST(ScramExchange, NoncesAreNewEachTimeAndFitToBeSent) {
  const std::string one = scram_nonce();
  EXPECT_EQ(one.size(), 24U);
  EXPECT_NE(one, scram_nonce());
  EXPECT_TRUE(scram::parse_client_first("n,,n=,r=" + one));
}

}  // namespace
}  // namespace pgleash::proxy
