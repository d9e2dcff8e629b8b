#include "watchdog/rule_engine.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace pgleash::watchdog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> rules_of(const std::vector<Verdict>& verdicts) {
  std::vector<std::string> names;
  for (const auto& verdict : verdicts) names.push_back(verdict.rule);
  return names;
}

struct KindAndState {
  const char* name;
  RuleKind kind;
  SessionState state;
  const char* wait_event;  ///< of the row; null: no row
};

void PrintTo(const KindAndState& it, std::ostream* out) {
  *out << it.name;
}

class Limit : public ::testing::TestWithParam<KindAndState> {
 protected:
  static SessionBuilder session(Duration age) {
    const auto& it = GetParam();
    SessionBuilder built{it.state, age};
    if (it.wait_event) built.row("active", it.wait_event);
    if (it.kind == RuleKind::stalled) built.stalled(age);
    if (it.kind == RuleKind::session_age) built.who().connected = noon - age;
    return built;
  }
};

TEST_P(Limit, SparesAtTheLimitAndJudgesJustAbove) {
  const auto rules = {rule("r", GetParam().kind, 60s)};
  EXPECT_THAT(engine(rules)->evaluate(snapshot_of(session(60s))).verdicts, IsEmpty());
  const auto found = engine(rules)->evaluate(snapshot_of(session(60s + 1ms)));
  ASSERT_THAT(found.verdicts, SizeIs(1));
  EXPECT_EQ(found.verdicts[0].measured, 60s + 1ms);
  EXPECT_EQ(found.verdicts[0].limit, 60s);
  EXPECT_EQ(found.verdicts[0].exemption, Exemption::none);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Limit,
    ::testing::Values(
        KindAndState{"idle", RuleKind::idle, SessionState::idle, nullptr},
        KindAndState{"idle_in_transaction", RuleKind::idle_in_transaction,
                     SessionState::idle_in_transaction, nullptr},
        KindAndState{"aborted", RuleKind::aborted, SessionState::aborted, nullptr},
        KindAndState{"held_flushed", RuleKind::held, SessionState::pipeline_flushed, nullptr},
        KindAndState{"held_failed", RuleKind::held, SessionState::pipeline_failed, nullptr},
        KindAndState{"held_copy_in_seen_waiting", RuleKind::held, SessionState::copy_in,
                     "ClientRead"},
        KindAndState{"held_open", RuleKind::held, SessionState::pipeline_open, "ClientRead"},
        KindAndState{"stalled_copy_out", RuleKind::stalled, SessionState::copy_out, ""},
        KindAndState{"stalled_busy", RuleKind::stalled, SessionState::busy, "ClientWrite"},
        KindAndState{"stalled_idle", RuleKind::stalled, SessionState::idle, nullptr},
        KindAndState{"statement_busy", RuleKind::statement, SessionState::busy, ""},
        KindAndState{"statement_fastpath", RuleKind::statement, SessionState::fastpath, ""},
        KindAndState{"statement_copy_out", RuleKind::statement, SessionState::copy_out, ""},
        KindAndState{"statement_open", RuleKind::statement, SessionState::pipeline_open,
                     "DataFileRead"},
        KindAndState{"transaction_idle", RuleKind::transaction_age,
                     SessionState::idle_in_transaction, nullptr},
        KindAndState{"transaction_aborted", RuleKind::transaction_age, SessionState::aborted,
                     nullptr},
        KindAndState{"transaction_busy", RuleKind::transaction_age, SessionState::busy, ""},
        KindAndState{"session_age", RuleKind::session_age, SessionState::idle, nullptr}),
    [](const auto& kind) { return std::string{kind.param.name}; });

