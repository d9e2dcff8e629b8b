#include "watchdog/termination_plan.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using Kind = TerminationPlan::Kind;
using Sql = TerminationPlan::SqlResult;
using proxy::InBandStep;
using proxy::KillAction;
using proxy::KillReport;
using proxy::KillResult;
using Sight = BackendSight;

Verdict verdict(Action action, Mapping mapping = Mapping::confirmed) {
  Verdict made;
  made.action = action;
  made.grace = 5s;
  made.session = SessionBuilder{SessionState::busy, 1h}.mapping(mapping);
  if (mapping != Mapping::confirmed && mapping != Mapping::by_port) made.session.backend.reset();
  return made;
}

KillReport report(KillResult result, InBandStep step = InBandStep::none) {
  KillReport made;
  made.result = result;
  made.step = step;
  return made;
}

KillReport done() {
  return report(KillResult::done, InBandStep::end_waiting);
}

KillReport done_with_eof() {
  auto made = done();
  made.server_eof = true;
  return made;
}

KillReport statement_ended() {
  auto made = report(KillResult::done, InBandStep::cancel);
  made.statement_ended = true;
  return made;
}

/// Walks a plan through time; each method expects the step that it answers.
class Walk {
 public:
  explicit Walk(const Verdict& verdict, bool monitor_up = true)
      : plan_(verdict, monitor_up, now_) {}

  Walk& carry_out(KillAction action, const KillReport& report) {
    const auto step = next();
    EXPECT_TRUE(step.kind == Kind::carry_out);
    EXPECT_TRUE(step.action == action);
    plan_.reported(report, now_);
    return *this;
  }
  Walk& standby(TerminationPlan::StandbyWait waits) {
    EXPECT_TRUE(next().kind == Kind::ask_standby);
    plan_.asked(waits);
    return *this;
  }
  Walk& look(Sight sight) {
    pass_waits();
    EXPECT_TRUE(next().kind == Kind::look);
    plan_.seen(sight, now_);
    return *this;
  }
  /// Looks until the plan asks for something else.
  Walk& look_until_it_gives_up(Sight sight) {
    for (pass_waits(); next().kind == Kind::look; pass_waits()) plan_.seen(sight, now_);
    return *this;
  }
  Walk& sql(Sql result) {
    EXPECT_TRUE(next().kind == Kind::guarded_sql);
    plan_.answered(result, now_);
    return *this;
  }
  Walk& pass_waits() {
    for (auto step = next(); step.kind == Kind::wait; step = next()) {
      now_ += step.wait;
      waits_.push_back(step.wait);
    }
    return *this;
  }
  std::string_view outcome() {
    const auto step = next();
    EXPECT_TRUE(step.kind == Kind::finish);
    return name(step.outcome);
  }
  [[nodiscard]] Duration took() const { return now_ - noon; }
  [[nodiscard]] const std::vector<Duration>& waits() const { return waits_; }

 private:
  TerminationPlan::Step next() { return plan_.next(now_); }
  Instant now_ = noon;
  TerminationPlan plan_;
  std::vector<Duration> waits_;
};

// ---------------------------------------------------------------- terminate

TEST(TerminationPlan, IsConfirmedByTheServersEofWithoutALook) {
  EXPECT_EQ(
      Walk{verdict(Action::terminate)}.carry_out(KillAction::terminate, done_with_eof()).outcome(),
      "confirmed");
}

TEST(TerminationPlan, IsConfirmedWhenTheBackendIsGone) {
  EXPECT_EQ(Walk{verdict(Action::terminate)}
                .carry_out(KillAction::terminate, done())
                .look(Sight::same)
                .look(Sight::moved_on)
                .look(Sight::not_visible)
                .look(Sight::gone)
                .outcome(),
            "confirmed");
}

TEST(TerminationPlan, DoesNothingMoreWhenTheSessionSettledItItself) {
  const auto after = [](KillResult result) {
    return Walk{verdict(Action::terminate)}
        .carry_out(KillAction::terminate, report(result))
        .outcome();
  };
  EXPECT_EQ(after(KillResult::recovered), "recovered");
  EXPECT_EQ(after(KillResult::gone), "already_gone");
  EXPECT_EQ(after(KillResult::exempt_now), "exempted");
}

