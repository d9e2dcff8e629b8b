#include "proxy/tls_context.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace pgleash::proxy {
namespace {

using namespace std::chrono_literals;
using test::CertificateFiles;
using test::Certificates;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Certificates& certificates() {
  static const Certificates made;
  return made;
}

config::ListenerTls listener(const CertificateFiles& files) {
  config::ListenerTls tls;
  tls.mode = config::ListenerTlsMode::require;
  tls.cert_file = files.cert;
  tls.key_file = files.key;
  return tls;
}

struct Made {
  bool there = false;
  std::vector<TlsFault> faults;
};
Made made(const config::ListenerTls& tls, std::chrono::system_clock::time_point now) {
  Made result;
  result.there = make_listener_tls(tls, now, result.faults) != nullptr;
  return result;
}
/// Now: behind the making of the certificates, which a default argument might not be.
Made made(const config::ListenerTls& tls) {
  return made(tls, std::chrono::system_clock::now());
}

void expect_error(const Made& result, const std::string& key, const std::string& text) {
  EXPECT_FALSE(result.there);
  ASSERT_THAT(result.faults, SizeIs(1));
  EXPECT_EQ(result.faults.front().severity, config::Severity::error);
  EXPECT_EQ(result.faults.front().key, key);
  EXPECT_THAT(result.faults.front().fault.message, HasSubstr(text));
}

TEST(TlsFiles, OfOnePairAreTakenWithoutAWord) {
  const Made good = made(listener(certificates().issue("good")));
  EXPECT_TRUE(good.there);
  EXPECT_THAT(good.faults, IsEmpty());
}

TEST(TlsFiles, OfTwoPairsDoNotGoTogether) {
  auto tls = listener(certificates().issue("one"));
  tls.key_file = certificates().issue("another").key;
  expect_error(made(tls), "tls_key_file", "is not the key of");
}

TEST(TlsFiles, MustHoldWhatTheirKeySays) {
  const auto files = certificates().issue("good");
  auto tls = listener(files);
  tls.cert_file = files.key;
  expect_error(made(tls), "tls_cert_file", "holds no certificate");
  tls = listener(files);
  tls.key_file = files.cert;
  expect_error(made(tls), "tls_key_file", "holds no key that can be read");
  tls = listener(files);
  tls.client_ca_file = files.key;
  expect_error(made(tls), "tls_client_ca_file", "holds no certificate");
  tls.client_ca_file = certificates().ca();
  tls.client_crl_file = files.cert;
  expect_error(made(tls), "tls_client_crl_file", "holds no list of revoked certificates");
}

TEST(TlsFiles, WithAPassphraseAskNobodyForIt) {
  const auto files = certificates().issue("good");
  auto tls = listener(files);
  tls.key_file = certificates().path("locked.key");
  const auto done = test::run({.argv = {"openssl", "pkey", "-in", files.key, "-aes256", "-passout",
                                        "pass:secret", "-out", tls.key_file},
                               .environment = {},
                               .user = {}});
  ASSERT_EQ(done.status, 0) << done.err;
  expect_error(made(tls), "tls_key_file", "holds no key that can be read");
}

TEST(TlsFiles, ThatAreOutOfDateAreAWarning) {
  const auto files = certificates().issue("good");  // for 30 days
  const auto now = std::chrono::system_clock::now();
  for (const auto& [when, text] : {std::pair{now + 31 * 24h, "the certificate has expired: "},
                                   std::pair{now - 24h, "the certificate is not valid yet"}}) {
    const Made result = made(listener(files), when);
    EXPECT_TRUE(result.there);
    ASSERT_THAT(result.faults, SizeIs(1));
    EXPECT_EQ(result.faults.front().severity, config::Severity::warning);
    EXPECT_EQ(result.faults.front().key, "tls_cert_file");
    EXPECT_THAT(result.faults.front().fault.message, HasSubstr(text));
  }
}

TEST(TlsFiles, AreComplainedOfWhereTheyWereNamed) {
  config::Config config;
  config.listeners.emplace_back();
  config.servers.emplace_back();
  config.listeners.front().tls = listener(certificates().issue("one"));
  config.listeners.front().tls.key_file = certificates().issue("another").key;
  config.servers.front().tls.mode = config::SslMode::verify_full;
  config.servers.front().tls.ca_file = certificates().path("one.key");
  config::Provenance provenance;
  provenance["listener[0].tls_key_file"] = {"pgleash.toml", 7, 3};
  provenance["server[0].tls_ca_file"] = {"pgleash.toml", 12, 5};
  std::vector<config::Diagnostic> diagnostics;
  EXPECT_FALSE(make_tls(config, provenance, diagnostics));
  ASSERT_THAT(diagnostics, SizeIs(2));
  EXPECT_EQ(diagnostics[0].position.line, 7U);
  EXPECT_EQ(diagnostics[1].position.line, 12U);
}

TEST(TlsFiles, AreNotReadWhereNobodySpeaksTls) {
  config::Config config;
  config.listeners.emplace_back();
  config.servers.resize(2);
  config.servers[0].tls.mode = config::SslMode::disable;
  config.servers[1].address = {"/run/postgresql", 5432, true};
  std::vector<config::Diagnostic> diagnostics;
  const auto all = make_tls(config, {}, diagnostics);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->listeners[0], nullptr);
  EXPECT_EQ(all->servers[0], nullptr);
  EXPECT_EQ(all->servers[1], nullptr);
}

}  // namespace
}  // namespace pgleash::proxy
