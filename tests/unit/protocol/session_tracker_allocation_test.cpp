#include "tests/unit/protocol/trace.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>

namespace {

std::size_t allocations = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables):
                              // operator new has no other place

}  // namespace

// Counts for the whole program; the tests look at differences.
void* operator new(std::size_t size) {
  ++allocations;
  if (void* block = std::malloc(size != 0 ? size : 1)) return block;
  throw std::bad_alloc{};
}
void* operator new[](std::size_t size) {
  return operator new(size);
}
void operator delete(void* block) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t /*size*/) noexcept {
  std::free(block);
}
void operator delete[](void* block) noexcept {
  std::free(block);
}
void operator delete[](void* block, std::size_t /*size*/) noexcept {
  std::free(block);
}

namespace pgleash::protocol {
namespace {

struct Exchange {
  std::string request;
  std::string answer;
};

std::size_t allocated_by(trace::Player& session, const std::vector<Exchange>& transaction) {
  const auto play = [&] {
    for (const auto& [request, answer] : transaction) {
      session.frontend(request);
      session.backend(answer);
    }
  };
  play();  // texts and names become known
  const std::size_t before = allocations;
  for (int i = 0; i < 10'000; ++i) play();
  const std::size_t after = allocations;
  EXPECT_EQ(session.facts().anomalies, 0U);
  return after - before;
}

const std::string rows = wire::message('T', "x") + wire::message('D', "y");

TEST(SessionTrackerAllocation, TheCounterCounts) {
  const std::size_t before = allocations;
  int* volatile kept = new int{1};  // a pair that nobody could see may be left out
  delete kept;
  EXPECT_EQ(allocations, before + 1);
}

TEST(SessionTrackerAllocation, SimpleTransactionsOfKnownTextsNeedNone) {
  trace::Player session;
  EXPECT_EQ(allocated_by(
                session,
                {{wire::query("begin"), wire::complete("BEGIN") + wire::ready('T')},
                 {wire::query("update t set a = 1"), wire::complete("UPDATE 1") + wire::ready('T')},
                 {wire::query("select 1"), rows + wire::complete("SELECT 1") + wire::ready('T')},
                 {wire::query("commit"), wire::complete("COMMIT") + wire::ready()}}),
            0U);
}

TEST(SessionTrackerAllocation, ExtendedTransactionsOfKnownTextsNeedNone) {
  trace::Player session;
  const std::string describe = wire::message('D', wire::zero_ended("P"));
  EXPECT_EQ(
      allocated_by(
          session,
          {{wire::parse("select $1") + wire::bind() + describe + wire::execute() + wire::sync(),
            wire::message('1') + wire::message('2') + rows + wire::complete("SELECT 1") +
                wire::ready()},
           {wire::parse("update t", "u") + wire::sync(), wire::message('1') + wire::ready()},
           {wire::bind("u") + wire::execute() + wire::sync(),
            wire::message('2') + wire::complete("UPDATE 1") + wire::ready()}}),
      0U);
}

TEST(SessionTrackerAllocation, AnIdleSessionHoldsNoBuffer) {
  trace::Player session;
  std::string pipeline;
  std::string answers;
  for (int i = 0; i < 1000; ++i) {
    pipeline += wire::parse("select 1") + wire::bind() + wire::execute();
    answers += wire::message('1') + wire::message('2') + wire::complete("SELECT 0");
  }
  session.frontend(pipeline + wire::sync());
  session.backend(answers + wire::ready());
  EXPECT_EQ(session.state(), "idle");
  const std::size_t before = allocations;
  session.frontend(pipeline + wire::sync());
  EXPECT_GT(allocations, before) << "the queue had given its block back";
}

}  // namespace
}  // namespace pgleash::protocol