TEST(TerminationPlan, LooksInGrowingStepsUpToTheGraceAndThenAsksSqlOnce) {
  Walk walk{verdict(Action::terminate)};
  walk.carry_out(KillAction::terminate, done()).look_until_it_gives_up(Sight::same);
  EXPECT_EQ(walk.took(), 5s);
  ASSERT_GE(walk.waits().size(), 7U);
  EXPECT_EQ((std::vector<Duration>{walk.waits().begin(), walk.waits().begin() + 7}),
            (std::vector<Duration>{10ms, 20ms, 50ms, 100ms, 200ms, 500ms, 500ms}));
  walk.sql(Sql::signalled).look_until_it_gives_up(Sight::same);
  EXPECT_EQ(walk.took(), 10s);
  EXPECT_EQ(walk.outcome(), "survived");
}

TEST(TerminationPlan, IsConfirmedAfterSqlEndedTheBackend) {
  EXPECT_EQ(Walk{verdict(Action::terminate, Mapping::by_port)}
                .carry_out(KillAction::terminate, done())
                .look_until_it_gives_up(Sight::same)
                .sql(Sql::signalled)
                .look(Sight::gone)
                .outcome(),
            "confirmed");
}

TEST(TerminationPlan, IsUnverifiedWhenTheLastLookShowedNothing) {
  EXPECT_EQ(Walk{verdict(Action::terminate)}
                .carry_out(KillAction::terminate, done())
                .look_until_it_gives_up(Sight::not_visible)
                .sql(Sql::unavailable)
                .outcome(),
            "unverified");
  EXPECT_EQ(Walk{verdict(Action::terminate)}
                .carry_out(KillAction::terminate, done())
                .look_until_it_gives_up(Sight::same)
                .sql(Sql::signalled)
                .look_until_it_gives_up(Sight::not_visible)
                .outcome(),
            "unverified");
}

TEST(TerminationPlan, IsUnverifiedAtOnceWhenNobodyCanLook) {
  EXPECT_EQ(
      Walk(verdict(Action::terminate), false).carry_out(KillAction::terminate, done()).outcome(),
      "unverified");
  for (const Mapping mapping : {Mapping::in_band, Mapping::conflict, Mapping::none}) {
    EXPECT_EQ(Walk{verdict(Action::terminate, mapping)}
                  .carry_out(KillAction::terminate, done())
                  .outcome(),
              "unverified");
  }
}

TEST(TerminationPlan, GoesOverToSqlWhenTheInBandStepIsImpossible) {
  for (const KillResult result : {KillResult::untrustworthy, KillResult::failed}) {
    EXPECT_EQ(Walk{verdict(Action::terminate)}
                  .carry_out(KillAction::terminate, report(result))
                  .sql(Sql::signalled)
                  .look(Sight::gone)
                  .outcome(),
              "confirmed");
  }
}

TEST(TerminationPlan, EndsNothingByADoubtfulMapping) {
  const auto after = [](const KillReport& report) {
    return Walk{verdict(Action::terminate, Mapping::conflict)}
        .carry_out(KillAction::terminate, report)
        .outcome();
  };
  EXPECT_EQ(after(report(KillResult::untrustworthy)), "denied");
  EXPECT_EQ(after(report(KillResult::failed)), "error");
  EXPECT_EQ(after(report(KillResult::failed, InBandStep::reset_then_cancel)), "unverified");
}

TEST(TerminationPlan, TakesAGuardThatDidNotMatchForARecoveryOnlyIfNothingWasDone) {
  EXPECT_EQ(Walk{verdict(Action::terminate)}
                .carry_out(KillAction::terminate, report(KillResult::untrustworthy))
                .sql(Sql::changed)
                .outcome(),
            "recovered");
  const auto after_our_step = [](Sight sight) {
    return Walk{verdict(Action::terminate)}
        .carry_out(KillAction::terminate, report(KillResult::failed, InBandStep::reset_then_cancel))
        .sql(Sql::changed)
        .look(sight)
        .outcome();
  };
  EXPECT_EQ(after_our_step(Sight::gone), "confirmed");
  EXPECT_EQ(after_our_step(Sight::moved_on), "survived");
  EXPECT_EQ(after_our_step(Sight::same), "survived");
  EXPECT_EQ(after_our_step(Sight::not_visible), "unverified");
}