/// For each kind all states that it must leave alone, however old.
TEST(RuleEngine, JudgesAKindInItsOwnStatesOnly) {
  using S = SessionState;
  const std::vector<S> all{S::starting,         S::idle,          S::idle_in_transaction,
                           S::aborted,          S::busy,          S::fastpath,
                           S::pipeline_flushed, S::pipeline_open, S::pipeline_failed,
                           S::copy_in,          S::copy_out,      S::copy_both,
                           S::closing};
  const std::vector<std::pair<RuleKind, std::set<S>>> own{
      {RuleKind::idle, {S::idle}},
      {RuleKind::idle_in_transaction, {S::idle_in_transaction}},
      {RuleKind::aborted, {S::aborted}},
      {RuleKind::held, {S::pipeline_flushed, S::pipeline_failed, S::copy_in, S::pipeline_open}},
      {RuleKind::statement, {S::busy, S::fastpath, S::copy_out}},
      {RuleKind::transaction_age,
       {S::idle_in_transaction, S::aborted, S::busy, S::fastpath, S::copy_in, S::copy_out}},
      {RuleKind::session_age, {S::idle}}};
  for (const auto& [kind, states] : own) {
    for (const S state : all) {
      auto built = SessionBuilder{state, 30min};
      built.row("active", "ClientRead");
      EXPECT_EQ(engine({rule("r", kind, 1min)})->evaluate(snapshot_of(built)).verdicts.size(),
                states.contains(state))
          << config::name(kind) << " in state " << static_cast<int>(state);
    }
  }
}

TEST(RuleEngine, DoesNotJudgeWhatItCannotTrustOrWhatEndsAnyway) {
  auto rules = engine({rule("r", RuleKind::idle, 1min)});
  auto degraded = SessionBuilder{SessionState::idle, 10min};
  degraded.facts().degraded = true;
  auto ending = SessionBuilder{SessionState::idle, 10min}.id(2);
  ending.entry().view.ending = true;
  EXPECT_THAT(rules->evaluate(snapshot_of(degraded, ending)).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].matching, 0U);
}

// ---------------------------------------------------------------- what a state means

TEST(RuleEngine, PausesAnOpenPipelineWithoutAFreshRow) {
  auto rules =
      engine({rule("held", RuleKind::held, 1min), rule("statement", RuleKind::statement, 1min)});
  const auto open = SessionBuilder{SessionState::pipeline_open, 5min}.row("active", "ClientRead");
  EXPECT_THAT(rules->evaluate(without_sample(snapshot_of(open))).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 1U);
  EXPECT_EQ(rules->status()[1].paused, 1U);

  EXPECT_THAT(rules_of(rules->evaluate(snapshot_of(open)).verdicts), ElementsAre("held"));
  EXPECT_EQ(rules->status()[0].paused, 0U);
}

TEST(RuleEngine, DoesNotTakeARowFromBeforeTheLastByteForTheOpenPipelinesState) {
  auto rules = engine({rule("held", RuleKind::held, 500ms)});
  auto open = SessionBuilder{SessionState::pipeline_open, 800ms};  // the sample is one second old
  open.row("active", "ClientRead");
  EXPECT_THAT(rules->evaluate(snapshot_of(open)).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 1U);
}

TEST(RuleEngine, PausesACopyInWithoutAFreshRowWhereAMonitorCouldTell) {
  auto rules = engine({rule("held", RuleKind::held, 1min)});
  const auto copying = SessionBuilder{SessionState::copy_in, 5min};
  EXPECT_THAT(rules->evaluate(without_sample(snapshot_of(copying))).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 1U);
  EXPECT_THAT(rules_of(rules->evaluate(without_monitor(snapshot_of(copying))).verdicts),
              ElementsAre("held"))
      << "no monitor will ever tell: what is in-band decides";
}

TEST(RuleEngine, SparesACopyInWhoseServerIsBehind) {
  auto rules = engine({rule("held", RuleKind::held, 1min)});
  const auto behind = SessionBuilder{SessionState::copy_in, 5min}.row("active", "DataFileWrite");
  EXPECT_THAT(rules->evaluate(snapshot_of(behind)).verdicts, IsEmpty());
}

TEST(RuleEngine, CountsACopyInFromItsLastByte) {
  auto rules = engine({rule("held", RuleKind::held, 1min)});
  auto copying = SessionBuilder{SessionState::copy_in, 5min};
  copying.facts().last_frontend_byte = noon - 2s;
  EXPECT_THAT(rules->evaluate(snapshot_of(copying)).verdicts, IsEmpty());
}

