#include "proxy/application_counters.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

namespace pgleash::proxy {
namespace {

TEST(ApplicationCounters, ANameKeepsItsPlace) {
  ApplicationCounters counters;
  ApplicationCounts& first = counters.of("checkout");
  first.sent_bytes.add(7);
  for (int i = 0; i < 200; ++i) (void)counters.of("app" + std::to_string(i));
  EXPECT_EQ(&counters.of("checkout"), &first);
  EXPECT_EQ(counters.all().front()->name, "checkout");
  EXPECT_EQ(counters.all().front()->sent_bytes.get(), 7U);
  EXPECT_EQ(counters.all().size(), 201U);
}

TEST(ApplicationCounters, NamesThatComeTooLateShareThePlaceOther) {
  ApplicationCounters counters;
  for (std::size_t i = 0; i < 10 * ApplicationCounters::max_names; ++i)
    counters.of("app" + std::to_string(i)).sent_bytes.add();
  EXPECT_EQ(counters.all().size(), ApplicationCounters::max_names + 1);
  EXPECT_EQ(counters.all().back()->name, "other");
  EXPECT_EQ(counters.all().back()->sent_bytes.get(), 9 * ApplicationCounters::max_names);
  EXPECT_EQ(counters.of("app0").sent_bytes.get(), 1U);
}

TEST(ApplicationCounters, AnApplicationThatIsCalledOtherTakesNoPlaceAway) {
  ApplicationCounters counters;
  counters.of("other").sent_bytes.add();
  for (std::size_t i = 0; i < 2 * ApplicationCounters::max_names; ++i)
    (void)counters.of("app" + std::to_string(i));
  counters.of("late").sent_bytes.add();
  EXPECT_EQ(counters.of("other").sent_bytes.get(), 2U);
  EXPECT_LE(counters.all().size(), ApplicationCounters::max_names + 1);
}

TEST(ApplicationCounters, AReaderSeesWholePlacesWhileTheWorkerAddsMore) {
  ApplicationCounters counters;
  std::atomic<bool> done = false;
  std::atomic<std::size_t> broken = 0;
  std::jthread reader{[&] {
    while (!done) {
      for (const auto& place : counters.all())
        if (place == nullptr || !place->name.starts_with("app")) ++broken;
    }
  }};
  for (std::size_t i = 0; i < ApplicationCounters::max_names; ++i)
    counters.of("app" + std::to_string(i)).sent_bytes.add();
  done = true;
  reader.join();
  EXPECT_EQ(broken, 0U);
}

}  // namespace
}  // namespace pgleash::proxy
