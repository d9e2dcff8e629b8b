#include "watchdog/brake.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

namespace pgleash::watchdog {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Verdict verdict(Action action, Exemption exemption = Exemption::none) {
  Verdict verdict;
  verdict.rule = "r";
  verdict.action = action;
  verdict.exemption = exemption;
  verdict.session = SessionBuilder{SessionState::idle};
  verdict.mark = verdict.session.view.facts.mark;
  return verdict;
}

config::Enforcement enforce(config::Duration hold = 0s) {
  config::Enforcement enforcement;
  enforcement.mode = config::Mode::enforce;
  enforcement.hold_after_start = hold;
  return enforcement;
}

config::Enforcement observe() {
  auto enforcement = enforce();
  enforcement.mode = config::Mode::observe;
  return enforcement;
}

Permission asked(Brake& brake, const Verdict& verdict, Instant now = noon) {
  return brake.decide(verdict, now).permission;
}

constexpr std::array acting{Action::cancel, Action::terminate, Action::escalate};

TEST(Brake, OpensOnlyWithBothLocks) {
  for (const Action action : acting) {
    Brake open{noon, enforce()};
    EXPECT_EQ(asked(open, verdict(action)), Permission::act);
    Brake closed{noon, observe()};
    EXPECT_EQ(asked(closed, verdict(action)), Permission::observe);
  }
  Brake open{noon, enforce()};
  EXPECT_EQ(asked(open, verdict(Action::observe)), Permission::observe);
  Brake closed{noon, observe()};
  EXPECT_EQ(asked(closed, verdict(Action::observe)), Permission::observe);
}

TEST(Brake, LetsNoExemptionThrough) {
  for (const auto& enforcement : {enforce(), observe()}) {
    Brake brake{noon, enforcement};
    for (const auto why : {Exemption::superuser, Exemption::commit, Exemption::unknown})
      EXPECT_EQ(asked(brake, verdict(Action::terminate, why)), Permission::exempt);
  }
}

TEST(Brake, DefersActsAfterTheStartAndNothingElse) {
  Brake brake{noon, enforce(2min)};
  const auto before = noon + 2min - 1ms;
  EXPECT_EQ(brake.held(before), HoldReason::start);
  const auto decision = brake.decide(verdict(Action::terminate), before);
  EXPECT_EQ(decision.permission, Permission::defer);
  EXPECT_EQ(decision.why, "held off after start");
  EXPECT_EQ(asked(brake, verdict(Action::observe), before), Permission::observe);
  EXPECT_EQ(asked(brake, verdict(Action::terminate, Exemption::dump), before), Permission::exempt);
  EXPECT_FALSE(brake.held(noon + 2min));
  EXPECT_EQ(asked(brake, verdict(Action::terminate), noon + 2min), Permission::act);
  Brake observes{noon, [] {
                   auto enforcement = enforce(2min);
                   enforcement.mode = config::Mode::observe;
                   return enforcement;
                 }()};
  EXPECT_EQ(asked(observes, verdict(Action::terminate), before), Permission::observe);
}

TEST(Brake, AsksFuseBeforePaceAndKillSwitchBeforeBoth) {
  auto enforcement = enforce();
  enforcement.pace = {1, 1, 1};
  Brake brake{noon, enforcement};
  EXPECT_EQ(asked(brake, verdict(Action::terminate)), Permission::act);
  EXPECT_THAT(brake.decide(verdict(Action::terminate), noon).why, HasSubstr("pace: global"));
  brake.pause();
  EXPECT_THAT(brake.decide(verdict(Action::terminate), noon).why, HasSubstr("paused"));
  EXPECT_EQ(brake.status(noon).deferred[0], 1U) << "who is paused is not counted as paced";
}

TEST(Brake, LeavesTheTurnOfWhoIsExemptByNowToOthers) {
  auto enforcement = enforce();
  enforcement.pace = {1, 10, 10};
  Brake brake{noon, enforcement};
  const auto of = [](std::uint64_t id, Exemption exemption = Exemption::none) {
    auto one = verdict(Action::terminate, exemption);
    one.session.view.id = proxy::SessionId{id};
    return one;
  };
  EXPECT_EQ(asked(brake, of(1)), Permission::act);
  EXPECT_EQ(asked(brake, of(2)), Permission::defer);
  auto later = snapshot_of(of(2).session);
  later.now = noon + 1min;
  const auto released = brake.release(later);
  ASSERT_THAT(released, SizeIs(1));
  EXPECT_EQ(asked(brake, of(3), later.now), Permission::defer) << "it is the other one's turn";
  EXPECT_EQ(asked(brake, of(2, Exemption::commit), later.now), Permission::exempt);
  EXPECT_EQ(asked(brake, of(4), later.now), Permission::act);
}

TEST(Brake, ForgetsWhoWaitedAndIsGone) {
  auto enforcement = enforce(1h);
  Brake brake{noon, enforcement};
  EXPECT_EQ(asked(brake, verdict(Action::terminate)), Permission::defer);
  EXPECT_EQ(brake.status(noon).waiting, 1U);
  EXPECT_THAT(brake.release(snapshot_of()), IsEmpty());
  EXPECT_EQ(brake.status(noon).waiting, 0U);
}

/// After a crash there are as many of them as there were sessions.
TEST(Brake, TakesOrphansForNoSignOfAWrongRule) {
  for (const auto target : {Target::session, Target::orphan}) {
    Brake brake{noon, enforce()};
    Snapshot all = snapshot_of();
    std::vector<Verdict> verdicts;
    for (std::uint64_t i = 1; i <= 50; ++i) {
      SessionBuilder session{SessionState::idle};
      session.id(i).application("service-" + std::string(1, static_cast<char>('a' + i % 10)));
      all.sessions.push_back(session);
      verdicts.push_back(verdict(Action::terminate));
      verdicts.back().target = target;
      verdicts.back().session = all.sessions.back();
    }
    const auto tripped = brake.weigh(verdicts, all);
    EXPECT_EQ(tripped.empty(), target == Target::orphan);
    EXPECT_EQ(asked(brake, verdicts[0]),
              target == Target::orphan ? Permission::act : Permission::fuse);
  }
}

// ---------------------------------------------------------------- stories

config::Rule idle_in_tx(std::string name, config::Duration limit = 60s,
                        Action action = Action::terminate) {
  return rule(std::move(name), RuleKind::idle_in_transaction, limit, action);
}

/// A server as the watchdog sees it: sessions in states, rules over them, and a brake; time moves
/// by ticks, and who is ended is gone.
class Server {
 public:
  explicit Server(config::Enforcement enforcement = enforce(),
                  std::vector<config::Rule> rules = {idle_in_tx("left")})
      : enforcement_(enforcement), rules_(std::move(rules)), brake(noon, enforcement) {
    engine_ = compile(rules_);
  }