TEST(RuleEngine, DoesNotCallAMessageThatTricklesInIdle) {
  auto rules = engine({rule("idle", RuleKind::idle, 1min)});
  auto sending = SessionBuilder{SessionState::idle, 5min};
  sending.facts().half_message = true;
  sending.facts().last_frontend_byte = noon - 1s;
  EXPECT_THAT(rules->evaluate(snapshot_of(sending)).verdicts, IsEmpty());
  sending.facts().last_frontend_byte = noon - 2min;
  EXPECT_THAT(rules->evaluate(snapshot_of(sending)).verdicts, SizeIs(1));
}

TEST(RuleEngine, NeverJudgesMaintenanceByTheStatementRule) {
  auto rules = engine({rule("statement", RuleKind::statement, 1min)});
  auto vacuum = SessionBuilder{SessionState::busy, 2h}.row("active");
  vacuum.facts().statement.maintenance = true;
  EXPECT_THAT(rules->evaluate(snapshot_of(vacuum)).verdicts, IsEmpty());
}

TEST(RuleEngine, DoesNotCancelForAClientThatDoesNotRead) {
  const auto stalled =
      SessionBuilder{SessionState::busy, 2h}.row("active", "ClientWrite").stalled(10min);
  EXPECT_THAT(engine({rule("r", RuleKind::statement, 1h, Action::cancel)})
                  ->evaluate(snapshot_of(stalled))
                  .verdicts,
              IsEmpty());
  EXPECT_THAT(engine({rule("r", RuleKind::statement, 1h, Action::escalate)})
                  ->evaluate(snapshot_of(stalled))
                  .verdicts,
              SizeIs(1));
}

// ---------------------------------------------------------------- whom a rule selects

TEST(RuleEngine, SelectsNobodyByAnIncludeThatMatchesNobody) {
  auto ghost = rule("ghost", RuleKind::idle, 1min);
  ghost.match.users = {pattern("nobody_of_this_name")};
  EXPECT_THAT(
      engine({ghost})->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 1h})).verdicts,
      IsEmpty());
}

TEST(RuleEngine, TakesKeysOfAMatchTogetherAndValuesOfAKeyAsAlternatives) {
  auto web = rule("web", RuleKind::idle, 1min);
  web.match.applications = {pattern("catalog"), pattern("check.*")};
  web.match.databases = {pattern("orders")};
  const auto idle = [] { return SessionBuilder{SessionState::idle, 1h}; };
  const auto found = engine({web})->evaluate(snapshot_of(
      idle().id(1), idle().id(2).application("catalog"), idle().id(3).database("billing"),
      idle().id(4).application("my-checkout"), idle().id(5).application("catalogue")));
  std::set<std::uint64_t> ids;
  for (const auto& verdict : found.verdicts) ids.insert(proxy::number(verdict.session.view.id));
  EXPECT_THAT(ids, ElementsAre(1U, 2U));
}

TEST(RuleEngine, LetsExceptWinOverMatch) {
  auto web = rule("web", RuleKind::idle, 1min);
  web.match.users = {pattern("alice")};
  web.except.applications = {pattern("check.*")};
  EXPECT_THAT(engine({web})->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 1h})).verdicts,
              IsEmpty());
}

TEST(RuleEngine, LetsExceptCatchNamesThatAreNotUtf8OrHoldANewline) {
  auto web = rule("web", RuleKind::idle, 1min);
  web.except.users = {pattern("batch_.*")};
  const auto found = engine({web})->evaluate(
      snapshot_of(SessionBuilder{SessionState::idle, 1h}.user("batch_\xFC"),
                  SessionBuilder{SessionState::idle, 1h}.id(2).user("batch_\n")));
  EXPECT_THAT(found.verdicts, IsEmpty());
}

TEST(RuleEngine, SelectsClientsByNetwork) {
  auto pods = rule("pods", RuleKind::idle, 1min);
  config::Network network;
  network.address = {10, 20, 0, 0};
  network.prefix = 16;
  pods.match.clients = {network};
  const auto idle = [] { return SessionBuilder{SessionState::idle, 1h}; };
  const auto found = engine({pods})->evaluate(
      snapshot_of(idle().id(1).client("10.20.3.4"), idle().id(2).client("10.21.0.1"),
                  idle().id(3).client("::ffff:10.20.3.4"), idle().id(4).client(""),
                  idle().id(5).client("fe80::1%eth0")));
  std::set<std::uint64_t> ids;
  for (const auto& verdict : found.verdicts) ids.insert(proxy::number(verdict.session.view.id));
  EXPECT_THAT(ids, ElementsAre(1U, 3U));
}