TEST(TerminationPlan, SaysDeniedWhenTheServerDeniesIt) {
  EXPECT_EQ(Walk{verdict(Action::terminate)}
                .carry_out(KillAction::terminate, report(KillResult::failed))
                .sql(Sql::denied)
                .outcome(),
            "denied");
}

// ---------------------------------------------------------------- cancel and escalate

TEST(TerminationPlan, ConfirmsACancelByTheStatementsEnd) {
  for (const Action action : {Action::cancel, Action::escalate}) {
    EXPECT_EQ(Walk{verdict(action)}.carry_out(KillAction::cancel, statement_ended()).outcome(),
              "confirmed");
    EXPECT_EQ(
        Walk{verdict(action)}.carry_out(KillAction::cancel, done()).look(Sight::moved_on).outcome(),
        "confirmed");
    EXPECT_EQ(
        Walk{verdict(action)}.carry_out(KillAction::cancel, done()).look(Sight::gone).outcome(),
        "confirmed");
  }
}

TEST(TerminationPlan, LeavesTheSessionToItselfAfterAPlainCancel) {
  EXPECT_EQ(Walk{verdict(Action::cancel)}
                .carry_out(KillAction::cancel, done())
                .look_until_it_gives_up(Sight::same)
                .outcome(),
            "survived");
  EXPECT_EQ(Walk(verdict(Action::cancel), false).carry_out(KillAction::cancel, done()).outcome(),
            "unverified");
  EXPECT_EQ(Walk{verdict(Action::cancel)}
                .carry_out(KillAction::cancel, report(KillResult::failed))
                .outcome(),
            "error");
  EXPECT_EQ(Walk{verdict(Action::cancel)}
                .carry_out(KillAction::cancel, report(KillResult::untrustworthy))
                .outcome(),
            "denied");
}

TEST(TerminationPlan, EscalatesAfterTheGrace) {
  Walk walk{verdict(Action::escalate)};
  walk.carry_out(KillAction::cancel, done()).look_until_it_gives_up(Sight::same);
  EXPECT_EQ(walk.took(), 5s);
  EXPECT_EQ(walk.carry_out(KillAction::terminate, done_with_eof()).outcome(), "confirmed");
}

TEST(TerminationPlan, EscalatesAfterTheGraceWithoutAMonitorToo) {
  Walk walk{verdict(Action::escalate), false};
  walk.carry_out(KillAction::cancel, done()).pass_waits();
  EXPECT_EQ(walk.took(), 5s);
  EXPECT_EQ(walk.carry_out(KillAction::terminate, done()).outcome(), "unverified");
}

TEST(TerminationPlan, EscalatesAtOnceWhenTheCancelCouldNotBeSent) {
  Walk walk{verdict(Action::escalate)};
  walk.carry_out(KillAction::cancel, report(KillResult::failed));
  EXPECT_EQ(walk.carry_out(KillAction::terminate, done_with_eof()).outcome(), "confirmed");
  EXPECT_EQ(walk.took(), 0s);
}

TEST(TerminationPlan, TakesARecoveryAfterItsCancelForTheCancelsEffect) {
  EXPECT_EQ(Walk{verdict(Action::escalate)}
                .carry_out(KillAction::cancel, done())
                .look_until_it_gives_up(Sight::same)
                .carry_out(KillAction::terminate, report(KillResult::recovered))
                .outcome(),
            "confirmed");
}

TEST(TerminationPlan, VerifiesASessionThatIsGoneAfterItsCancel) {
  const auto cancelled = [] {
    Walk walk{verdict(Action::escalate)};
    walk.carry_out(KillAction::cancel, done()).look_until_it_gives_up(Sight::same);
    walk.carry_out(KillAction::terminate, report(KillResult::gone));
    return walk;
  };
  EXPECT_EQ(cancelled().look(Sight::gone).outcome(), "confirmed");
  EXPECT_EQ(cancelled()
                .look_until_it_gives_up(Sight::same)
                .sql(Sql::signalled)
                .look(Sight::gone)
                .outcome(),
            "confirmed");
}

