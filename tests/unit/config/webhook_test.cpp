#include "config/loader.hpp"
#include "config/reload.hpp"
#include "config/schema.hpp"
#include "config/secret.hpp"
#include "config/url.hpp"
#include "tests/unit/config/samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <variant>

namespace pgleash::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* server = "[[server]]\nname = \"s\"\nhost = \"db\"\n";
constexpr const char* good_key = "hmac_key = { env = \"PGLEASH_TEST_HMAC_KEY\" }\n";
constexpr const char* good_url = "url = \"https://hooks.internal/x\"\n";

std::string hook(const std::string& keys, const std::string& name = "oncall") {
  return "[[webhook]]\nname = \"" + name + "\"\n" + keys;
}
std::string said(const std::string& text, const std::string& file = "f") {
  std::string all;
  for (const Diagnostic& one : load_text(server + text, file).diagnostics)
    all += render(one, false);
  return all;
}

std::string why_not(std::string_view url) {
  const auto parsed = parse_webhook_url(url);
  return std::holds_alternative<Fault>(parsed) ? std::get<Fault>(parsed).message : "";
}

TEST(WebhookUrl, IsTakenApart) {
  const auto url = [](std::string_view text) { return std::get<Url>(parse_webhook_url(text)); };
  EXPECT_EQ(url("https://hooks.internal"), (Url{true, "hooks.internal", 443, "/"}));
  EXPECT_EQ(url("https://h:8443/a/b?c=d"), (Url{true, "h", 8443, "/a/b?c=d"}));
  EXPECT_EQ(url("https://h?c"), (Url{true, "h", 443, "/?c"}));
  EXPECT_EQ(url("https://[2001:db8::1]:9/x"), (Url{true, "2001:db8::1", 9, "/x"}));
  EXPECT_EQ(url("http://127.0.0.1:8080/x"), (Url{false, "127.0.0.1", 8080, "/x"}));
  EXPECT_EQ(url("http://[::1]/"), (Url{false, "::1", 80, "/"}));
}

TEST(WebhookUrl, IsRefusedWithTheReasonAndWithoutTheText) {
  struct Case {
    std::string_view url;
    std::string_view why;
  };
  for (const Case& one :
       {Case{"ftp://topsecret/", "https://"}, Case{"http://topsecret/", "loopback"},
        Case{"http://127.evil.topsecret/", "loopback"}, Case{"https://", "names no host"},
        Case{"https://u:topsecret@h/", "user or password"}, Case{"https://topsecret:0/", "port"},
        Case{"https://topsecret:/", "port"}, Case{"https://topsecret:65536/", "port"},
        Case{"https://h/topsecret\r\nX: y", "control"}, Case{"https://h/top secret", "blank"},
        Case{"https://h/#topsecret", "fragment"}, Case{"https://[topsecret/", "no ]"},
        Case{"https://top$secret/", "character"}}) {
    EXPECT_THAT(why_not(one.url), HasSubstr(one.why)) << one.url;
    EXPECT_THAT(why_not(one.url), Not(HasSubstr("secret"))) << one.url;
  }
}

TEST(Webhook, SaysWhatIsMissingOrMisspelt) {
  EXPECT_THAT(said(hook("")), AllOf(HasSubstr("has no 'url'"), HasSubstr("has no 'hmac_key'")));
  EXPECT_THAT(said(hook(good_url + std::string{good_key} + "events = [\"fused\"]\n")),
              AllOf(HasSubstr("no event \"fused\""), HasSubstr("did you mean \"fuse\"?")));
  EXPECT_THAT(said(hook(good_url + std::string{good_key} + "events = []\n")),
              HasSubstr("empty list"));
  EXPECT_THAT(said(hook(good_url + std::string{good_key}) + hook(good_url + std::string{good_key})),
              HasSubstr("a second [[webhook]] is named \"oncall\""));
  EXPECT_THAT(said(hook("url = { evn = \"X\" }\n" + std::string{good_key})),
              HasSubstr("does not say where its value is"));
  EXPECT_EQ(said(hook(good_url + std::string{good_key})), "");
}

