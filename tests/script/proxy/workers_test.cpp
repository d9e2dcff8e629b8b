#include "tests/script/proxy/stage.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

/// How sessions are spread over the workers.
namespace pgleash::proxy {
namespace {

std::vector<std::uint32_t> live(const Stage& stage) {
  std::vector<std::uint32_t> all;
  for (const auto& worker : stage.proxy->workers()) all.push_back(worker->live());
  return all;
}

std::uint32_t worker_of(const SessionView& view) {
  return static_cast<std::uint32_t>(number(view.id) >> 48U);
}

/// Waits until as many sessions are counted as there are clients.
bool counts(const Stage& stage, std::size_t clients) {
  return soon([&] {
    const auto all = live(stage);
    return std::accumulate(all.begin(), all.end(), std::size_t{0}) == clients;
  });
}

TEST(Workers, EachNewSessionGoesToTheWorkerThatHasTheFewest) {
  Stage stage{[](config::Config& config) { config.process.workers = 3; }};
  std::mt19937 random{20261126};
  std::vector<Pair> pairs;
  for (int step = 0; step < 150; ++step) {
    const auto before = live(stage);
    const std::uint32_t fewest = *std::ranges::min_element(before);
    Pair pair = stage.login();
    EXPECT_EQ(before.at(worker_of(stage.session_of(pair))), fewest) << "step " << step;
    pairs.push_back(std::move(pair));
    // Whoever leaves, leaves at random: the workers' loads part, and are evened out by who comes.
    while (pairs.size() > 30 || (!pairs.empty() && random() % 3 == 0)) {
      const auto leaver = pairs.begin() + static_cast<std::ptrdiff_t>(random() % pairs.size());
      leaver->client.close();
      leaver->server.expect_end();
      leaver->server.close();
      pairs.erase(leaver);
    }
    ASSERT_TRUE(counts(stage, pairs.size()));
  }
}

TEST(Workers, AfterAWorkersSessionsLeftTheNextOnesFillItUp) {
  Stage stage{[](config::Config& config) { config.process.workers = 2; }};
  std::vector<Pair> pairs;
  for (int i = 0; i < 20; ++i) pairs.push_back(stage.login());
  ASSERT_EQ(live(stage), (std::vector<std::uint32_t>{10, 10}));
  std::erase_if(pairs, [&](Pair& pair) {
    if (worker_of(stage.session_of(pair)) != 0) return false;
    pair.client.close();
    pair.server.expect_end();
    pair.server.close();
    return true;
  });
  ASSERT_EQ(pairs.size(), 10U);
  ASSERT_TRUE(counts(stage, 10));
  for (int i = 0; i < 10; ++i) pairs.push_back(stage.login());
  EXPECT_EQ(live(stage), (std::vector<std::uint32_t>{10, 10}));
}

}  // namespace
}  // namespace pgleash::proxy