TEST(TerminationPlan, CountsTheGraceFromTheStepsBeginningAndLooksOnceAtLeast) {
  auto slow = verdict(Action::escalate);
  TerminationPlan plan{slow, true, noon};
  ASSERT_TRUE(plan.next(noon).kind == Kind::carry_out);
  const Instant later = noon + 6s;  // the worker waited for ReadyForQuery longer than the grace
  plan.reported(done(), later);
  const auto wait = plan.next(later);
  ASSERT_TRUE(wait.kind == Kind::wait);
  EXPECT_EQ(wait.wait, 10ms);
  ASSERT_TRUE(plan.next(later + 10ms).kind == Kind::look);
  plan.seen(Sight::same, later + 10ms);
  EXPECT_TRUE(plan.next(later + 10ms).kind == Kind::carry_out);
}

TEST(TerminationPlan, NeverActsOnWhatMustNotAct) {
  EXPECT_EQ(Walk{verdict(Action::observe)}.outcome(), "observed");
  auto exempt = verdict(Action::terminate);
  exempt.exemption = Exemption::unknown;
  EXPECT_EQ(Walk{exempt}.outcome(), "exempted");
}

// ---------------------------------------------------------------- commits that nobody asked for

TEST(TerminationPlan, AsksBeforeEachStepWhetherAStatementWaitsForAStandby) {
  using Wait = TerminationPlan::StandbyWait;
  for (const Action action : {Action::terminate, Action::cancel, Action::escalate}) {
    auto judged = verdict(action);
    judged.may_commit_meanwhile = true;
    EXPECT_EQ(Walk{judged}.standby(Wait::yes).outcome(), "exempted");
    EXPECT_EQ(Walk{judged}.standby(Wait::unknown).outcome(), "exempted");
    EXPECT_EQ(Walk(judged, false).outcome(), "exempted") << "nobody can be asked";
  }
  auto judged = verdict(Action::escalate);
  judged.may_commit_meanwhile = true;
  EXPECT_EQ(Walk{judged}
                .standby(Wait::no)
                .carry_out(KillAction::cancel, report(KillResult::failed))
                .standby(Wait::no)
                .carry_out(KillAction::terminate, done_with_eof())
                .outcome(),
            "confirmed");
  EXPECT_EQ(Walk{judged}
                .standby(Wait::no)
                .carry_out(KillAction::cancel, report(KillResult::failed))
                .standby(Wait::yes)
                .outcome(),
            "exempted");
}

// ---------------------------------------------------------------- all paths

/// Follows every sequence of observations, each at once or after a long time, to its end.
class Explorer {
 public:
  Explorer(const Verdict& verdict, bool monitor_up) : verdict_(verdict) {
    may_look_ = monitor_up && verdict.session.backend.has_value();
    explore(Path{TerminationPlan{verdict, monitor_up, noon}});
  }
  [[nodiscard]] std::size_t ends() const { return ends_; }

 private:
  struct Path {
    TerminationPlan plan;
    Instant now = noon;
    Duration waited{};
    int steps = 0, cancels = 0, terminates = 0, sqls = 0;
    bool acted = false, proof = false;
  };