TEST(Webhook, KeepsSecretsOutOfTheFile) {
  EXPECT_THAT(said(hook(good_url + std::string{"hmac_key = \"0123456789abcdef\"\n"})),
              HasSubstr("'hmac_key' is a secret"));
  EXPECT_THAT(said(hook("url = \"https://h/x?token=1\"\n" + std::string{good_key})),
              HasSubstr("'url' is a secret"));
}

TEST(Webhook, LooksAtItsSecretsWhenTheFileIsChecked) {
  ::unsetenv("PGLEASH_TEST_NONE");
  EXPECT_THAT(said(hook(good_url + std::string{"hmac_key = { env = \"PGLEASH_TEST_NONE\" }\n"})),
              HasSubstr("\"PGLEASH_TEST_NONE\" is not set"));
  ::setenv("PGLEASH_TEST_SHORT", "tiny", 1);
  EXPECT_THAT(said(hook(good_url + std::string{"hmac_key = { env = \"PGLEASH_TEST_SHORT\" }\n"})),
              AllOf(HasSubstr("shorter than 16"), Not(HasSubstr("tiny"))));
  ::setenv("PGLEASH_TEST_URL", "http://hooks.internal/topsecret", 1);
  EXPECT_THAT(said(hook("url = { env = \"PGLEASH_TEST_URL\" }\n" + std::string{good_key})),
              AllOf(HasSubstr("loopback"), Not(HasSubstr("topsecret"))));
  const Folder folder;
  (void)folder.write("open.key", "0123456789abcdef\n", 0644);
  EXPECT_THAT(said(hook(good_url + std::string{"hmac_key = { file = \"open.key\" }\n"}),
                   folder.path("f.toml")),
              HasSubstr("open to everybody"));
}

TEST(Webhook, ShowsWhereItsSecretsAreAndNotWhatTheyAre) {
  ::setenv("PGLEASH_TEST_URL", "https://hooks.internal/topsecret", 1);
  const auto loaded = load_text(
      server + hook("url = { env = \"PGLEASH_TEST_URL\" }\n" + std::string{good_key}), "f");
  ASSERT_TRUE(loaded.config);
  EXPECT_THAT(effective_toml(*loaded.config),
              AllOf(HasSubstr("url = { env = \"PGLEASH_TEST_URL\" }"),
                    HasSubstr("hmac_key = { env = \"PGLEASH_TEST_HMAC_KEY\" }"),
                    Not(HasSubstr("topsecret")), Not(HasSubstr("0123456789abcdef"))));
}

TEST(Webhook, IsTakenByAReload) {
  const auto before = load_text(server + hook(good_url + std::string{good_key}), "f");
  const auto after = load_text(server + hook(good_url + std::string{good_key} + "queue = 5\n") +
                                   hook(good_url + std::string{good_key}, "second"),
                               "f");
  ASSERT_TRUE(before.config && after.config);
  for (const ChangedKey& one : changes(*before.config, *after.config))
    EXPECT_FALSE(one.needs_restart) << one.key;
  EXPECT_EQ(take_over(*before.config, *after.config).webhooks, after.config->webhooks);
}

TEST(Secret, OfAFileIsItsFirstLine) {
  const Folder folder;
  const auto path = folder.write("key", "first line\r\nsecond\n", 0640);
  auto read = read_secret({SecretSource::Kind::file, path});
  ASSERT_TRUE(std::holds_alternative<Secret>(read));
  Secret moved{std::move(std::get<Secret>(read))};
  EXPECT_EQ(moved.text(), "first line");
  EXPECT_EQ(std::get<Secret>(read).text(), "");
}

}  // namespace
}  // namespace pgleash::config
