#include "watchdog/session_book.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace pgleash::watchdog {
namespace {

using proxy::SessionId;
using proxy::SessionView;
using proxy::ViewChanges;

SessionView view(std::uint64_t id, std::uint64_t bytes = 0) {
  SessionView made;
  made.id = SessionId{id};
  made.who = std::make_shared<const proxy::SessionIdentity>();
  made.facts.backend_bytes = bytes;
  return made;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> held_by(const SessionBook& book) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> all;
  for (const SessionView& one : book.views())
    all.emplace_back(proxy::number(one.id), one.facts.backend_bytes);
  return all;
}

TEST(SessionBook, HoldsWhatAFullCopyWouldAfterAnyChanges) {
  constexpr std::uint64_t second_worker = std::uint64_t{1} << 48U;
  std::mt19937_64 random{20261126};
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  SessionBook book;
  std::map<std::uint64_t, std::uint64_t> truth;
  std::uint64_t next[] = {1, second_worker + 1};
  for (int tick = 0; tick < 2000; ++tick) {
    ViewChanges changes;
    std::map<std::uint64_t, std::uint64_t> changed;
    for (std::uint64_t n = below(5); n > 0; --n) changed[next[below(2)]++] = random();
    for (const auto& [id, bytes] : truth)
      if (below(8) == 0) changed[id] = random();
    // Now and then nearly everybody leaves.
    const std::uint64_t leave_of_twenty = tick % 200 == 199 ? 19 : 1;
    for (const auto& [id, bytes] : truth)
      if (below(20) < leave_of_twenty && !changed.contains(id))
        changes.gone.push_back(SessionId{id});
    changes.gone.push_back(SessionId{next[0] + 1'000'000});  // came and went between two ticks
    for (const SessionId id : changes.gone) truth.erase(proxy::number(id));
    for (const auto& [id, bytes] : changed) truth[id] = bytes;
    changes.all = tick == 0 || below(50) == 0;
    for (const auto& [id, bytes] : changes.all ? truth : changed)
      changes.changed.push_back(view(id, bytes));
    if (changes.all) changes.gone.clear();
    std::ranges::shuffle(changes.changed, random);

    book.lose();
    book.apply(std::move(changes));
    ASSERT_FALSE(book.lost());
    ASSERT_EQ(held_by(book),
              (std::vector<std::pair<std::uint64_t, std::uint64_t>>{truth.begin(), truth.end()}))
        << "tick " << tick;
  }
}

TEST(SessionBook, IsLostUntilTheFirstChangesAndWhileThoseThatWereAskedForDoNotCome) {
  SessionBook book;
  EXPECT_TRUE(book.lost());
  ViewChanges first;
  first.all = true;
  first.changed.push_back(view(1));
  book.apply(std::move(first));
  EXPECT_FALSE(book.lost());
  book.lose();
  EXPECT_TRUE(book.lost()) << "the answer may have been lost with what it told";
}

}  // namespace
}  // namespace pgleash::watchdog