  void explore(Path path) {
    if (::testing::Test::HasFatalFailure()) return;
    ASSERT_LT(++path.steps, 60);
    ASSERT_LE(path.waited, 3 * Duration{verdict_.grace} + 3 * 100ms) << "of waiting";
    const auto step = path.plan.next(path.now);
    expect_the_same_again(path, step);
    switch (step.kind) {
      case Kind::ask_standby:
        ASSERT_TRUE(verdict_.may_commit_meanwhile && may_look_);
        for (const auto waits :
             {TerminationPlan::StandbyWait::no, TerminationPlan::StandbyWait::yes,
              TerminationPlan::StandbyWait::unknown})
          branch(path, [&](Path& p) { p.plan.asked(waits); });
        return;
      case Kind::carry_out:
        return carry_out(std::move(path), step.action);
      case Kind::wait: {
        ASSERT_GT(step.wait, 0s);
        ASSERT_LE(step.wait, std::max<Duration>(verdict_.grace, 500ms));
        path.now += step.wait;
        path.waited += step.wait;
        return explore(std::move(path));
      }
      case Kind::look:
        ASSERT_TRUE(may_look_);
        for (const Sight sight : {Sight::gone, Sight::same, Sight::moved_on, Sight::not_visible}) {
          branch(path, [&](Path& p) {
            p.plan.seen(sight, p.now);
            const bool only_cancelled = p.terminates == 0 && p.sqls == 0;
            p.proof =
                p.proof || sight == Sight::gone || (sight == Sight::moved_on && only_cancelled);
          });
        }
        return;
      case Kind::guarded_sql:
        ASSERT_TRUE(may_look_);
        ASSERT_EQ(++path.sqls, 1);
        ASSERT_TRUE(verdict_.action != Action::cancel);
        for (const Sql result : {Sql::signalled, Sql::changed, Sql::denied, Sql::unavailable}) {
          branch(path, [&](Path& p) {
            p.plan.answered(result, p.now);
            p.acted = p.acted || result == Sql::signalled;
          });
        }
        return;
      case Kind::finish:
        return finished(path, step.outcome);
    }
  }

  void carry_out(Path path, KillAction action) {
    if (action == KillAction::cancel) {
      ASSERT_TRUE(verdict_.action != Action::terminate);
      ASSERT_EQ(++path.cancels, 1) << "a second cancel";
      ASSERT_EQ(path.terminates, 0);
    } else {
      ASSERT_TRUE(verdict_.action != Action::cancel);
      ASSERT_EQ(++path.terminates, 1) << "a second terminate";
      ASSERT_EQ(path.sqls, 0);
    }
    for (const KillResult result :
         {KillResult::done, KillResult::recovered, KillResult::gone, KillResult::exempt_now,
          KillResult::untrustworthy, KillResult::failed}) {
      for (const bool proof : {false, true}) {
        if (proof && result != KillResult::done) continue;
        for (const InBandStep step : {InBandStep::none, InBandStep::reset_then_cancel}) {
          KillReport made = report(result, step);
          made.server_eof = made.statement_ended = proof;
          branch(path, [&](Path& p) {
            p.plan.reported(made, p.now);
            p.proof = p.proof || (result == KillResult::done && proof) ||
                      (result == KillResult::recovered && p.acted);
            const bool in_part = step != InBandStep::none && (result == KillResult::failed ||
                                                              result == KillResult::untrustworthy);
            p.acted = p.acted || result == KillResult::done || in_part;
          });
        }
      }
    }
  }

  template <class Observe>
  void branch(const Path& path, Observe observe) {
    for (const Duration took : {Duration{}, 5 * Duration{verdict_.grace}}) {
      Path next = path;
      next.now += took;
      observe(next);
      explore(std::move(next));
    }
  }

  /// next() asked again, and what nobody asked for, change nothing.
  static void expect_the_same_again(const Path& path, const TerminationPlan::Step& step) {
    TerminationPlan copy = path.plan;
    if (step.kind != Kind::ask_standby) copy.asked(TerminationPlan::StandbyWait::yes);
    if (step.kind != Kind::carry_out) copy.reported(done_with_eof(), path.now);
    if (step.kind != Kind::look) copy.seen(Sight::gone, path.now);
    if (step.kind != Kind::guarded_sql) copy.answered(Sql::denied, path.now);
    const auto again = copy.next(path.now);
    ASSERT_TRUE(again.kind == step.kind && again.action == step.action && again.wait == step.wait &&
                again.outcome == step.outcome);
  }

  void finished(const Path& path, Outcome outcome) {
    ++ends_;
    TerminationPlan copy = path.plan;
    ASSERT_TRUE(copy.next(path.now + 1000h).outcome == outcome);
    switch (outcome) {
      case Outcome::confirmed:
        ASSERT_TRUE(path.proof && (path.acted || path.terminates + path.cancels > 0));
        return;
      case Outcome::recovered:
      case Outcome::already_gone:
        ASSERT_FALSE(path.acted) << name(outcome);
        return;
      case Outcome::survived:
        ASSERT_TRUE(path.acted && may_look_);
        return;
      case Outcome::observed:
      case Outcome::deferred:
        FAIL() << name(outcome);
      default:
        ASSERT_FALSE(path.proof) << name(outcome);
    }
  }

