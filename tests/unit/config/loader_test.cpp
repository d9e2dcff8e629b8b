#include "config/loader.hpp"

#include "config/defaults.hpp"
#include "tests/unit/config/samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace pgleash::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Loader, ReadsEveryKey) {
  const LoadResult result = load_text(everything, "/etc/pgleash/pgleash.toml");
  ASSERT_TRUE(result.config) << render(result.diagnostics.front(), false);
  EXPECT_THAT(result.diagnostics, IsEmpty());
  const Config& config = *result.config;
  EXPECT_EQ(config.process, (Process{"pod-7.example", 3, Engine::io_uring, 10, 9, 0s, 1min,
                                     LogFormat::json, true, "/var/lib/pgleash/sessions.journal"}));
  ASSERT_THAT(config.listeners, SizeIs(2));
  const Listener& web = config.listeners.front();
  EXPECT_THAT(web.listen, ElementsAre(Address{"0.0.0.0", 7000, false}, Address{"::1", 7000, false},
                                      Address{"/run/pgleash", 7001, true}));
  EXPECT_EQ(web.server, "b");
  EXPECT_THAT(web.allow, SizeIs(2));
  EXPECT_EQ(web.require_challenge, RequireChallenge::always);
  EXPECT_EQ(web.proxy_protocol, ProxyProtocol::require);
  ASSERT_EQ(web.proxy_trusted.size(), 2U);
  EXPECT_EQ(web.proxy_trusted[0].text, "10.20.0.0/16");
  EXPECT_EQ(web.application, "legacy \"app\"");
  EXPECT_EQ(web.login_timeout, 3s);
  EXPECT_EQ(web.client_kind, ClientKind::pooler);
  EXPECT_EQ(web.on_client_gone, OnClientGone::finish);
  EXPECT_EQ(web.client_gone_grace, 1s);
  EXPECT_EQ(web.keepalive, (Keepalive{2min, 20s, 5, 3min}));
  ASSERT_THAT(config.servers, SizeIs(2));
  EXPECT_EQ(config.servers[0].address, (Address{"/var/run/postgresql", 5433, true}));
  EXPECT_FALSE(config.servers[0].monitor.enabled);
  EXPECT_EQ(config.servers[0].direct_sessions, DirectSessions::count);
  EXPECT_EQ(config.servers[1].tls.negotiation, TlsNegotiation::direct);
  EXPECT_EQ(config.servers[1].direct_sessions, DirectSessions::judge);
  EXPECT_EQ(config.servers[0].application_name_suffix, ApplicationNameSuffix::off);
  EXPECT_EQ(config.servers[1].application_name_suffix, ApplicationNameSuffix::address_port);
  EXPECT_EQ(config.listeners[0].scram, Scram::reoriginate);
  EXPECT_EQ(config.listeners[1].scram, Scram::pass);
  EXPECT_EQ(config.servers[1].address, (Address{"2001:db8::1", 5432, false}));
  EXPECT_EQ(config.servers[1].keepalive, (Keepalive{1min, 10s, 3, 60s}));
  EXPECT_EQ(config.servers[1].monitor, (Monitor{true, "o'brien \\ \"x\"", "ops", "", 500ms, 1s}));
  EXPECT_EQ(config.enforcement, (Enforcement{Mode::enforce,
                                             0s,
                                             0s,
                                             1s,
                                             1min,
                                             {60, 20, 50},
                                             {Percent{5}, 3, Percent{100}, 1, std::nullopt}}));
  EXPECT_FALSE(config.protect.superusers);
  ASSERT_THAT(config.protect.entries, SizeIs(2));
  EXPECT_THAT(config.protect.entries[0].users, ElementsAre("backup", "it's"));
  EXPECT_EQ(config.protect.marker, "keep-me");
  ASSERT_THAT(config.protect.marker_users, SizeIs(1));
  EXPECT_EQ(config.protect.marker_users[0].text, "batch.*");
  EXPECT_EQ(config.protect.marker_max, 10min);
  ASSERT_THAT(config.rules, SizeIs(4));
  const Rule& rule = config.rules.front();
  EXPECT_EQ(rule.limit, 2min);
  EXPECT_EQ(rule.warn, 30s);
  EXPECT_EQ(rule.action, Action::terminate);
  EXPECT_EQ(rule.notify, Notify::on_next_use);
  EXPECT_EQ(rule.notify_within, 3min);
  EXPECT_EQ(rule.sqlstate, "25P03");
  EXPECT_EQ(rule.match.applications.front().text, "checkout-\\d+");
  EXPECT_EQ(rule.match.applications.front().position,
            (SourcePosition{"/etc/pgleash/pgleash.toml", 95, 17}));
  EXPECT_EQ(rule.except.clients.front().text, "10.20.4.17/32");
  EXPECT_EQ(rule.position.line, 83U);
  EXPECT_EQ(config.rules[1].limit, std::nullopt);
  EXPECT_EQ(config.rules[2].kind, RuleKind::blocking);
  EXPECT_EQ(config.rules[2].blocked_at_least, 5U);
  EXPECT_EQ(config.rules[2].victim, Victim::queue_head);
  EXPECT_EQ(config.rules[3].kind, RuleKind::group);
  EXPECT_EQ(config.rules[3].group_by, GroupBy::client);
  EXPECT_EQ(config.rules[3].at_least, 7U);
  EXPECT_EQ(config.rules[3].victims, GroupVictims::oldest);
  EXPECT_EQ(config.rules[1].notify, Notify::eager);
  EXPECT_EQ(config.quotas, (std::vector<Quota>{{"per-user", QuotaKey::user, 50U, 7U, "57P03"}}));
  EXPECT_EQ(config.recording,
            (Recording{"/var/lib/pgleash/sessions.jsonl", 1min, std::uint64_t{1} << 30U, 3}));
  EXPECT_EQ(config.audit, (Audit{AuditSink::file, "/var/log/pgleash/audit.jsonl", false,
                                 StatementTextPolicy::none}));
  EXPECT_EQ(
      config.webhooks,
      (std::vector<Webhook>{{"oncall",
                             {SecretSource::Kind::text, "https://hooks.internal:8443/pgleash"},
                             {SecretSource::Kind::env, "PGLEASH_TEST_HMAC_KEY"},
                             {WebhookEvent::leak, WebhookEvent::fuse},
                             {},
                             3s,
                             7,
                             2h}}));
  EXPECT_EQ(config.console,
            (Console{"leash", {"grafana", "o'neill"}, {"alice"}, {"dba"}, "/run/pgleash"}));
  EXPECT_EQ(config.metrics, (Metrics{std::nullopt, 7}));
}