TEST(RuleEngine, StopsAtABadPatternAndTellsWhereItIs) {
  for (const bool in_except : {false, true}) {
    auto bad = rule("bad", RuleKind::idle, 1min);
    (in_except ? bad.except : bad.match).users = {pattern("alice"), pattern("b(ob")};
    std::vector<config::Diagnostic> diagnostics;
    EXPECT_EQ(RuleEngine::compile({bad}, {}, diagnostics, VerdictIds{1}), nullptr);
    ASSERT_THAT(diagnostics, SizeIs(1));
    EXPECT_EQ(diagnostics[0].position.line, 12U);
    EXPECT_EQ(diagnostics[0].position.column, 20U);
    EXPECT_NE(diagnostics[0].message.find("b(ob"), std::string::npos);
  }
}

TEST(RuleEngine, StopsAtABadPatternOfAProtectedEntry) {
  config::Protect protect;
  protect.entries = {{"pg_dump", {"[z-a]"}, {"pgleash.toml", 30, 3}}};
  std::vector<config::Diagnostic> diagnostics;
  EXPECT_EQ(RuleEngine::compile({}, protect, diagnostics, VerdictIds{1}), nullptr);
  ASSERT_THAT(diagnostics, SizeIs(1));
  EXPECT_EQ(diagnostics[0].position.line, 30U);
}

// ---------------------------------------------------------------- one verdict per activity

TEST(RuleEngine, GivesOneVerdictHoweverManyTicksMatch) {
  auto rules = engine({rule("r", RuleKind::idle, 1min)});
  const auto leaked = snapshot_of(SessionBuilder{SessionState::idle, 5min});
  EXPECT_THAT(rules->evaluate(leaked).verdicts, SizeIs(1));
  for (int tick = 0; tick < 10; ++tick) {
    EXPECT_THAT(rules->evaluate(leaked).verdicts, IsEmpty());
    EXPECT_EQ(rules->status()[0].matching, 1U);
  }
}

TEST(RuleEngine, JudgesAnewWhenTheJudgedCounterMoved) {
  struct Case {
    RuleKind kind;
    SessionState state;
    bool by_state, by_request, by_transaction;
  };
  for (const auto& it :
       {Case{RuleKind::idle_in_transaction, SessionState::idle_in_transaction, true, true, true},
        Case{RuleKind::statement, SessionState::busy, false, true, true},
        Case{RuleKind::transaction_age, SessionState::busy, false, false, true},
        Case{RuleKind::session_age, SessionState::idle, false, false, false}}) {
    const auto judged_again = [&](std::uint32_t protocol::ActivityMark::*counter) {
      auto rules = engine({rule("r", it.kind, 1min)});
      auto session = SessionBuilder{it.state, 5min};
      session.row("active");
      EXPECT_THAT(rules->evaluate(snapshot_of(session)).verdicts, SizeIs(1));
      ++(session.facts().mark.*counter);
      return rules->evaluate(snapshot_of(session)).verdicts.size() == 1;
    };
    EXPECT_EQ(judged_again(&protocol::ActivityMark::state), it.by_state) << config::name(it.kind);
    EXPECT_EQ(judged_again(&protocol::ActivityMark::request), it.by_request)
        << config::name(it.kind);
    EXPECT_EQ(judged_again(&protocol::ActivityMark::transaction), it.by_transaction)
        << config::name(it.kind);
  }
}

TEST(RuleEngine, JudgesASecondStallWithinOneResult) {
  auto rules = engine({rule("r", RuleKind::stalled, 1min)});
  auto reader = SessionBuilder{SessionState::busy, 1h}.row("active").stalled(10min);
  EXPECT_THAT(rules->evaluate(snapshot_of(reader)).verdicts, SizeIs(1));
  reader.stalled(2min);
  EXPECT_THAT(rules->evaluate(snapshot_of(reader)).verdicts, SizeIs(1));
}