  void open(const std::string& application, int count, SessionState state, Duration age) {
    for (int i = 0; i < count; ++i) {
      SessionBuilder session{state, Duration{}};
      session.id(++last_id_).application(application);
      SessionEntry entry = session;
      entry.view.facts.mark = {1, 1, 1};
      set(entry, now - age);
      sessions_.push_back(entry);
    }
  }
  /// The oldest sessions of the application that are there do something, and wait again.
  int wake(const std::string& application, int count) {
    int woken = 0;
    for (auto& entry : sessions_) {
      if (woken == count) break;
      if (entry.view.who->application != application) continue;
      ++entry.view.facts.mark.state;
      ++entry.view.facts.mark.request;
      ++entry.view.facts.mark.transaction;
      set(entry, now);
      ++woken;
    }
    return woken;
  }
  std::size_t live(const std::string& application) const {
    return static_cast<std::size_t>(std::count_if(
        sessions_.begin(), sessions_.end(),
        [&](const auto& entry) { return entry.view.who->application == application; }));
  }

  void tick(Duration step = 1s) {
    now += step;
    const auto at = snapshot();
    for (const auto& one : brake.release(at)) engine_->forget(one);
    if (rehearsal_ && brake.rehearsing(now))
      for (const auto& one : rehearsal_->evaluate(at).verdicts)
        if (one.exemption == Exemption::none) brake.rehearse(one.session.view.id);
    const auto found = engine_->evaluate(at).verdicts;
    for (auto& fuse : brake.weigh(found, at)) tripped.push_back(std::move(fuse));
    for (const auto& one : found) {
      EXPECT_TRUE(ids_.insert(one.id.text).second) << "one decision a verdict";
      const auto decision = brake.decide(one, now);
      ++outcomes[one.rule][decision.permission];
      if (decision.permission != Permission::act) continue;
      end(one);
    }
  }
  void run(Duration length, Duration step = 1s) {
    for (const auto until = now + length; now < until;) tick(step);
  }
  void reload(std::vector<config::Rule> rules) {
    rehearsal_ = compile(rules_);
    std::vector<std::string> changed;
    for (const auto& old : rules_)
      if (std::none_of(rules.begin(), rules.end(), [&](const auto& one) { return one == old; }))
        changed.push_back(old.name);
    rules_ = std::move(rules);
    engine_ = compile(rules_);
    brake.reload(enforcement_, changed, true, now);
  }

