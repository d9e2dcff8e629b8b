#include "protocol/scram.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace pgleash::protocol::scram {
namespace {

// RFC 7677, section 3.
const std::string client_first_message = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const std::string nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const std::string server_first_message = "r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const std::string client_final_message =
    "c=biws,r=" + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const std::string server_final_message = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

TEST(Scram, ReadsTheExchangeOfTheRfc) {
  const auto first = parse_client_first(client_first_message);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->binding, Binding::none);
  EXPECT_EQ(first->gs2_header, "n,,");
  EXPECT_EQ(first->nonce, "rOprNGfwEbeRWgbNEkqO");
  EXPECT_EQ(first->bare, "n=user,r=rOprNGfwEbeRWgbNEkqO");
  const auto challenge = parse_server_first(server_first_message);
  ASSERT_TRUE(challenge);
  EXPECT_EQ(challenge->nonce, nonce);
  EXPECT_EQ(challenge->iterations, 4096U);
  EXPECT_EQ(challenge->salt.size(), 16U);
  EXPECT_EQ(server_first(challenge->nonce, challenge->salt, challenge->iterations),
            server_first_message);
  const auto final = parse_client_final(client_final_message);
  ASSERT_TRUE(final);
  EXPECT_EQ(final->channel, "n,,");
  EXPECT_EQ(final->nonce, nonce);
  EXPECT_EQ(final->proof.size(), key_size);
  EXPECT_EQ(final->without_proof, "c=biws,r=" + nonce);
  const auto signature = parse_server_final(server_final_message);
  ASSERT_TRUE(signature);
  EXPECT_EQ(signature->size(), key_size);
}

TEST(Scram, KnowsWhatTheClientSaysOfChannelBinding) {
  const auto used = parse_client_first("p=tls-server-end-point,,n=,r=abc");
  ASSERT_TRUE(used);
  EXPECT_EQ(used->binding, Binding::used);
  EXPECT_EQ(used->gs2_header, "p=tls-server-end-point,,");
  EXPECT_EQ(used->bare, "n=,r=abc");
  EXPECT_EQ(parse_client_first("y,,n=,r=abc")->binding, Binding::unoffered);
  EXPECT_EQ(parse_client_first("p=tls-unique,,n=,r=abc").error().message,
            "unsupported SCRAM channel-binding type");
}

TEST(Scram, RefusesHostileFirstMessages) {
  for (const std::string& hostile :
       {std::string{}, std::string{"n"}, std::string{"n,"}, std::string{"n,,"},
        std::string{"x,,n=,r=abc"}, std::string{"n,,r=abc,n="}, std::string{"n,,n="},
        std::string{"n,,n=,r="}, std::string{"n,,n=,r=a b"}, std::string{"n,,n=,r=\xc3\xa9"},
        std::string{"n,a=admin,n=,r=abc"}, std::string{"n,,m=x,n=,r=abc"},
        std::string{"n,,n=,m=x,r=abc"}, std::string{"n,,n=,r=a\0b", 11}, std::string{"p,,n=,r=abc"},
        std::string{"p=,,n=,r=abc"}, std::string{"nn,,n=,r=abc"},
        "n,,n=,r=" + std::string(max_nonce + 1, 'a'),
        "n,,n=" + std::string(max_message, 'u') + ",r=abc"})
    EXPECT_FALSE(parse_client_first(hostile)) << hostile.substr(0, 40);
  EXPECT_TRUE(parse_client_first("n,,n=,r=" + std::string(max_nonce, 'a')));
}

TEST(Scram, RefusesHostileFinalMessages) {
  const std::string proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
  ASSERT_TRUE(parse_client_final("c=biws,r=n,p=" + proof));
  ASSERT_TRUE(parse_client_final("c=biws,r=n,x=1,p=" + proof)) << "extensions may come in between";
  EXPECT_EQ(parse_client_final("c=biws,r=n,x=1,p=" + proof)->without_proof, "c=biws,r=n,x=1");
  for (const std::string& hostile :
       {std::string{}, "r=n,c=biws,p=" + proof, "c=biws,p=" + proof, std::string{"c=biws,r=n"},
        std::string{"c=biws,r=n,p="}, "c=biws,r=n,p=" + proof + "=",
        "c=biws,r=n,p=" + proof + ",x=1", "c=biws,r=n,p= " + proof, "c=b iws,r=n,p=" + proof,
        "c=biw,r=n,p=" + proof, "c=,r=n,p=" + proof, std::string{"c=biws,r=n,p=AAAA"},
        "c=biws,r=" + std::string(max_nonce + 1, 'n') + ",p=" + proof,
        "c=biws,r=n,p=" + proof.substr(0, 43) + "\n"})
    EXPECT_FALSE(parse_client_final(hostile)) << hostile;
}

