#include "app/notify/outbox.hpp"

#include <gtest/gtest.h>

#include <string>

namespace pgleash::notify {
namespace {

using namespace std::chrono_literals;

constexpr Instant start{1000h};

Notice notice(const std::string& id) {
  return {id, "{}"};
}
std::string taken(Outbox& box, Instant now) {
  const Notice* one = box.take(now);
  return one == nullptr ? "none" : one->id;
}

TEST(Outbox, SendsOneAtATimeInTheirOrder) {
  Outbox box{{}, 7};
  EXPECT_FALSE(box.wakes());
  box.add(notice("a"), start);
  box.add(notice("b"), start);
  EXPECT_EQ(taken(box, start), "a");
  EXPECT_EQ(taken(box, start), "none") << "a is under way";
  EXPECT_FALSE(box.wakes());
  box.settle(Answer::accepted, start);
  EXPECT_EQ(taken(box, start), "b");
  box.settle(Answer::refused, start);
  EXPECT_EQ(box.counts().delivered, 1U);
  EXPECT_EQ(box.counts().rejected, 1U);
  EXPECT_EQ(box.size(), 0U);
}

TEST(Outbox, RepeatsTheSameNoticeBehindPausesThatDoubleWithJitter) {
  Outbox box{{1000, 100h}, 7};
  box.add(notice("a"), start);
  box.add(notice("b"), start);
  Instant now = start;
  Duration whole = Outbox::first_pause;
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(taken(box, now), "a") << i;
    box.settle(Answer::failed, now);
    ASSERT_TRUE(box.wakes());
    const Duration pause = *box.wakes() - now;
    EXPECT_GE(pause, whole / 2) << i;
    EXPECT_LE(pause, whole) << i;
    EXPECT_EQ(taken(box, *box.wakes() - 1ns), "none") << i;
    now = *box.wakes();
    whole = std::min(whole * 2, Outbox::longest_pause);
  }
  EXPECT_EQ(box.counts().retried, 12U);
  ASSERT_EQ(taken(box, now), "a");
  box.settle(Answer::accepted, now);
  EXPECT_EQ(taken(box, now), "b") << "the receiver works again: no pause";
  box.settle(Answer::failed, now);
  EXPECT_LE(*box.wakes() - now, Outbox::first_pause) << "and the next one begins anew";
}

TEST(Outbox, TwoInstancesDoNotComeBackTogether) {
  Outbox one{{}, 1};
  Outbox other{{}, 2};
  for (Outbox* box : {&one, &other}) {
    box->add(notice("a"), start);
    for (Instant now = start; box->counts().retried < 5; now = *box->wakes()) {
      (void)box->take(now);
      box->settle(Answer::failed, now);
    }
  }
  EXPECT_NE(one.wakes(), other.wakes());
}

TEST(Outbox, GivesUpByAgeAndGoesOnWithTheNext) {
  Outbox box{{1000, 1min}, 7};
  box.add(notice("old"), start);
  box.add(notice("young"), start + 50s);
  (void)box.take(start + 59s);
  box.settle(Answer::failed, start + 59s);
  EXPECT_EQ(box.counts().given_up, 0U);
  ASSERT_EQ(taken(box, start + 60s), "old");
  box.settle(Answer::failed, start + 60s);
  EXPECT_EQ(box.counts().given_up, 1U);
  EXPECT_EQ(taken(box, start + 60s), "none") << "the pause is the receiver's, not the notice's";
  EXPECT_EQ(taken(box, *box.wakes()), "young");
}

TEST(Outbox, GivesUpByTriesHoweverYoung) {
  Outbox box{{1000, 10000h}, 7};
  box.add(notice("a"), start);
  Instant now = start;
  for (unsigned i = 0; i < Outbox::most_tries; ++i) {
    ASSERT_EQ(taken(box, now), "a") << i;
    box.settle(Answer::failed, now);
    now = box.wakes().value_or(now);
  }
  EXPECT_EQ(box.size(), 0U);
  EXPECT_EQ(box.counts().given_up, 1U);
  EXPECT_EQ(box.counts().retried, Outbox::most_tries - 1);
}

TEST(Outbox, DropsTheOldestWhenItIsFullAndCountsThem) {
  Outbox box{{3, 1h}, 7};
  box.add(notice("0"), start);
  (void)box.take(start);
  for (int i = 1; i <= 5; ++i) box.add(notice(std::to_string(i)), start);
  EXPECT_EQ(box.counts().dropped, 2U) << "1 and 2";
  box.settle(Answer::failed, start);
  EXPECT_EQ(box.counts().dropped, 3U) << "0, the oldest, has no room to come back to";
  EXPECT_EQ(box.size(), 3U);
  EXPECT_EQ(taken(box, *box.wakes()), "3");
}

TEST(Outbox, AReloadEndsThePauseAndASmallerQueueIsMadeToFit) {
  Outbox box{{10, 1h}, 7};
  for (int i = 0; i < 5; ++i) box.add(notice(std::to_string(i)), start);
  (void)box.take(start);
  box.settle(Answer::failed, start);
  box.configure({2, 1h}, start);
  EXPECT_EQ(box.size(), 2U);
  EXPECT_EQ(box.counts().dropped, 3U);
  EXPECT_EQ(taken(box, start), "3");
}

}  // namespace
}  // namespace pgleash::notify
