#include "config/loader.hpp"
#include "config/schema.hpp"
#include "tests/unit/config/without_positions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <sys/stat.h>

namespace pgleash::config {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string example_path() {
  return std::string(PGLEASH_SOURCE_DIR) + "/config/pgleash.example.toml";
}

std::string example() {
  std::ifstream file{example_path()};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::string all_rendered(const LoadResult& result) {
  std::string text;
  for (const Diagnostic& found : result.diagnostics) text += render(found, false);
  return text;
}

/// "rule[].match.users" for each key that the example shows, live or behind a '#' without a space.
std::set<std::string> shown_keys(const std::string& text) {
  static const std::regex header{R"(^#?(\[\[?)([a-z_.]+)\]\]?.*)"};
  static const std::regex key{R"(^#?([a-z_]+) = (.*))"};
  static const std::regex inner{R"(([a-z_]+) = )"};
  static const std::set<std::string> lists{"listener", "server", "rule", "quota", "webhook"};
  std::set<std::string> shown;
  std::string section;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, header)) {
      section = match[2];
      const std::string first = section.substr(0, section.find('.'));
      if (lists.contains(first)) section.insert(first.size(), "[]");
      shown.insert(section.substr(
          0, section.find('.') == std::string::npos ? section.find('[') : std::string::npos));
      section += '.';
    } else if (std::regex_match(line, match, key)) {
      const std::string path = section + match[1].str();
      shown.insert(path);
      const std::string value = match[2];
      if (value.starts_with("{ env") || value.starts_with("{ file")) continue;  // of a secret
      const std::string within = value.starts_with("[ {") ? path + "[]." : path + '.';
      const std::string table =
          value.find('{') == std::string::npos
              ? ""
              : value.substr(value.find('{'), value.rfind('}') - value.find('{'));
      for (std::sregex_iterator one{table.begin(), table.end(), inner};
           one != std::sregex_iterator{}; ++one) {
        shown.insert(within + (*one)[1].str());
      }
    }
  }
  return shown;
}

TEST(Example, LoadsWithoutAWord) {
  const LoadResult result = load_file(example_path());
  EXPECT_THAT(result.diagnostics, IsEmpty()) << all_rendered(result);
  EXPECT_TRUE(result.config);
}

TEST(Example, ShowsTheDefaultOfEveryKeyThatHasOne) {
  const LoadResult shown = load_file(example_path());
  const LoadResult bare =
      load_text("[[server]]\nname = \"orders\"\nhost = \"db1.internal\"\n", "bare");
  ASSERT_TRUE(shown.config && bare.config);
  EXPECT_EQ(effective_toml(*shown.config), effective_toml(*bare.config));
  EXPECT_TRUE(without_positions(*shown.config) == without_positions(*bare.config));
}

TEST(Example, ShowsTheDefaultsOfTheHeader) {
  const LoadResult shown = load_file(example_path());
  ASSERT_TRUE(shown.config);
  Config config = without_positions(*shown.config);
  Process process;
  process.name = config.process.name;
  EXPECT_TRUE(config.process == process);
  EXPECT_TRUE(config.enforcement == Enforcement{});
  EXPECT_TRUE(config.protect == Protect{});
  EXPECT_TRUE(config.audit == Audit{});
  EXPECT_TRUE(config.console == Console{});
  EXPECT_TRUE(config.recording == Recording{});
  EXPECT_TRUE(config.metrics == Metrics{});
  EXPECT_TRUE(config.http == Http{});
  EXPECT_TRUE(config.servers.front().monitor == Monitor{});
  EXPECT_TRUE(config.servers.front().keepalive == Server{}.keepalive);
  EXPECT_TRUE(config.listeners.front().keepalive == Listener{}.keepalive);
  EXPECT_EQ(config.listeners.front().login_timeout, Listener{}.login_timeout);
  EXPECT_TRUE(config.rules == default_rules());
}

TEST(Example, ShowsEveryKeyThatTheLoaderKnowsAndNoOther) {
  const std::vector<std::string>& known = known_keys();
  const std::set<std::string> shown = shown_keys(example());
  const auto missing_from = [](const auto& from, const std::set<std::string>& in) {
    std::vector<std::string> missing;
    for (const std::string& key : from) {
      if (!in.contains(key)) missing.push_back(key);
    }
    return missing;
  };
  EXPECT_THAT(missing_from(known, shown), IsEmpty());
  EXPECT_THAT(missing_from(shown, {known.begin(), known.end()}), IsEmpty());
}

TEST(Example, SchemaWalkFindsKeysOfEveryDepth) {
  const std::set<std::string> known{known_keys().begin(), known_keys().end()};
  for (const char* key : {"config_version", "process.workers", "listener[].keepalive.idle",
                          "server[].monitor.password_file", "protect.entries[].users",
                          "rule[].except.clients", "audit.fsync"}) {
    EXPECT_TRUE(known.contains(key)) << key;
  }
}

/// What stands behind a '#' without a space must be right too, once somebody takes the '#' away.
TEST(Example, LoadsWithAllItsExamplesSwitchedOn) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "pgleash-example";
  std::filesystem::create_directories(folder / "secrets");
  std::ofstream(folder / "secrets/monitor.pw") << "for the test\n";
  ASSERT_EQ(chmod((folder / "secrets/monitor.pw").c_str(), 0640), 0);
  std::ofstream(folder / "secrets/webhook.key") << "a key of this test's own\n";
  ASSERT_EQ(chmod((folder / "secrets/webhook.key").c_str(), 0640), 0);
  std::ofstream(folder / "secrets/page.token") << "a-token-of-this-test-s-own\n";
  ASSERT_EQ(chmod((folder / "secrets/page.token").c_str(), 0640), 0);
  ASSERT_EQ(::setenv("PGLEASH_WEBHOOK_URL", "https://hooks.internal/pgleash?token=x", 1), 0);
  std::filesystem::create_directories(folder / "tls");
  for (const char* name :
       {"server.crt", "server.key", "ca.crt", "revoked.crl", "pgleash.crt", "pgleash.key"}) {
    std::ofstream(folder / "tls" / name) << "for the test\n";
    ASSERT_EQ(chmod((folder / "tls" / name).c_str(), 0640), 0);
  }
  std::string text = std::regex_replace(example(), std::regex{"(^|\n)#(?=[a-z\\[])"}, "$1");
  const std::string none = "monitor = \"none\"";  // the one example that excludes what follows it
  const auto at = text.find(none);
  ASSERT_NE(at, std::string::npos);
  text.insert(at, "#");
  const std::string no_sink = "sink = \"off\"";
  text.replace(text.find(no_sink), no_sink.size(), "#");  // else the named file would not be used
  const std::string no_tls = "tls = \"off\"";             // else the named files would not be used
  text.replace(text.find(no_tls), no_tls.size(), "tls = \"require\"");
  const std::string no_proxy =
      "proxy_protocol = \"off\"";  // else nobody would be trusted for a thing
  text.replace(text.find(no_proxy), no_proxy.size(), "proxy_protocol = \"require\"");
  const LoadResult result = load_text(text, (folder / "pgleash.toml").string());
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(result.config) << all_rendered(result);
  EXPECT_THAT(result.diagnostics, IsEmpty());
  EXPECT_EQ(result.config->servers.front().monitor.password_file,
            (folder / "secrets/monitor.pw").string());
  EXPECT_EQ(result.config->audit.file, (folder / "audit.jsonl").string());
  EXPECT_EQ(result.config->audit.sink, AuditSink::file);
}

}  // namespace
}  // namespace pgleash::config
