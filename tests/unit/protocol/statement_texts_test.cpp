#include "protocol/statement_texts.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace pgleash::protocol {
namespace {

TEST(StatementTexts, HoldsEachTextOnce) {
  StatementTexts texts;
  const auto first = texts.intern("select 1", false);
  const auto second = texts.intern("select 1", false);
  EXPECT_EQ(texts.texts(), 1U);
  EXPECT_EQ(first.text().data(), second.text().data());
  EXPECT_EQ(first.text(), "select 1");
}

TEST(StatementTexts, TellsACutTextFromAWholeOne) {
  StatementTexts texts;
  const auto whole = texts.intern("select 1", false);
  const auto cut = texts.intern("select 1", true);
  EXPECT_EQ(texts.texts(), 2U);
  EXPECT_FALSE(whole.truncated());
  EXPECT_FALSE(whole.traits().unknown);
  EXPECT_TRUE(cut.truncated());
  EXPECT_TRUE(cut.traits().unknown);
}

TEST(StatementTexts, KeepsAtMostMaxTextBytesOfOne) {
  StatementTexts texts;
  const auto ref = texts.intern(std::string(5000, 'x'), false);
  EXPECT_EQ(ref.text().size(), StatementTexts::max_text);
  EXPECT_TRUE(ref.truncated());
}

TEST(StatementTexts, AnEmptyReferenceIsUnknown) {
  const StatementTexts::Ref none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.text(), "");
  EXPECT_TRUE(none.traits().unknown);
}

TEST(StatementTexts, AnEmptyTextIsKnown) {
  StatementTexts texts;
  const auto empty = texts.intern("", false);
  EXPECT_TRUE(empty);
  EXPECT_FALSE(empty.traits().unknown);
}

TEST(StatementTexts, LetsTheLeastRecentlyUsedGo) {
  StatementTexts texts{1000};
  (void)texts.intern("first", false);
  (void)texts.intern("second", false);
  const auto each = texts.bytes() / 2;
  (void)texts.intern("first", false);  // used again: second is the oldest now
  while (texts.bytes() + each + 20 <= 1000)
    (void)texts.intern("filler " + std::to_string(texts.texts()), false);
  const auto before = texts.texts();
  (void)texts.intern("one more, longer", false);
  EXPECT_LE(texts.bytes(), 1000U);
  (void)texts.intern("first", false);
  EXPECT_EQ(texts.texts(), before) << "first was still there, second gave way";
}

TEST(StatementTexts, GivesNothingWhenEveryTextIsInUse) {
  StatementTexts texts{2000};
  std::vector<StatementTexts::Ref> held;
  for (int i = 0;; ++i) {
    auto ref = texts.intern("statement " + std::to_string(i), false);
    if (!ref) break;
    held.push_back(std::move(ref));
    ASSERT_LT(i, 100);
  }
  EXPECT_FALSE(texts.intern("another", false));
  EXPECT_TRUE(texts.intern("statement 0", false)) << "a known text needs no room";
  EXPECT_EQ(texts.texts(), held.size());
  held.erase(held.begin(), held.begin() + 3);
  EXPECT_TRUE(texts.intern("another", false));
  EXPECT_LE(texts.bytes(), 2000U);
}

TEST(StatementTexts, GivesNothingForATextLargerThanTheTable) {
  StatementTexts texts{32};
  EXPECT_FALSE(texts.intern("select 1", false));
  EXPECT_EQ(texts.bytes(), 0U);
}

TEST(StatementTexts, StaysWithinItsBoundsUnderRandomUse) {
  StatementTexts texts{20'000};
  std::mt19937 random{7};
  std::vector<StatementTexts::Ref> held(50);
  std::vector<std::string> wanted(50);
  for (int i = 0; i < 50'000; ++i) {
    const auto slot = random() % held.size();
    const std::string text =
        "select " + std::to_string(random() % 1000) + std::string(random() % 100, ' ');
    auto ref = texts.intern(text, false);
    ASSERT_LE(texts.bytes(), 20'000U);
    ASSERT_EQ(ref.text(), ref ? text : "");
    held[slot] = random() % 2 == 0 ? ref : std::move(ref);
    wanted[slot] = held[slot] ? text : "";
    const auto other = random() % held.size();
    ASSERT_EQ(held[other].text(), wanted[other]);
  }
}

TEST(StatementTexts, AKeptTextIsForItsSessionAlone) {
  StatementTexts texts;
  StatementTexts::Ref mine;
  texts.keep(mine, "commit", false);
  EXPECT_EQ(mine.text(), "commit");
  EXPECT_TRUE(mine.traits().ends_transaction);
  EXPECT_EQ(texts.texts(), 0U);
  const auto other = texts.intern("commit", false);
  EXPECT_NE(static_cast<const void*>(other.text().data()),
            static_cast<const void*>(mine.text().data()));
}

TEST(StatementTexts, TheNextKeptTextTakesThePlaceOfTheLast) {
  StatementTexts texts;
  StatementTexts::Ref mine;
  texts.keep(mine, "select 1 from t", false);
  const void* const block = mine.text().data();
  texts.keep(mine, "", true);
  EXPECT_EQ(mine.text(), "");
  EXPECT_TRUE(mine.truncated());
  texts.keep(mine, std::string(60, 'x'), false);
  EXPECT_EQ(static_cast<const void*>(mine.text().data()), block);
  EXPECT_FALSE(mine.truncated());
  texts.keep(mine, std::string(2000, 'x'), false);
  EXPECT_EQ(mine.text().size(), StatementTexts::max_text);
  EXPECT_TRUE(mine.truncated());
}

TEST(StatementTexts, AKeptTextThatSomebodyElseRefersToStays) {
  StatementTexts texts;
  StatementTexts::Ref last;
  texts.keep(last, "begin", false);
  const StatementTexts::Ref first = last;
  texts.keep(last, "select 1", false);
  EXPECT_EQ(first.text(), "begin");
  EXPECT_EQ(last.text(), "select 1");
}

TEST(StatementTexts, AnInternedTextIsNeverWrittenOver) {
  StatementTexts texts;
  StatementTexts::Ref slot = texts.intern("select $1", false);
  texts.keep(slot, "", false);
  EXPECT_EQ(texts.intern("select $1", false).text(), "select $1");
  EXPECT_EQ(slot.text(), "");
}

}  // namespace
}  // namespace pgleash::protocol
