#include "metrics/labels.hpp"

#include "fixtures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgleash::metrics {
namespace {

using testing::start;
using namespace std::chrono_literals;

struct CleanCase {
  std::string name;
  std::string label;
};

TEST(CleanLabel, MakesAnyBytesHarmless) {
  const std::string bad = "\xEF\xBF\xBD";
  const std::vector<CleanCase> cases{
      {"checkout-api", "checkout-api"},
      {"with \"quotes\" and \\", "with \"quotes\" and \\"},
      {"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x98", "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x98"},
      {"a\nb\tc\rd\x7F", "a?b?c?d?"},
      {std::string("a\0b", 3), "a?b"},
      {"\xFFname", bad + "name"},
      {"cut \xE2\x82", "cut " + bad + bad},
      {"lone \xA9", "lone " + bad},
      {"overlong \xC0\xAF", "overlong " + bad + bad},
      {"overlong \xE0\x80\xAF", "overlong " + bad + bad + bad},
      {"surrogate \xED\xA0\x80", "surrogate " + bad + bad + bad},
      {"beyond \xF4\x90\x80\x80", "beyond " + bad + bad + bad + bad},
      {"", ""},
  };
  for (const auto& [name, label] : cases) {
    EXPECT_EQ(clean_label(name), label);
  }
}

TEST(CleanLabel, CutsLongNamesBetweenCharactersAndSaysSo) {
  EXPECT_EQ(clean_label(std::string(max_label_bytes, 'a')), std::string(max_label_bytes, 'a'));
  EXPECT_EQ(clean_label(std::string(65536, 'a')),
            std::string(max_label_bytes - 3, 'a') + "\xE2\x80\xA6");
  for (std::size_t shift = 0; shift < 4; ++shift) {
    std::string name(shift, 'x');
    for (int i = 0; i < 100; ++i) {
      name += "\xF0\x9F\x90\x98";
    }
    const std::string label = clean_label(name);
    EXPECT_LE(label.size(), max_label_bytes);
    EXPECT_EQ((label.size() - shift - 3) % 4, 0U) << "cut inside a character";
  }
}

TEST(BoundedLabel, GivesTheNamesWithMostSessionsTheirOwn) {
  BoundedLabel label{2};
  const Census census{{"small", 1}, {"big", 9}, {"middle", 5}, {"", 3}};
  const Assignment assignment = label.assign(census, start);
  EXPECT_EQ(assignment.label_of("big"), "big");
  EXPECT_EQ(assignment.label_of("middle"), "middle");
  EXPECT_EQ(assignment.label_of("small"), "other");
  EXPECT_EQ(assignment.label_of(""), "none");
  EXPECT_EQ(assignment.label_count(), 4U);
  EXPECT_EQ(label.overflows(), 1U);
}

TEST(BoundedLabel, TiesGoToWhoHasALabelThenByName) {
  BoundedLabel label{1};
  EXPECT_EQ(label.assign({{"b", 1}}, start).label_of("b"), "b");
  EXPECT_EQ(label.assign({{"a", 1}, {"b", 1}}, start + 1s).label_of("b"), "b");
  BoundedLabel fresh{1};
  EXPECT_EQ(fresh.assign({{"b", 1}, {"a", 1}}, start).label_of("a"), "a");
}

TEST(BoundedLabel, KeepsALabelForAnHourAfterItWasLastAmongTheFirst) {
  BoundedLabel label{1};
  label.assign({{"old", 5}, {"new", 1}}, start);
  const Census turned{{"old", 1}, {"new", 5}};
  EXPECT_EQ(label.assign(turned, start + 1s).label_of("new"), "other");
  EXPECT_EQ(label.assign(turned, start + 1h).label_of("old"), "old");
  const Assignment after = label.assign(turned, start + 1h + 1s);
  EXPECT_EQ(after.label_of("new"), "new");
  EXPECT_EQ(after.label_of("old"), "other");
}

TEST(BoundedLabel, KeepsTheLabelOfANameThatHasNoSessionsForAWhile) {
  BoundedLabel label{1};
  label.assign({{"nightly", 5}}, start);
  EXPECT_EQ(label.assign({{"web", 9}}, start + 59min).label_of("web"), "other");
  EXPECT_EQ(label.assign({{"web", 9}, {"nightly", 1}}, start + 60min).label_of("nightly"),
            "nightly");
}

TEST(BoundedLabel, FillsAFreePlaceAtOnce) {
  BoundedLabel label{2};
  label.assign({{"a", 5}}, start);
  EXPECT_EQ(label.assign({{"a", 5}, {"b", 1}}, start + 1s).label_of("b"), "b");
}

TEST(BoundedLabel, ABurstOfNamesDoesNotDriveOutThoseWhoAreThere) {
  BoundedLabel label{50};
  Census steady;
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) {
    names.push_back((i < 50 ? "steady" : "burst") + std::to_string(i));
  }
  for (std::size_t i = 0; i < 50; ++i) {
    steady[names[i]] = 2;
  }
  label.assign(steady, start);
  Census burst = steady;
  for (std::size_t i = 50; i < 100; ++i) {
    burst[names[i]] = 100;
  }
  const Assignment assignment = label.assign(burst, start + 1s);
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(assignment.label_of(names[i]), names[i]);
  }
  EXPECT_EQ(assignment.label_count(), 51U);
}

TEST(BoundedLabel, CountsAnOverflowingNameOnceForAsLongAsItStays) {
  BoundedLabel label{1};
  const Census two{{"a", 5}, {"b", 1}};
  label.assign(two, start);
  label.assign(two, start + 1s);
  EXPECT_EQ(label.overflows(), 1U);
  label.assign({{"a", 5}}, start + 2s);
  label.assign(two, start + 3s);
  EXPECT_EQ(label.overflows(), 2U);
}

TEST(BoundedLabel, NamesThatAreTheSameOnceCleanedAreOne) {
  BoundedLabel label{2};
  const Assignment assignment = label.assign({{"a\nb", 1}, {"a\tb", 1}, {"c", 1}}, start);
  EXPECT_EQ(assignment.index_of("a\nb"), assignment.index_of("a\tb"));
  EXPECT_EQ(label.overflows(), 0U);
}

TEST(BoundedLabel, AnApplicationCalledOtherOrNoneSharesThatLabel) {
  BoundedLabel label{2};
  const Assignment assignment =
      label.assign({{"other", 9}, {"none", 8}, {"third", 1}, {"", 1}}, start);
  EXPECT_EQ(assignment.index_of("other"), assignment.index_of("third"));
  EXPECT_EQ(assignment.index_of("none"), assignment.index_of(""));
  EXPECT_EQ(assignment.label_count(), 2U);
}

TEST(BoundedLabel, ALowerLimitAfterAReloadHoldsFromTheNextAssignment) {
  BoundedLabel label{3};
  const Census census{{"a", 3}, {"b", 2}, {"c", 1}};
  label.assign(census, start);
  label.set_limit(1);
  const Assignment assignment = label.assign(census, start + 1s);
  EXPECT_EQ(assignment.label_count(), 2U);
  label.set_limit(0);
  EXPECT_EQ(label.assign(census, start + 2s).label_count(), 1U);
}

TEST(FirstComeLabel, NeverTakesALabelBack) {
  FirstComeLabel label{2};
  EXPECT_EQ(label.label("a"), "a");
  EXPECT_EQ(label.label(""), "none");
  EXPECT_EQ(label.label("b"), "b");
  EXPECT_EQ(label.label("c"), "other");
  EXPECT_EQ(label.label("a"), "a");
}

}  // namespace
}  // namespace pgleash::metrics