TEST(RuleEngine, ForgetsASessionThatWent) {
  auto rules = engine({rule("r", RuleKind::idle, 1min)});
  const auto leaked = snapshot_of(SessionBuilder{SessionState::idle, 5min});
  EXPECT_THAT(rules->evaluate(leaked).verdicts, SizeIs(1));
  EXPECT_THAT(rules->evaluate(snapshot_of()).verdicts, IsEmpty());
  EXPECT_THAT(rules->evaluate(leaked).verdicts, SizeIs(1));
}

TEST(RuleEngine, JudgesAgainWhatItWasToldToForget) {
  auto limit_and_warn = rule("r", RuleKind::idle, 1min);
  limit_and_warn.warn = 10s;
  auto rules = engine({limit_and_warn});
  const auto leaked = snapshot_of(SessionBuilder{SessionState::idle, 5min});
  const auto first = rules->evaluate(leaked);
  ASSERT_THAT(first.verdicts, SizeIs(1));
  rules->forget(first.verdicts[0]);
  const auto again = rules->evaluate(leaked);
  ASSERT_THAT(again.verdicts, SizeIs(1));
  EXPECT_NE(again.verdicts[0].id, first.verdicts[0].id);
  EXPECT_THAT(again.warnings, IsEmpty()) << "it was warned already";
}

TEST(RuleEngine, DoesNotForgetTheNextActivityForThePreviousOne) {
  auto rules = engine({rule("r", RuleKind::idle, 1min)});
  auto session = SessionBuilder{SessionState::idle, 5min};
  const auto first = rules->evaluate(snapshot_of(session));
  ++session.facts().mark.state;
  EXPECT_THAT(rules->evaluate(snapshot_of(session)).verdicts, SizeIs(1));
  rules->forget(first.verdicts.at(0));
  EXPECT_THAT(rules->evaluate(snapshot_of(session)).verdicts, IsEmpty());
}

TEST(RuleEngine, NamesAnExemptionOnceAndJudgesAgainWhenItIsGone) {
  auto rules = engine({rule("r", RuleKind::statement, 1min)});
  auto committing = SessionBuilder{SessionState::busy, 5min}.in_transaction();
  committing.facts().commit_outstanding = true;
  const auto exempt = rules->evaluate(snapshot_of(committing));
  ASSERT_THAT(exempt.verdicts, SizeIs(1));
  EXPECT_EQ(exempt.verdicts[0].exemption, Exemption::commit);
  EXPECT_THAT(rules->evaluate(snapshot_of(committing)).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].matching, 1U);

  committing.facts().commit_outstanding = false;
  const auto judged = rules->evaluate(snapshot_of(committing));
  ASSERT_THAT(judged.verdicts, SizeIs(1));
  EXPECT_EQ(judged.verdicts[0].exemption, Exemption::none);
  committing.facts().commit_outstanding = true;
  EXPECT_THAT(rules->evaluate(snapshot_of(committing)).verdicts, IsEmpty());
}

// ---------------------------------------------------------------- several rules, order, warnings

TEST(RuleEngine, CountsWhoIsSparedOnceForEachExemptionAndOnlyWhileItIs) {
  config::Protect protect;
  protect.users = {pattern(".*")};
  auto rules = engine({rule("short", RuleKind::idle_in_transaction, 1min),
                       rule("long", RuleKind::idle_in_transaction, 2min)},
                      protect);
  const auto spared = [&](Duration age) {
    const auto exempt =
        rules->evaluate(snapshot_of(SessionBuilder{SessionState::idle_in_transaction, age})).exempt;
    EXPECT_EQ(std::accumulate(exempt.begin(), exempt.end(), std::uint64_t{0}),
              exempt[static_cast<std::size_t>(Exemption::protected_user)]);
    return exempt[static_cast<std::size_t>(Exemption::protected_user)];
  };
  EXPECT_EQ(spared(30s), 0U);
  EXPECT_EQ(spared(3min), 1U) << "of both rules, one session";
  EXPECT_EQ(spared(3min), 1U) << "a gauge: said again each time";
  EXPECT_EQ(spared(1s), 0U);
}

