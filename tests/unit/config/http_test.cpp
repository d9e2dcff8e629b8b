#include "config/loader.hpp"
#include "config/reload.hpp"
#include "tests/unit/config/samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgleash::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A folder with the files that [http] names.
struct PageFiles : Folder {
  PageFiles() {
    write("s.crt", "x", 0644);
    write("s.key", "x", 0640);
    write("page.token", "0123456789abcdef\n", 0640);
    write("short.token", "guess\n", 0640);
    write("open.token", "0123456789abcdef\n", 0644);
    write("blank.token", "0123456789 abcdef\n", 0640);
    write("empty.token", "\n0123456789abcdef\n", 0640);
  }
  [[nodiscard]] LoadResult load(const std::string& http) const {
    return load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n[http]\n" + http,
                     path("pgleash.toml"));
  }
  [[nodiscard]] std::string said(const std::string& http) const {
    std::string all;
    for (const Diagnostic& one : load(http).diagnostics)
      all += one.message + " | " + one.hint + '\n';
    return all;
  }
};

constexpr const char* everywhere = "listen = \"0.0.0.0:9733\"\n";
constexpr const char* pair = "tls_cert_file = \"s.crt\"\ntls_key_file = \"s.key\"\n";
constexpr const char* token = "token_file = \"page.token\"\n";

TEST(Http, IsOnLoopbackWithoutTlsOrTokenUnlessSaidOtherwise) {
  const PageFiles files;
  const auto bare = files.load("");
  ASSERT_TRUE(bare.config);
  EXPECT_TRUE(bare.config->http == Http{});
  EXPECT_THAT(files.said("listen = \"[::1]:9000\"\n"), IsEmpty());
  EXPECT_THAT(files.said("listen = \"localhost:9000\"\n"), IsEmpty());
  EXPECT_THAT(files.said(std::string{token} + pair), IsEmpty()) << "as much as one likes";
}

TEST(Http, IsRefusedElsewhereWithoutBoth) {
  const PageFiles files;
  EXPECT_THAT(files.said(everywhere), HasSubstr("without TLS and a token"));
  EXPECT_THAT(files.said(std::string{everywhere} + token),
              AllOf(HasSubstr("without TLS:"), Not(HasSubstr("a token:"))));
  EXPECT_THAT(files.said(std::string{everywhere} + pair), HasSubstr("without a token:"));
  EXPECT_THAT(files.said("listen = \"db1:9733\"\n"), HasSubstr("is not loopback"));
  const auto both = files.load(std::string{everywhere} + token + pair);
  EXPECT_THAT(both.diagnostics, IsEmpty());
  ASSERT_TRUE(both.config);
  EXPECT_EQ(both.config->http.token_file, files.path("page.token"));
  EXPECT_TRUE(both.config->http.tls());
  const auto again = load_text(effective_toml(*both.config), "again");
  ASSERT_TRUE(again.config);
  EXPECT_TRUE(again.config->http == both.config->http);
  EXPECT_THAT(effective_toml(*both.config), Not(HasSubstr("0123456789abcdef")));
}

TEST(Http, WantsATokenThatNobodyGuessesOrReads) {
  const PageFiles files;
  EXPECT_THAT(files.said("token_file = \"short.token\"\n"),
              AllOf(HasSubstr("shorter than 16 bytes"), HasSubstr("openssl rand"),
                    Not(HasSubstr("guess"))));
  EXPECT_THAT(files.said("token_file = \"open.token\"\n"), HasSubstr("open.token"));
  EXPECT_THAT(files.said("token_file = \"blank.token\"\n"), HasSubstr("no HTTP header"));
  EXPECT_THAT(files.said("token_file = \"empty.token\"\n"), HasSubstr("empty"));
  EXPECT_THAT(files.said("token_file = \"absent.token\"\n"), HasSubstr("absent.token"));
  EXPECT_THAT(files.said("tls_cert_file = \"s.crt\"\n"), HasSubstr("without its key"));
}

TEST(Http, AnotherTokenIsTakenAtOnceButWhetherThereIsOneAtARestart) {
  const PageFiles files;
  const auto with = [&](const std::string& http) { return *files.load(http).config; };
  files.write("other.token", "fedcba9876543210\n", 0640);
  const Config running = with(token);
  const Config other = with("token_file = \"other.token\"\n");
  EXPECT_EQ(take_over(running, other).http.token_file, files.path("other.token"));
  EXPECT_FALSE(changes(running, other).front().needs_restart);
  EXPECT_EQ(take_over(running, with("")).http.token_file, files.path("page.token"));
  EXPECT_TRUE(changes(running, with("")).front().needs_restart);
  EXPECT_EQ(take_over(with(""), running).http.token_file, "");
}

}  // namespace
}  // namespace pgleash::config