TEST(Loader, LeavesTheSmallestFileWithDefaults) {
  const LoadResult result = load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n", "f");
  ASSERT_TRUE(result.config);
  EXPECT_EQ(result.config->rules, default_rules());
  EXPECT_EQ(result.config->listeners.front().server, "s");
  EXPECT_EQ(result.config->process.name, host_name());
}

TEST(Loader, TakesTheWordsOfTheJournalAsWordsAndAllElseAsAPath) {
  const auto journal = [](const std::string& value) {
    const LoadResult result = load_text(
        "[process]\njournal = \"" + value + "\"\n[[server]]\nname = \"s\"\nhost = \"db\"\n",
        "/etc/pgleash/f.toml");
    return result.config ? result.config->process.journal : std::string{"not loaded"};
  };
  EXPECT_EQ(journal("auto"), "auto");
  EXPECT_EQ(journal("off"), "off");
  EXPECT_EQ(journal("state/j"), "/etc/pgleash/state/j");
  EXPECT_EQ(journal("/var/lib/j"), "/var/lib/j");
  EXPECT_EQ(journal(""), "not loaded");
}

TEST(Loader, TakesRelativePathsFromTheFolderOfTheFile) {
  const Folder folder;
  folder.write("monitor.pw", "for the test\n");
  const std::string path =
      folder.write("pgleash.toml",
                   "[[server]]\nname = \"s\"\nhost = \"db\"\n[server.monitor]\n"
                   "password_file = \"./monitor.pw\"\n[audit]\nfile = \"../audit.jsonl\"\n");
  const LoadResult result = load_file(path);
  ASSERT_TRUE(result.config) << render(result.diagnostics.front(), false);
  EXPECT_EQ(result.config->servers.front().monitor.password_file, folder.path("monitor.pw"));
  EXPECT_EQ(result.config->audit.file,
            std::filesystem::path(folder.path("../audit.jsonl")).lexically_normal());
  EXPECT_EQ(result.config->audit.sink, AuditSink::file);
}