TEST(RuleEngine, LetsOnlyTheFirstRuleInOrderActInOneTick) {
  auto rules = engine({rule("look", RuleKind::idle_in_transaction, 1min, Action::observe),
                       rule("first", RuleKind::idle_in_transaction, 2min),
                       rule("second", RuleKind::transaction_age, 1min),
                       rule("look-too", RuleKind::transaction_age, 1min, Action::observe)});
  const auto session = snapshot_of(SessionBuilder{SessionState::idle_in_transaction, 5min});
  EXPECT_THAT(rules_of(rules->evaluate(session).verdicts),
              ElementsAre("look", "first", "look-too"));
  EXPECT_THAT(rules_of(rules->evaluate(session).verdicts), ElementsAre("second"));
  EXPECT_THAT(rules->evaluate(session).verdicts, IsEmpty());
}

TEST(RuleEngine, GivesTheOldestFirst) {
  const auto found = engine({rule("r", RuleKind::idle, 1min)})
                         ->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 2min}.id(1),
                                                SessionBuilder{SessionState::idle, 9min}.id(2),
                                                SessionBuilder{SessionState::idle, 5min}.id(4),
                                                SessionBuilder{SessionState::idle, 5min}.id(3)));
  std::vector<std::uint64_t> order;
  for (const auto& verdict : found.verdicts)
    order.push_back(proxy::number(verdict.session.view.id));
  EXPECT_THAT(order, ElementsAre(2U, 3U, 4U, 1U));
}

TEST(RuleEngine, WarnsOnceAnActivityAndThenJudgesIt) {
  auto both = rule("r", RuleKind::idle, 10min);
  both.warn = 1min;
  auto rules = engine({both});
  auto session = SessionBuilder{SessionState::idle, 1min};
  EXPECT_THAT(rules->evaluate(snapshot_of(session)).warnings, IsEmpty());
  session.since(2min);
  const auto first = rules->evaluate(snapshot_of(session));
  ASSERT_THAT(first.warnings, SizeIs(1));
  EXPECT_EQ(first.warnings[0].limit, 1min);
  EXPECT_EQ(first.warnings[0].action, Action::observe);
  EXPECT_THAT(first.verdicts, IsEmpty());
  session.since(11min);
  const auto second = rules->evaluate(snapshot_of(session));
  EXPECT_THAT(second.warnings, IsEmpty());
  EXPECT_THAT(second.verdicts, SizeIs(1));
  EXPECT_EQ(rules->status()[0].warned_total, 1U);
}

TEST(RuleEngine, OnlyWarnsExactlyAtTheLimit) {
  auto both = rule("r", RuleKind::idle, 10min);
  both.warn = 1min;
  const auto found =
      engine({both})->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 10min}));
  EXPECT_THAT(found.warnings, SizeIs(1));
  EXPECT_THAT(found.verdicts, IsEmpty());
}

TEST(RuleEngine, OnlyWarnsWhenTheLimitIsOff) {
  auto only_warn = rule("r", RuleKind::idle, 1min);
  only_warn.limit.reset();
  only_warn.warn = 1min;
  auto rules = engine({only_warn});
  const auto found = rules->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 5h}));
  EXPECT_THAT(found.verdicts, IsEmpty());
  EXPECT_THAT(found.warnings, SizeIs(1));
  EXPECT_EQ(rules->status()[0].matching, 0U);
}

TEST(RuleEngine, DoesNothingWhenLimitAndWarnAreOff) {
  auto off = rule("r", RuleKind::idle, 1min);
  off.limit.reset();
  const auto found = engine({off})->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 5h}));
  EXPECT_THAT(found.verdicts, IsEmpty());
  EXPECT_THAT(found.warnings, IsEmpty());
}

TEST(RuleEngine, JudgesFourTimesWithinTheShortestLimit) {
  EXPECT_EQ(engine({})->judging_interval(), 1s);
  EXPECT_EQ(engine({rule("r", RuleKind::idle, 1h)})->judging_interval(), 1s);
  auto warned = rule("r", RuleKind::idle, 1h);
  warned.warn = 2s;
  EXPECT_EQ(engine({warned})->judging_interval(), 500ms);
  EXPECT_EQ(engine({rule("r", RuleKind::idle, 25ms)})->judging_interval(), 25ms);
}

