#include "config/loader.hpp"
#include "config/reload.hpp"
#include "tests/unit/config/samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgleash::config {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A folder with files that are there; what they hold is not looked at here.
struct WithFiles : Folder {
  WithFiles() {
    write("s.crt", "x", 0644);
    write("s.key", "x", 0640);
    write("ca.crt", "x", 0644);
    write("open.key", "x", 0644);
    write("empty.crt", "", 0644);
  }
  [[nodiscard]] LoadResult load(const std::string& listener, const std::string& server = {},
                                const std::string& host = "db") const {
    return load_text("[[listener]]\n" + listener + "[[server]]\nname = \"s\"\nhost = \"" + host +
                         "\"\n" + server,
                     path("pgleash.toml"));
  }
  [[nodiscard]] std::string said(const std::string& listener, const std::string& server = {},
                                 const std::string& host = "db") const {
    std::string all;
    for (const Diagnostic& one : load(listener, server, host).diagnostics)
      all += std::string{one.severity == Severity::error ? "error: " : "warning: "} + one.message +
             " | " + one.hint + "\n";
    return all;
  }
};

constexpr const char* pair = "tls_cert_file = \"s.crt\"\ntls_key_file = \"s.key\"\n";

TEST(Tls, IsOffForClientsAndPreferredForServersUnlessSaidOtherwise) {
  const WithFiles files;
  const LoadResult bare = files.load("");
  ASSERT_TRUE(bare.config);
  EXPECT_TRUE(bare.config->listeners.front().tls == ListenerTls{});
  EXPECT_EQ(bare.config->listeners.front().tls.mode, ListenerTlsMode::off);
  EXPECT_EQ(bare.config->servers.front().tls.mode, SslMode::prefer);
}

TEST(Tls, TakesAllItsKeys) {
  const WithFiles files;
  const LoadResult all = files.load(
      std::string{"tls = \"require\"\n"} + pair +
          "tls_client_ca_file = \"ca.crt\"\ntls_client_crl_file = \"ca.crt\"\n"
          "tls_client_cert = \"request\"\ntls_min_version = \"1.3\"\n",
      std::string{"tls = \"verify-full\"\n"} + pair +
          "tls_ca_file = \"ca.crt\"\ntls_crl_file = \"ca.crt\"\ntls_min_version = \"1.3\"\n"
          "tls_negotiation = \"direct\"\n");
  ASSERT_TRUE(all.config);
  EXPECT_THAT(all.diagnostics, IsEmpty());
  const ListenerTls listener{ListenerTlsMode::require, files.path("s.crt"),
                             files.path("s.key"),      files.path("ca.crt"),
                             files.path("ca.crt"),     ClientCertificate::request,
                             TlsVersion::v1_3};
  EXPECT_TRUE(all.config->listeners.front().tls == listener);
  const ServerTls server{SslMode::verify_full,  files.path("ca.crt"), files.path("ca.crt"),
                         files.path("s.crt"),   files.path("s.key"),  TlsVersion::v1_3,
                         TlsNegotiation::direct};
  EXPECT_TRUE(all.config->servers.front().tls == server);
  const LoadResult again = load_text(effective_toml(*all.config), "again");
  ASSERT_TRUE(again.config);
  EXPECT_TRUE(again.config->listeners.front().tls == listener);
  EXPECT_TRUE(again.config->servers.front().tls == server);
}

TEST(Tls, OpaqueHasNoFilesAndSaysWhoseTaskTheChallengeIs) {
  const WithFiles files;
  const std::string on = "tls = \"opaque\"\nrequire_challenge = \"never\"\n";
  const LoadResult good = files.load(on);
  ASSERT_TRUE(good.config);
  EXPECT_THAT(good.diagnostics, IsEmpty());
  EXPECT_EQ(good.config->listeners.front().tls.mode, ListenerTlsMode::opaque);
  EXPECT_THAT(
      files.said("tls = \"opaque\"\n"),
      HasSubstr("error: nobody can see through TLS whether the server asks for a password"));
  EXPECT_THAT(files.said(on + pair), HasSubstr("error: listener \"main\" ends no TLS"));
  EXPECT_THAT(files.said(on, "", "/run/postgresql"),
              HasSubstr("error: there is no TLS to pass through"));
  EXPECT_THAT(files.said(on, "monitor = \"none\"\n"),
              HasSubstr("warning: nobody judges the sessions of listener \"main\""));
  EXPECT_THAT(files.said(on, "application_name_suffix = \"address\"\n"),
              HasSubstr("warning: application_name_suffix does not reach"));
  EXPECT_THAT(files.said(on, "[[quota]]\nname = \"q\"\nkey = \"user\"\nsessions = 3\n"),
              HasSubstr("warning: quota \"q\" does not count the sessions of listener"));
}