  Verdict verdict_;
  bool may_look_;
  std::size_t ends_ = 0;
};

TEST(TerminationPlan, EndsEveryPathInExactlyOneOutcomeWithinBoundedStepsAndTime) {
  for (const Action action : {Action::cancel, Action::terminate, Action::escalate}) {
    for (const Mapping mapping :
         {Mapping::confirmed, Mapping::by_port, Mapping::in_band, Mapping::conflict}) {
      for (const bool monitor_up : {true, false}) {
        for (const Duration grace : {Duration{0s}, Duration{15ms}}) {  // no look but one, and two
          auto judged = verdict(action, mapping);
          judged.grace = grace;
          for (const bool may_commit : {false, true}) {
            judged.may_commit_meanwhile = may_commit;
            const Explorer explorer{judged, monitor_up};
            const bool asks_in_vain = may_commit && !(monitor_up && judged.session.backend);
            ASSERT_GT(explorer.ends(), asks_in_vain ? 0U : 20U);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// ---------------------------------------------------------------- without a session in-band

Verdict about(Target target, Action action = Action::terminate) {
  Verdict made = verdict(action);
  made.target = target;
  made.session.mapping = Mapping::none;  // of a backend to a session: there is none
  return made;
}

TEST(SqlOnlyPlan, BeginsWithGuardedSqlAndVerifies) {
  for (const Target target : {Target::direct, Target::orphan}) {
    Walk walk{about(target)};
    walk.sql(Sql::signalled).look(Sight::same).look(Sight::gone);
    EXPECT_EQ(walk.outcome(), "confirmed");
  }
}

TEST(SqlOnlyPlan, WhatTheGuardDoesNotRecogniseHasRecoveredOrIsGone) {
  EXPECT_EQ(Walk{about(Target::direct)}.sql(Sql::changed).outcome(), "recovered");
  EXPECT_EQ(Walk{about(Target::orphan)}.sql(Sql::changed).outcome(), "already_gone");
}

TEST(SqlOnlyPlan, WithoutAMonitorNothingIsDone) {
  EXPECT_EQ((Walk{about(Target::direct), false}.outcome()), "error");
  EXPECT_EQ((Walk{about(Target::orphan), false}.outcome()), "error");
}

TEST(SqlOnlyPlan, RefusedRightsAreADenial) {
  EXPECT_EQ(Walk{about(Target::orphan)}.sql(Sql::denied).outcome(), "denied");
}

TEST(SqlOnlyPlan, ABackendThatStaysIsASurvivorAndIsAskedOnceOnly) {
  Walk walk{about(Target::orphan)};
  walk.sql(Sql::signalled).look_until_it_gives_up(Sight::same);
  EXPECT_EQ(walk.outcome(), "survived");
}

TEST(SqlOnlyPlan, ACancelIsDoneWhenTheStatementIs) {
  Walk walk{about(Target::direct, Action::cancel)};
  walk.sql(Sql::signalled).look(Sight::moved_on);
  EXPECT_EQ(walk.outcome(), "confirmed");
}

TEST(SqlOnlyPlan, ACancelThatDoesNothingTerminatesOnlyWhenItEscalates) {
  Walk stays{about(Target::direct, Action::cancel)};
  stays.sql(Sql::signalled).look_until_it_gives_up(Sight::same);
  EXPECT_EQ(stays.outcome(), "survived");
  Walk escalates{about(Target::direct, Action::escalate)};
  escalates.sql(Sql::signalled).look_until_it_gives_up(Sight::same);
  escalates.sql(Sql::signalled).look(Sight::gone);
  EXPECT_EQ(escalates.outcome(), "confirmed");
}

TEST(SqlOnlyPlan, ObservedAndExemptOnesAreFinishedFromTheStart) {
  EXPECT_EQ(Walk{about(Target::orphan, Action::observe)}.outcome(), "observed");
  Verdict exempt = about(Target::orphan);
  exempt.exemption = Exemption::commit;
  EXPECT_EQ(Walk{exempt}.outcome(), "exempted");
}

}  // namespace
}  // namespace pgleash::watchdog
