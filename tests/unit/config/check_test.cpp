#include "config/loader.hpp"
#include "config/measure.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace pgleash::config {
namespace {

using ::testing::SizeIs;

TEST(Check, OfAChangedConfigurationFindsWhatNoLongerFits) {
  LoadResult result = load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n", "f");
  ASSERT_TRUE(result.config);
  result.config->enforcement.mode = Mode::enforce;
  result.provenance["enforcement.mode"] = {"--enforce"};
  std::vector<Diagnostic> found;
  check(*result.config, result.provenance, found);
  ASSERT_THAT(found, SizeIs(2));  // and no rule acts
  EXPECT_TRUE(has_errors(found));
  EXPECT_EQ(found.front().position.source, "--enforce");

  found.clear();
  result.config->rules.front().action = Action::cancel;
  result.config->rules.front().position = {"f", 3, 1};
  check(*result.config, found);
  EXPECT_EQ(found.front().position, (SourcePosition{"f", 3, 1}));
}

/// Every action in every kind: what can work in the state that the kind judges, and nothing else.
TEST(Check, LetsEachKindHaveItsOwnActionsOnly) {
  const LoadResult loaded = load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n", "f");
  ASSERT_TRUE(loaded.config);
  const auto allowed = [](RuleKind kind, Action action) {
    if (action == Action::observe || action == Action::terminate) return true;
    if (kind == RuleKind::statement || kind == RuleKind::group || is_cost(kind)) return true;
    return (kind == RuleKind::transaction_age || kind == RuleKind::blocking) &&
           action == Action::escalate;
  };
  for (const RuleKind kind : {RuleKind::idle,
                              RuleKind::idle_in_transaction,
                              RuleKind::aborted,
                              RuleKind::held,
                              RuleKind::stalled,
                              RuleKind::statement,
                              RuleKind::transaction_age,
                              RuleKind::session_age,
                              RuleKind::sent_bytes,
                              RuleKind::rows,
                              RuleKind::temp_bytes,
                              RuleKind::xmin_age,
                              RuleKind::locks,
                              RuleKind::parallel_workers,
                              RuleKind::cpu_time,
                              RuleKind::cpu_share,
                              RuleKind::memory,
                              RuleKind::read_rate,
                              RuleKind::write_rate,
                              RuleKind::wal,
                              RuleKind::blocking,
                              RuleKind::group}) {
    for (const Action action :
         {Action::observe, Action::cancel, Action::terminate, Action::escalate}) {
      Config config = *loaded.config;
      config.rules = {Rule{}};
      config.rules.front().name = "r";
      config.rules.front().kind = kind;
      config.rules.front().limit = 1h;
      config.rules.front().action = action;
      std::vector<Diagnostic> found;
      check(config, found);
      EXPECT_EQ(!has_errors(found), allowed(kind, action)) << name(kind) << ' ' << name(action);
    }
  }
}

/// Who waits in a queue always has a statement to cancel; who is nobody has nothing.
TEST(Check, LetsABlockingRuleDoWhatItsVictimCanSuffer) {
  const LoadResult loaded = load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n", "f");
  ASSERT_TRUE(loaded.config);
  const auto good = [&](Victim victim, Action action) {
    Config config = *loaded.config;
    config.rules = {Rule{}};
    config.rules.front().name = "r";
    config.rules.front().kind = RuleKind::blocking;
    config.rules.front().limit = 1min;
    config.rules.front().victim = victim;
    config.rules.front().action = action;
    std::vector<Diagnostic> found;
    check(config, found);
    return !has_errors(found);
  };
  EXPECT_TRUE(good(Victim::queue_head, Action::cancel));
  EXPECT_FALSE(good(Victim::root, Action::cancel));
  EXPECT_TRUE(good(Victim::root, Action::escalate));
  EXPECT_TRUE(good(Victim::none, Action::observe));
  for (const Action action : {Action::cancel, Action::terminate, Action::escalate})
    EXPECT_FALSE(good(Victim::none, action)) << name(action);
}

TEST(Check, LetsOnlyThoseBeToldOnTheirNextUseWhoWaitForNothing) {
  const LoadResult loaded = load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n", "f");
  ASSERT_TRUE(loaded.config);
  const auto allowed = [](RuleKind kind) {
    return kind == RuleKind::idle || kind == RuleKind::idle_in_transaction ||
           kind == RuleKind::aborted || kind == RuleKind::session_age;
  };
  for (int kind = 0; kind <= static_cast<int>(RuleKind::group); ++kind) {
    Config config = *loaded.config;
    Rule rule;
    rule.name = "r";
    rule.kind = static_cast<RuleKind>(kind);
    rule.limit = 1h;
    rule.notify = Notify::on_next_use;
    config.rules = {rule};
    std::vector<Diagnostic> found;
    check(config, found);
    const bool refused = std::ranges::any_of(found, [](const Diagnostic& one) {
      return one.severity == Severity::error &&
             one.message.find("cannot notify on_next_use") != std::string::npos;
    });
    EXPECT_EQ(!refused, allowed(rule.kind)) << name(rule.kind);
  }
}

TEST(Check, WantsToKnowWhoseProxyHeadersCount) {
  const auto said = [](const std::string& keys) {
    const LoadResult loaded =
        load_text("[[server]]\nname = \"s\"\nhost = \"db\"\n[[listener]]\n" + keys, "f");
    std::string text;
    for (const Diagnostic& one : loaded.diagnostics)
      text += (one.severity == Severity::error ? "error: " : "warning: ") + one.message + "\n";
    return text;
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(said("proxy_protocol = \"require\"\n"), HasSubstr("error: nobody may connect"));
  EXPECT_THAT(said("proxy_trusted = [\"10.20.0.0/16\"]\n"),
              HasSubstr("warning: listener \"main\" expects no PROXY protocol header"));
  EXPECT_THAT(said("proxy_protocol = \"require\"\nproxy_trusted = [\"0.0.0.0/0\"]\n"),
              HasSubstr("warning: anybody may name any client address"));
  EXPECT_EQ(said("proxy_protocol = \"require\"\nproxy_trusted = [\"10.20.0.5/32\"]\n"), "");
  EXPECT_EQ(said("proxy_protocol = \"off\"\nproxy_trusted = []\n"), "");
}

}  // namespace
}  // namespace pgleash::config
