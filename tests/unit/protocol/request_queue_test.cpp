#include "protocol/request_queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace pgleash::protocol {
namespace {

using Kind = Outstanding::Kind;

TEST(RequestQueue, GivesBackInOrderWhatWentIn) {
  RequestQueue queue;
  for (const Kind kind : {Kind::parse, Kind::bind, Kind::bind, Kind::execute, Kind::sync})
    queue.push(Outstanding{kind});
  EXPECT_EQ(queue.items(), 5U);
  for (const Kind kind : {Kind::parse, Kind::bind, Kind::bind, Kind::execute, Kind::sync}) {
    EXPECT_EQ(queue.front().kind(), kind);
    queue.pop();
  }
  EXPECT_TRUE(queue.empty());
}

TEST(RequestQueue, CountsWhatEndsInReadyRunsAndMayCommit) {
  RequestQueue queue;
  queue.push(Outstanding{Kind::query, Outstanding::may_commit});
  queue.push(Outstanding{Kind::execute});
  queue.push(Outstanding{Kind::sync});
  queue.push(Outstanding{Kind::maybe_sync});
  EXPECT_EQ(queue.ending_in_ready(), 2U);
  EXPECT_EQ(queue.statements(), 2U);
  EXPECT_EQ(queue.may_commit(), 1U);
  queue.pop();
  EXPECT_EQ(queue.ending_in_ready(), 1U);
  EXPECT_EQ(queue.statements(), 1U);
  EXPECT_EQ(queue.may_commit(), 0U);
}

TEST(RequestQueue, IsFullAt64KiRunsAndTakesWhatAChunkStillBrings) {
  RequestQueue queue;
  std::uint32_t taken = 0;
  while (queue.push(Outstanding{taken % 2 == 0 ? Kind::parse : Kind::sync})) {
    ++taken;
    EXPECT_EQ(queue.full(), taken >= RequestQueue::full_runs);
    ASSERT_LE(taken, RequestQueue::max_runs);
  }
  EXPECT_EQ(taken, RequestQueue::max_runs);
  EXPECT_TRUE(queue.push(Outstanding{Kind::sync})) << "of a run that is there";
  while (queue.full()) queue.pop();
  EXPECT_TRUE(queue.push(Outstanding{Kind::query}));
}

TEST(RequestQueue, HoldsMillionsOfOneKindAsOneRun) {
  RequestQueue queue;
  constexpr std::uint32_t many = 17'000'000;  // more than one run can count
  bool room = true;
  for (std::uint32_t i = 0; i < many; ++i) room = queue.push(Outstanding{Kind::sync}) && room;
  EXPECT_TRUE(room);
  EXPECT_EQ(queue.items(), many);
  EXPECT_FALSE(queue.full());
  for (std::uint32_t i = 0; i < many; ++i) queue.pop();
  EXPECT_TRUE(queue.empty());
}

TEST(RequestQueue, BehavesAsADequeWould) {
  std::mt19937 random{20'240'607};
  for (int round = 0; round < 200; ++round) {
    RequestQueue queue;
    std::deque<Outstanding> model;
    for (int step = 0; step < 400; ++step) {
      const Outstanding item{Kind{static_cast<std::uint8_t>(random() % 11)},
                             static_cast<std::uint8_t>(random() % 4 == 0 ? 0x10 : 0)};
      const auto choice = random() % 10;
      if (choice < 5) {
        ASSERT_TRUE(queue.push(item));
        model.push_back(item);
      } else if (choice < 6) {
        const auto times = static_cast<std::uint32_t>(random() % 3);
        queue.push_front(item, times);
        model.insert(model.begin(), times, item);
      } else if (!model.empty()) {
        queue.pop();
        model.pop_front();
      }
      ASSERT_EQ(queue.items(), model.size());
      ASSERT_EQ(queue.empty(), model.empty());
      const auto count = [&model](auto which) {
        return static_cast<std::uint32_t>(std::count_if(model.begin(), model.end(), which));
      };
      ASSERT_EQ(queue.ending_in_ready(), count([](Outstanding o) { return o.ends_in_ready(); }));
      ASSERT_EQ(queue.statements(), count([](Outstanding o) { return o.runs_statement(); }));
      ASSERT_EQ(queue.may_commit(),
                count([](Outstanding o) { return o.has(Outstanding::may_commit); }));
      if (!model.empty()) {
        ASSERT_EQ(queue.front(), model.front());
      }
    }
  }
}

}  // namespace
}  // namespace pgleash::protocol