TEST(Scram, RefusesHostileServers) {
  for (const std::string& hostile :
       {std::string{}, std::string{"e=other-error"}, std::string{"r=n,s=,i=4096"},
        std::string{"r=n,s=AAAA,i=0"}, std::string{"r=n,s=AAAA,i=-1"},
        std::string{"r=n,s=AAAA,i=4096x"}, std::string{"r=n,s=AAAA,i=99999999999"},
        std::string{"r=n,s=AAAA,i=4000000000"}, std::string{"s=AAAA,r=n,i=1"},
        std::string{"m=x,r=n,s=AAAA,i=1"}})
    EXPECT_FALSE(parse_server_first(hostile)) << hostile;
  for (const std::string& hostile :
       {std::string{}, std::string{"e=invalid-proof"}, std::string{"v="}, std::string{"v=AAAA"}})
    EXPECT_FALSE(parse_server_final(hostile)) << hostile;
}

TEST(Scram, ReadsBase64StrictlyAndWritesWhatItReads) {
  // RFC 4648, section 10.
  for (const auto& [bytes, text] : {std::pair<std::string, std::string>{"f", "Zg=="},
                                    {"fo", "Zm8="},
                                    {"foo", "Zm9v"},
                                    {"foob", "Zm9vYg=="},
                                    {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
  for (const char* wrong : {"", "Z", "Zg", "Zg=", "Zg==\n", " Zg==", "Zh==", "Zm9=", "====", "=Zg=",
                            "Z=g=", "Zg==Zg==", "Zm9v*A=="})
    EXPECT_FALSE(from_base64(wrong)) << wrong;
}

TEST(Scram, ReadsARolesSecretAndNothingElse) {
  const std::string key = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
  const std::string good = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" + key + ":" + key;
  const auto verifier = parse_verifier(good);
  ASSERT_TRUE(verifier);
  EXPECT_EQ(verifier->iterations, 4096U);
  EXPECT_EQ(verifier->salt.size(), 16U);
  EXPECT_EQ(to_base64(verifier->stored_key), key);
  for (const std::string& other :
       {std::string{}, std::string{"md53f6eb6e2fd6bf3b4f8bb5a0b1b1e7a9e"}, std::string{"plain"},
        good + ":", good.substr(0, good.size() - 1), "SCRAM-SHA-1$4096:AAAA$" + key + ":" + key,
        "SCRAM-SHA-256$0:AAAA$" + key + ":" + key, "SCRAM-SHA-256$4096$AAAA:" + key + ":" + key})
    EXPECT_FALSE(parse_verifier(other)) << other;
}

TEST(Scram, TakesAnInitialResponseWholeOrNotAtAll) {
  const auto body = [](const std::string& mechanism, std::uint32_t length,
                       const std::string& data) {
    std::string made = mechanism + '\0';
    for (const unsigned shift : {24U, 16U, 8U, 0U})
      made += static_cast<char>(length >> shift & 0xFFU);
    return made + data;
  };
  const auto good = parse_initial_response(body("SCRAM-SHA-256", 3, "n,,"));
  ASSERT_TRUE(good);
  EXPECT_EQ(good->mechanism, "SCRAM-SHA-256");
  EXPECT_EQ(good->data, "n,,");
  for (const std::string& wrong :
       {std::string{}, std::string{"SCRAM-SHA-256"}, body("SCRAM-SHA-256", 4, "n,,"),
        body("SCRAM-SHA-256", 2, "n,,"), body("SCRAM-SHA-256", 0xFFFFFFFF, ""),
        std::string{"SCRAM-SHA-256\0\0\0", 16}})
    EXPECT_FALSE(parse_initial_response(wrong));
}

}  // namespace
}  // namespace pgleash::protocol::scram