TEST(Loader, RefusesASecretThatEverybodyMayRead) {
  const Folder folder;
  const std::string text =
      "[[server]]\nname = \"s\"\nhost = \"db\"\n[server.monitor]\npassword_file = \"monitor.pw\"\n";
  for (const mode_t open : {mode_t{0644}, mode_t{0604}, mode_t{0602}}) {
    folder.write("monitor.pw", "for the test\n", open);
    const LoadResult result = load_file(folder.write("pgleash.toml", text));
    ASSERT_THAT(result.diagnostics, SizeIs(1));
    EXPECT_EQ(result.diagnostics.front().position.line, 5U);
    EXPECT_THAT(result.diagnostics.front().message, HasSubstr("open to everybody"));
    EXPECT_THAT(result.diagnostics.front().hint, HasSubstr("defaultMode"));
  }
  for (const mode_t closed : {mode_t{0600}, mode_t{0640}, mode_t{0440}, mode_t{0660}}) {
    folder.write("monitor.pw", "for the test\n", closed);
    EXPECT_THAT(load_file(folder.path("pgleash.toml")).diagnostics, IsEmpty()) << closed;
    ASSERT_EQ(chmod(folder.path("monitor.pw").c_str(), 0600), 0);
  }
  folder.write("monitor.pw", "");
  EXPECT_THAT(load_file(folder.path("pgleash.toml")).diagnostics.front().message,
              HasSubstr("is empty"));
}

TEST(Loader, SaysWhyAFileCannotBeRead) {
  const Folder folder;
  const LoadResult absent = load_file(folder.path("absent.toml"));
  ASSERT_THAT(absent.diagnostics, SizeIs(1));
  EXPECT_FALSE(absent.config);
  EXPECT_EQ(absent.diagnostics.front().position.source, folder.path("absent.toml"));
  EXPECT_THAT(absent.diagnostics.front().message, HasSubstr("No such file"));
  EXPECT_THAT(load_file(folder.path("")).diagnostics.front().message, HasSubstr("directory"));
  const LoadResult huge = load_file(folder.write("huge.toml", std::string(2U << 20U, '#')));
  EXPECT_THAT(huge.diagnostics.front().message, HasSubstr("1 MiB"));
}

/// `--config <(…)` is a pipe; a reload must not stand still for one.
TEST(Loader, ReadsAPipeAndWaitsForNobodyToOpenIt) {
  const Folder folder;
  const std::string pipe = folder.path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_FALSE(load_file(pipe).config) << "nobody writes into it: an empty file, at once";
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  std::ofstream{pipe} << "[[server]]\nname = \"s\"\nhost = \"db\"\n";
  const LoadResult read = load_file(pipe);
  ::close(reader);
  EXPECT_TRUE(read.config);
}

TEST(Loader, ReadsNoFileWithoutAnEnd) {
  EXPECT_THAT(load_file("/dev/zero").diagnostics.front().message, HasSubstr("1 MiB"));
}

TEST(Loader, TakesAByteOrderMarkAndForeignLineEnds) {
  EXPECT_TRUE(load_text("\xef\xbb\xbf[[server]]\r\nname = \"s\"\r\nhost = \"db\"\r\n", "f").config);
}