  Snapshot snapshot() const {
    Snapshot at;
    at.now = now;
    at.monitor_configured = false;
    at.sessions = sessions_;
    return at;
  }
  int ended(const std::string& rule = "left") { return outcomes[rule][Permission::act]; }
  int deferred(const std::string& rule = "left") { return outcomes[rule][Permission::defer]; }
  int fused(const std::string& rule = "left") { return outcomes[rule][Permission::fuse]; }

  Instant now = noon;
  std::map<std::string, std::map<Permission, int>> outcomes;
  std::vector<OpenFuse> tripped;
  Outcome becomes = Outcome::confirmed;
  std::vector<std::string> ended_applications;

 private:
  static std::unique_ptr<RuleEngine> compile(const std::vector<config::Rule>& rules) {
    static std::uint64_t seed = 0;
    std::vector<config::Diagnostic> faults;
    return RuleEngine::compile(rules, {}, faults, VerdictIds{++seed});
  }
  static void set(SessionEntry& entry, Instant since) {
    auto& facts = entry.view.facts;
    facts.state_since = facts.request_since = facts.transaction_since = since;
    facts.last_frontend_byte = facts.last_backend_byte = since;
  }
  void end(const Verdict& verdict) {
    ended_applications.push_back(verdict.session.view.who->application);
    std::erase_if(sessions_, [&](const auto& entry) {
      return entry.view.id == verdict.session.view.id && becomes != Outcome::recovered;
    });
    brake.finished(verdict, becomes, now);
  }

  config::Enforcement enforcement_;
  std::vector<config::Rule> rules_;
  std::unique_ptr<RuleEngine> engine_;
  std::unique_ptr<RuleEngine> rehearsal_;
  std::vector<SessionEntry> sessions_;
  std::set<std::string> ids_;
  std::uint64_t last_id_ = 0;