TEST(Tls, ToPassItThroughOrNoMoreWaitsForARestart) {
  const WithFiles files;
  const std::string opaque = "tls = \"opaque\"\nrequire_challenge = \"never\"\n";
  const LoadResult ended = files.load(std::string{"tls = \"require\"\n"} + pair);
  const LoadResult passed = files.load(opaque);
  ASSERT_TRUE(ended.config && passed.config);
  for (const auto& [before, after] : {std::pair{&ended, &passed}, std::pair{&passed, &ended}}) {
    const Config taken = take_over(*before->config, *after->config);
    EXPECT_TRUE(taken.listeners.front().tls == before->config->listeners.front().tls);
    for (const ChangedKey& one : changes(*before->config, *after->config))
      EXPECT_TRUE(one.key != "listener.main.tls" || one.needs_restart);
  }
}

TEST(Tls, SaysWhatIsWrongWithEachFile) {
  const WithFiles files;
  const std::string on = "tls = \"prefer\"\n";
  EXPECT_THAT(files.said(on), HasSubstr("error: listener \"main\" has no certificate"));
  EXPECT_THAT(files.said(on + "tls_cert_file = \"absent.crt\"\ntls_key_file = \"s.key\"\n"),
              HasSubstr("cannot find"));
  EXPECT_THAT(files.said(on + "tls_cert_file = \"empty.crt\"\ntls_key_file = \"s.key\"\n"),
              HasSubstr("is empty"));
  EXPECT_THAT(files.said(on + "tls_cert_file = \"s.crt\"\ntls_key_file = \"open.key\"\n"),
              HasSubstr("is open to everybody"));
  EXPECT_THAT(files.said("", "tls_cert_file = \"s.crt\"\ntls_key_file = \"open.key\"\n"),
              HasSubstr("is open to everybody"));
  EXPECT_THAT(files.said("", "tls_ca_file = \"absent.crt\"\n"), HasSubstr("cannot find"));
}

TEST(Tls, SaysWhatDoesNotGoTogether) {
  const WithFiles files;
  EXPECT_THAT(files.said(pair), HasSubstr("warning: listener \"main\" does not speak TLS"));
  const std::string on = std::string{"tls = \"prefer\"\n"} + pair;
  EXPECT_THAT(files.said(on + "tls_client_crl_file = \"ca.crt\"\n"),
              HasSubstr("error: nobody says which client certificates are good"));
  EXPECT_THAT(files.said(on + "tls_client_ca_file = \"ca.crt\"\n"),
              HasSubstr("warning: who comes without TLS is asked for no certificate"));
  EXPECT_THAT(files.said("", "tls = \"verify-full\"\n"),
              HasSubstr("error: nothing to verify the certificate of server \"s\" with"));
  EXPECT_THAT(files.said("", "tls = \"require\"\ntls_ca_file = \"system\"\n"),
              HasSubstr("error: any certificate of a public CA would do"));
  EXPECT_THAT(files.said("", "tls = \"verify-full\"\ntls_ca_file = \"system\"\n"), IsEmpty());
  EXPECT_THAT(files.said("", "tls_cert_file = \"s.crt\"\n"),
              HasSubstr("error: a certificate without its key"));
  EXPECT_THAT(files.said("", "tls_crl_file = \"ca.crt\"\n"), HasSubstr("error: a list of revoked"));
  EXPECT_THAT(files.said("", "tls = \"require\"\n", "/run/postgresql"),
              HasSubstr("error: PostgreSQL has no TLS on Unix sockets"));
  EXPECT_THAT(files.said("", "", "/run/postgresql"), IsEmpty());
  EXPECT_THAT(files.said("", "tls = \"disable\"\ntls_ca_file = \"ca.crt\"\n"),
              HasSubstr("warning: tls_ca_file of server \"s\" is not used"));
}

TEST(Tls, BeginsOutrightOnlyWhereNothingMayGoOnInClear) {
  const WithFiles files;
  const std::string direct = "tls_negotiation = \"direct\"\n";
  for (const char* mode : {"disable", "allow", "prefer"})
    EXPECT_THAT(
        files.said("", direct + "tls = \"" + mode + "\"\n"),
        HasSubstr(std::string{"error: tls = \""} + mode + "\" of server \"s\" may go on in clear"));
  EXPECT_THAT(files.said("", direct), HasSubstr("write tls = \"require\""));
  EXPECT_THAT(files.said("", direct + "tls = \"require\"\n"), IsEmpty());
  EXPECT_THAT(files.said("", "tls_negotiation = \"postgres\"\n"), IsEmpty());
  EXPECT_THAT(files.said("", "tls_negotiation = \"ssl\"\n"), HasSubstr("error: "));
}

TEST(Tls, IsTakenAtAReload) {
  const WithFiles files;
  const Config before = *files.load("").config;
  const Config after =
      *files
           .load(std::string{"tls = \"require\"\n"} + pair + "login_timeout = \"3s\"\n",
                 "tls = \"require\"\n")
           .config;
  for (const ChangedKey& one : changes(before, after))
    EXPECT_EQ(one.needs_restart, one.key == "listener.main.login_timeout") << one.key;
  const Config taken = take_over(before, after);
  EXPECT_TRUE(taken.listeners.front().tls == after.listeners.front().tls);
  EXPECT_TRUE(taken.servers.front().tls == after.servers.front().tls);
  EXPECT_EQ(taken.listeners.front().login_timeout, before.listeners.front().login_timeout);
}

}  // namespace
}  // namespace pgleash::config
