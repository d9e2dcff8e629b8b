#include "tests/scenario/story/story.hpp"

#include <atomic>
#include <cstdlib>
#include <thread>

/// Clients cancel their own statements: what they send once PQcancel has returned is never hit.
namespace pgleash::test {
namespace {

struct FreeCancel {
  void operator()(PGcancel* cancel) const noexcept { PQfreeCancel(cancel); }
};

int wanted_cancels() {
  const char* text = std::getenv("PGLEASH_STORY_CANCELS");
  return text != nullptr ? std::atoi(text) : 10'000;
}

struct Tally {
  int hit = 0, missed = 0, failed = 0, later_hit = 0;
};

/// A cancel by another thread while short statements run, then a statement that must not notice.
void race(const PgleashProcess& pgleash, int rounds, Tally& tally) {
  Application application{pgleash.words()};
  const std::unique_ptr<PGcancel, FreeCancel> key{PQgetCancel(application.raw())};
  std::atomic<int> asked{0};
  std::atomic<int> done{0};
  std::atomic<bool> delivered{true};
  std::thread canceller{[&] {
    for (int round = 1; round <= rounds; ++round) {
      for (int seen = asked; seen < round; seen = asked) asked.wait(seen);
      char problem[256];
      delivered = PQcancel(key.get(), problem, sizeof problem) == 1;
      done = round;
      done.notify_one();
    }
  }};
  for (int round = 1; round <= rounds; ++round) {
    asked = round;
    asked.notify_one();
    bool hit = false;
    const auto statement =
        fmt::format("SELECT pg_sleep({})", round % 4 == 0 ? 0.02 : 0.0005 * (round % 4));
    do {
      if (application.error_of(statement)) hit = true;
    } while (done < round);
    if (application.error_of("SELECT 'sent after PQcancel had returned' FROM pg_sleep(0.0002)"))
      ++tally.later_hit;
    ++(hit ? tally.hit : tally.missed);
    if (!delivered) ++tally.failed;
  }
  canceller.join();
}

class CancelRace : public Story {};

TEST_F(CancelRace, NeverHitsAStatementThatWasSentAfterwards) {
  pgleash({});
  constexpr int pairs = 4;
  std::vector<Tally> tallies(pairs);
  std::vector<std::thread> threads;
  for (auto& tally : tallies)
    threads.emplace_back([&] { race(pgleash(), wanted_cancels() / pairs, tally); });
  for (auto& thread : threads) thread.join();
  Tally sum;
  for (const auto& tally : tallies) {
    sum.hit += tally.hit;
    sum.missed += tally.missed;
    sum.failed += tally.failed;
    sum.later_hit += tally.later_hit;
  }
  EXPECT_EQ(sum.later_hit, 0);
  EXPECT_EQ(sum.failed, 0);
  EXPECT_GT(sum.hit, 0) << "cancels do arrive";
  EXPECT_EQ(pgleash().metric("pgleash_cancel_requests_total",
                             {{"origin", "client"}, {"result", "delivered"}}),
            sum.hit + sum.missed);
  EXPECT_EQ(pgleash().metric("pgleash_client_connections_total", {{"result", "cancel_request"}}),
            sum.hit + sum.missed);
}

}  // namespace
}  // namespace pgleash::test