 public:
  Brake brake;
};

constexpr auto left_open = SessionState::idle_in_transaction;

TEST(BrakeStory, TwoHundredLeakedSessionsOfOneApplicationAreGoneInThePacedTimeWithoutATrip) {
  Server server;
  server.open("leaky", 200, left_open, 1h);
  server.open("shop", 100, SessionState::idle, 1h);
  server.run(19min);
  EXPECT_NEAR(server.ended(), 190, 2) << "10 a minute";
  server.run(2min);
  EXPECT_EQ(server.ended(), 200);
  EXPECT_EQ(server.live("leaky"), 0U);
  EXPECT_EQ(server.live("shop"), 100U);
  EXPECT_THAT(server.tripped, IsEmpty());
  EXPECT_EQ(server.deferred(), 199)
      << "each of those that wait says so once, in 20 minutes of ticks";
}

TEST(BrakeStory, ALeakThatGoesOnIsEndedForAsLongAsItGoesOn) {
  Server server;
  server.open("leaky", 20, SessionState::idle, 1h);
  for (int minute = 0; minute < 60; ++minute) {
    server.open("leaky", 6, left_open, 0s);
    server.run(1min);
  }
  EXPECT_THAT(server.tripped, IsEmpty());
  EXPECT_GE(server.ended(), 6 * 57);
}

TEST(BrakeStory, ARuleThatSuddenlyMatchesEverybodyTripsBeforeItEndsAnybodyAndOthersGoOn) {
  Server server{enforce(), {idle_in_tx("left"), rule("everybody", RuleKind::idle, 120s)}};
  for (const auto* application : {"a", "b", "c", "d"})
    server.open(application, 20, SessionState::idle, 0s);
  server.open("leaky", 8, left_open, 0s);
  server.run(5min);
  ASSERT_THAT(server.tripped, SizeIs(1));
  EXPECT_EQ(server.tripped[0].kind, FuseKind::share);
  EXPECT_EQ(server.tripped[0].scope, FuseScope::rule);
  EXPECT_EQ(server.tripped[0].rule, "everybody");
  EXPECT_THAT(server.tripped[0].why, HasSubstr("rule 'everybody' wants 80 of 80"));
  EXPECT_EQ(server.ended("everybody"), 0);
  EXPECT_EQ(server.fused("everybody"), 80) << "each once";
  EXPECT_EQ(server.ended("left"), 8) << "the other rule goes on";
}

TEST(BrakeStory, AFuseClosesByItselfAndStaysOpenTwiceAsLongWhenItTripsAgain) {
  Server server{enforce(), {rule("everybody", RuleKind::idle, 60s)}};
  server.open("a", 30, SessionState::idle, 1h);
  server.open("b", 30, SessionState::idle, 1h);
  server.run(29min, 10s);
  EXPECT_THAT(server.tripped, SizeIs(1));
  server.run(2min, 10s);
  ASSERT_THAT(server.tripped, SizeIs(2));
  EXPECT_GE(*server.tripped[1].closes, noon + 30min + 2 * 30min);
  server.run(58min, 10s);
  EXPECT_THAT(server.tripped, SizeIs(2));
  server.run(3min, 10s);
  EXPECT_THAT(server.tripped, SizeIs(3));
  EXPECT_EQ(server.ended("everybody"), 0);
}

TEST(BrakeStory, APersonWhoHasHadALookClosesFuses) {
  Server server{enforce(), {rule("everybody", RuleKind::idle, 60s)}};
  server.open("a", 30, SessionState::idle, 1h);
  server.open("b", 30, SessionState::idle, 1h);
  server.tick();
  EXPECT_THAT(server.brake.status(server.now).open_fuses, SizeIs(1));
  server.brake.pause();
  server.brake.resume();
  EXPECT_THAT(server.brake.status(server.now).open_fuses, IsEmpty());
}

TEST(BrakeStory, SessionsThatComeBackToLifeWhileTheyWaitTripTheFuseOfTheirApplication) {
  Server server;
  server.open("shop", 100, SessionState::idle, 5min);
  server.open("pool", 50, left_open, 5min);
  server.open("leaky", 10, left_open, 5min);
  server.run(10s);
  EXPECT_THAT(server.tripped, IsEmpty());
  server.wake("pool", 25);
  server.run(5min);
  ASSERT_GE(server.tripped.size(), 1U);
  EXPECT_EQ(server.tripped[0].scope, FuseScope::application);
  EXPECT_EQ(server.tripped[0].application, "pool");
  EXPECT_GE(server.live("pool"), 45U);
  EXPECT_EQ(server.live("leaky"), 0U) << "the same rule goes on with the others";
}

TEST(BrakeStory, SessionsThatHadMovedOnAtTheActTripTheFuse) {
  auto enforcement = enforce();
  enforcement.pace = {600, 600, 600};
  Server server{enforcement};
  server.open("quick", 30, left_open, 5min);
  server.becomes = Outcome::recovered;
  server.run(10s);
  ASSERT_THAT(server.tripped, SizeIs(1));
  EXPECT_EQ(server.tripped[0].application, "quick");
  EXPECT_LE(server.ended(), 30);
}

TEST(BrakeStory, ThreeSurvivorsStopTheirRule) {
  Server server{enforce(), {idle_in_tx("left"), rule("old", RuleKind::session_age, 1min)}};
  server.open("stuck", 20, left_open, 5min);
  server.becomes = Outcome::survived;
  server.run(2min);
  ASSERT_THAT(server.tripped, SizeIs(1));
  EXPECT_EQ(server.tripped[0].kind, FuseKind::survived);
  EXPECT_EQ(server.ended(), 3);
}

TEST(BrakeStory, SurvivorsOfSeveralRulesTripTheGlobalFuseThatOnlyAPersonResets) {
  auto enforcement = enforce();
  std::vector<config::Rule> rules;
  for (const auto* name : {"a", "b", "c"}) {
    auto one = idle_in_tx(name);
    one.match.applications = {pattern(std::string{"app-"} + name)};
    rules.push_back(one);
  }
  Server server{enforcement, rules};
  for (const auto* name : {"a", "b", "c"})
    server.open(std::string{"app-"} + name, 2, left_open, 1h);
  server.becomes = Outcome::survived;
  server.run(1min);
  ASSERT_THAT(server.tripped, SizeIs(1));
  EXPECT_EQ(server.tripped[0].scope, FuseScope::global);
  EXPECT_FALSE(server.tripped[0].closes);
  server.becomes = Outcome::confirmed;
  server.open("app-a", 1, left_open, 1h);
  server.run(25h, 1min);
  EXPECT_EQ(server.live("app-a"), 1U);
  server.brake.resume();
  server.run(2min);
  EXPECT_EQ(server.live("app-a"), 0U);
}

TEST(BrakeStory, AReloadThatWantsFarMoreThanTheRulesBeforeItTripsAtOnce) {
  Server server{enforce(), {idle_in_tx("left", 1h)}};
  server.open("only", 60, left_open, 10min);
  server.run(1min);
  EXPECT_EQ(server.ended(), 0);
  server.reload({idle_in_tx("left", 60s)});
  server.run(2min);
  ASSERT_THAT(server.tripped, SizeIs(1));
  EXPECT_EQ(server.tripped[0].kind, FuseKind::rehearsal);
  EXPECT_EQ(server.ended(), 0);
  EXPECT_EQ(server.live("only"), 60U);
}

TEST(BrakeStory, ARuleThatWasTriedInObserveIsRehearsed) {
  Server server{enforce(), {idle_in_tx("left", 60s, Action::observe)}};
  server.open("leaky", 60, left_open, 10min);
  server.run(1min);
  server.reload({idle_in_tx("left", 60s)});
  server.run(10min);
  EXPECT_THAT(server.tripped, IsEmpty());
  EXPECT_EQ(server.live("leaky"), 0U);
}

TEST(BrakeStory, OldestGoFirstAlsoAmongThoseThatCameLater) {
  auto enforcement = enforce();
  enforcement.pace = {6, 6, 6};
  Server server{enforcement};
  server.open("young", 5, left_open, 10min);
  server.tick();
  server.open("old", 2, left_open, 1h);
  server.run(1min);
  ASSERT_GE(server.ended_applications.size(), 4U);
  EXPECT_EQ(server.ended_applications[0], "young");
  EXPECT_EQ(server.ended_applications[1], "old");
  EXPECT_EQ(server.ended_applications[2], "old");
  EXPECT_EQ(server.ended_applications[3], "young");
}

TEST(BrakeStory, AnApplicationThatUsesUpItsPaceDoesNotHoldUpAnother) {
  Server server;
  server.open("leaky", 100, left_open, 1h);
  server.run(30s);
  server.open("other", 3, left_open, 5min);
  server.run(30s);
  EXPECT_EQ(server.live("other"), 0U);
  EXPECT_GE(server.live("leaky"), 88U);
}

TEST(BrakeStory, NobodyIsEndedWhileItIsPausedAndAllWhoAreStillThereAfterwards) {
  Server server;
  server.brake.pause();
  server.open("leaky", 5, left_open, 1h);
  server.run(5min);
  EXPECT_EQ(server.ended(), 0);
  EXPECT_EQ(server.deferred(), 5);
  server.brake.resume();
  server.run(1min);
  EXPECT_EQ(server.live("leaky"), 0U);
}

TEST(BrakeStory, AFailoverHoldsOffAndDropsWhoWaits) {
  Server server;
  server.open("leaky", 30, left_open, 1h);
  server.run(5s);
  const auto ended = server.ended();
  EXPECT_THAT(server.brake.fail_over(server.now), SizeIs(30 - static_cast<std::size_t>(ended)));
  EXPECT_EQ(server.brake.held(server.now), HoldReason::failover);
  EXPECT_EQ(server.brake.status(server.now).waiting, 0U);
  server.run(5min - 1s);
  EXPECT_EQ(server.ended(), ended);
  EXPECT_FALSE(server.brake.held(server.now + 1s));
}

TEST(BrakeStory, WhoWaitsForARuleThatChangedWaitsNoLonger) {
  Server server;
  server.open("leaky", 30, left_open, 1h);
  server.tick();
  EXPECT_GE(server.brake.status(server.now).waiting, 29U);
  server.brake.reload(enforce(), {"left"}, true, server.now);
  EXPECT_EQ(server.brake.status(server.now).waiting, 0U);
  EXPECT_EQ(server.brake.held(server.now), HoldReason::reload);
}

TEST(BrakeStory, AShorterHoldOffDoesNotCutALongerOneShort) {
  Brake brake{noon, enforce(10min)};
  brake.reload(enforce(), {}, true, noon);
  EXPECT_EQ(brake.held(noon + 9min), HoldReason::start);
}

TEST(BrakeStory, APersonsKillsAreCountedAndNoEvidence) {
  Server server;
  for (int i = 0; i < 100; ++i) server.brake.note_manual();
  server.open("leaky", 1, left_open, 1h);
  server.tick();
  EXPECT_EQ(server.ended(), 1);
  EXPECT_EQ(server.brake.status(server.now).manual_kills, 100U);
  EXPECT_THAT(server.tripped, IsEmpty());
}

}  // namespace
}  // namespace pgleash::watchdog
