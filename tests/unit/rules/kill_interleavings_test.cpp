#include "tests/unit/rules/kill_world.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

/// Whatever comes between a judgement and an act, in every order up to a depth: see KillWorld for
/// what is promised.
namespace pgleash::watchdog {
namespace {

using config::Action;
using proxy::JudgedCounter;

struct Told {
  std::size_t runs = 0;
  std::map<std::string, std::size_t> outcomes;
  std::size_t hits = 0;
};

/// $PGLEASH_EXPLORE_DEPTH goes deeper, and takes some 2.3 times as long for each choice more.
std::size_t depth() {
  const char* text = std::getenv("PGLEASH_EXPLORE_DEPTH");
  return text != nullptr ? std::strtoul(text, nullptr, 10) : 8;
}

Told explore(const KillWorld::Story& story) {
  Told told;
  test::Interleavings choices{depth()};
  do {
    KillWorld world{story, choices};
    world.run();
    if (!world.broken.empty()) {
      ADD_FAILURE() << "of the client's '" << story.client << "', " << config::name(story.action)
                    << ", run " << choices.runs() << ": " << world.broken.front() << "\n"
                    << world.trace();
      break;
    }
    ++told.outcomes[world.outcome ? std::string{name(*world.outcome)} : "never judged"];
    told.hits += world.cancelled_something ? 1 : 0;
  } while (choices.next());
  told.runs = choices.runs();
  return told;
}

class KillInterleavings : public testing::TestWithParam<const char*> {};

TEST_P(KillInterleavings, AnEndOfAWaitingSessionMeetsItsOwnSilenceOnly) {
  for (const bool leaves : {false, true}) {
    const auto told = explore({.client = GetParam(), .client_leaves = leaves});
    EXPECT_GT(told.outcomes.at("confirmed"), 0U);
    EXPECT_GT(told.outcomes.at("recovered"), 0U);
  }
}

TEST_P(KillInterleavings, ACancelMeetsTheJudgedRequestOrNothing) {
  for (const Action action : {Action::cancel, Action::escalate}) {
    for (const bool monitor : {true, false}) {
      const auto told = explore({.client = GetParam(),
                                 .action = action,
                                 .counter = JudgedCounter::request,
                                 .monitor = monitor});
      EXPECT_GT(told.outcomes.at("confirmed"), 0U);
      EXPECT_GT(told.outcomes.at("recovered"), 0U);
      EXPECT_GT(told.hits, 0U);
    }
  }
}

TEST_P(KillInterleavings, AResetAndCancelMeetNothingBeforeTheJudgedRequest) {
  for (const bool leaves : {false, true}) {
    const auto told =
        explore({.client = GetParam(), .counter = JudgedCounter::request, .client_leaves = leaves});
    EXPECT_GT(told.outcomes.at("confirmed"), 0U);
    EXPECT_GT(told.outcomes.at("recovered"), 0U);
    EXPECT_GT(told.hits, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(OfAClientThatSays, KillInterleavings,
                         testing::Values("qqq", "bqcq", "xxs", "yyq", "xqs"),
                         [](const auto& one) { return std::string{one.param}; });

TEST(Interleavings, TriesEverySequenceOfChoicesOnce) {
  test::Interleavings choices{3};
  std::map<std::string, int> seen;
  do {
    std::string run;
    for (int i = 0; i < 4; ++i) run += std::to_string(choices.choose(i == 1 ? 3 : 2));
    ++seen[run];
  } while (choices.next());
  EXPECT_EQ(seen.size(), 12U) << "2 x 3 x 2, and the first alternative beyond the depth";
  for (const auto& [run, times] : seen) EXPECT_EQ(times, 1) << run;
}

}  // namespace
}  // namespace pgleash::watchdog