TEST(DefaultRules, ObserveAndStandAsPublished) {
  struct {
    const char* name;
    RuleKind kind;
    OptionalDuration warn;
    Duration limit;
  } const table[] = {
      {"default-idle-in-transaction", RuleKind::idle_in_transaction, 1min, 5min},
      {"default-aborted", RuleKind::aborted, std::nullopt, 10min},
      {"default-held", RuleKind::held, std::nullopt, 10min},
      {"default-stalled", RuleKind::stalled, std::nullopt, 5min},
      {"default-statement", RuleKind::statement, 5min, 1h},
      {"default-transaction-age", RuleKind::transaction_age, std::nullopt, 1h},
      {"default-blocking", RuleKind::blocking, std::nullopt, 60s},
  };
  const std::vector<Rule> rules = default_rules();
  ASSERT_THAT(rules, SizeIs(std::size(table)));
  for (std::size_t i = 0; i < rules.size(); ++i) {
    EXPECT_EQ(rules[i].name, table[i].name);
    EXPECT_EQ(rules[i].kind, table[i].kind);
    EXPECT_EQ(rules[i].warn, table[i].warn);
    EXPECT_EQ(rules[i].limit, table[i].limit);
    EXPECT_EQ(rules[i].action, Action::observe);
    EXPECT_TRUE(rules[i].match.empty() && rules[i].except.empty());
  }
}

TEST(Words, OfTheFileNameModesKindsAndActions) {
  EXPECT_EQ(name(Mode::enforce), "enforce");
  EXPECT_EQ(name(RuleKind::idle_in_transaction), "idle_in_transaction");
  EXPECT_EQ(name(RuleKind::session_age), "session_age");
  EXPECT_EQ(name(Action::escalate), "escalate");
}

/// A part of a file gives a configuration or says why not.
void expect_reasons(const std::string& text) {
  const LoadResult result = load_text(text, "cut");
  ASSERT_EQ(result.config.has_value(), !has_errors(result.diagnostics)) << text;
  const auto lines = static_cast<std::uint32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const Diagnostic& found : result.diagnostics) {
    ASSERT_FALSE(found.message.empty());
    ASSERT_LE(found.position.line, lines) << text;
    ASSERT_FALSE(render(found, true).empty());
  }
}

std::string example_file() {
  std::ifstream file{std::string(PGLEASH_SOURCE_DIR) + "/config/pgleash.example.toml"};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// The file in parts that can stand alone: a section with those below it, [server.monitor] with its
/// [[server]].
std::vector<std::string> sections(const std::string& text) {
  std::vector<std::string> parts(1);
  std::string last;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    const std::size_t name = line.find_first_not_of('[');
    if (name == 1 || name == 2) {
      const std::string section = line.substr(name, line.find_first_of(".]") - name);
      if (name == 2 || section != last) parts.emplace_back();
      last = section;
    }
    parts.back() += line + '\n';
  }
  return parts;
}

TEST(Truncated, AfterAnyLineAFileGivesAConfigurationOrAReason) {
  const std::string text = example_file();
  ASSERT_FALSE(text.empty());
  for (std::size_t end = 0; end != std::string::npos; end = text.find('\n', end + 1))
    ASSERT_NO_FATAL_FAILURE(expect_reasons(text.substr(0, end)));
}

/// Section by section: a parse costs what the text is long, and there are as many as it has bytes.
TEST(Truncated, AtAnyByteASectionGivesAConfigurationOrAReason) {
  const std::string a_server = "[[server]]\nname = \"s\"\nhost = \"db\"\n";
  const std::vector<std::string> parts = sections(example_file());
  ASSERT_GT(parts.size(), 10U);
  for (const std::string& part : parts) {
    for (std::size_t length = 0; length <= part.size(); ++length)
      ASSERT_NO_FATAL_FAILURE(expect_reasons(a_server + part.substr(0, length)));
  }
}

}  // namespace
}  // namespace pgleash::config