TEST(RuleEngine, PutsIntoTheVerdictWhatTheTerminationNeeds) {
  auto web = rule("web", RuleKind::idle_in_transaction, 1min);
  web.grace = 7s;
  web.hint = "commit earlier";
  const auto found =
      engine({web})->evaluate(snapshot_of(SessionBuilder{SessionState::idle_in_transaction, 5min}));
  ASSERT_THAT(found.verdicts, SizeIs(1));
  const Verdict& verdict = found.verdicts[0];
  EXPECT_EQ(verdict.mark, (protocol::ActivityMark{7, 5, 3}));
  EXPECT_TRUE(verdict.counter == proxy::JudgedCounter::state);
  EXPECT_EQ(verdict.grace, 7s);
  EXPECT_EQ(verdict.hint, "commit earlier");
  EXPECT_EQ(verdict.notify_within, 0s) << "the client is told at once";
  EXPECT_EQ(verdict.sqlstate, "25P03");
  EXPECT_EQ(verdict.id.text.size(), 16U);
  web.sqlstate = "08006";
  EXPECT_EQ(engine({web})
                ->evaluate(snapshot_of(SessionBuilder{SessionState::idle_in_transaction, 5min}))
                .verdicts[0]
                .sqlstate,
            "08006");
  web.notify = config::Notify::on_next_use;
  web.notify_within = 3min;
  EXPECT_EQ(engine({web})
                ->evaluate(snapshot_of(SessionBuilder{SessionState::idle_in_transaction, 5min}))
                .verdicts[0]
                .notify_within,
            3min);
}

TEST(RuleEngine, WaitsForTheAnswerAboutAdvisoryLocksWhileThereIsSomebodyToGiveIt) {
  const auto rules = engine({rule("idle", RuleKind::idle, 1min)});
  auto unanswered = snapshot_of(SessionBuilder{SessionState::idle, 5min});
  unanswered.advisory_taken = noon - 6min;
  EXPECT_THAT(rules->evaluate(unanswered).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 1U);
  EXPECT_TRUE(rules->needs().advisory_locks);
  auto down = unanswered;
  down.monitor_up = false;
  const auto unknown = rules->evaluate(down);
  ASSERT_THAT(unknown.verdicts, SizeIs(1));
  EXPECT_EQ(unknown.verdicts[0].exemption, Exemption::unknown);
  const auto answered = rules->evaluate(snapshot_of(SessionBuilder{SessionState::idle, 5min}));
  ASSERT_THAT(answered.verdicts, SizeIs(1));
  EXPECT_EQ(answered.verdicts[0].exemption, Exemption::none);
  EXPECT_FALSE(rules->needs().advisory_locks) << "nobody waits for it any more";
}

TEST(RuleEngine, MarksWhatMayCommitByItselfBeforeTheAct) {
  const auto marked = [](RuleKind kind, const SessionBuilder& session, bool standbys = true) {
    auto snapshot = snapshot_of(session);
    snapshot.synchronous_replication = standbys;
    const auto found = engine({rule("r", kind, 1min)})->evaluate(snapshot);
    EXPECT_THAT(found.verdicts, SizeIs(1));
    return !found.verdicts.empty() && found.verdicts[0].may_commit_meanwhile;
  };
  const auto alone = SessionBuilder{SessionState::busy, 5min}.row("active");
  EXPECT_TRUE(marked(RuleKind::statement, alone));
  EXPECT_TRUE(marked(RuleKind::transaction_age, alone));
  EXPECT_FALSE(marked(RuleKind::statement, alone, false)) << "no standby is waited for here";
  EXPECT_FALSE(marked(RuleKind::statement,
                      SessionBuilder{SessionState::busy, 5min}.in_transaction().row("active")));
  EXPECT_FALSE(marked(RuleKind::idle, SessionBuilder{SessionState::idle, 5min}));
}

}  // namespace
}  // namespace pgleash::watchdog
