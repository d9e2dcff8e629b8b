#include "tests/scenario/fault/house.hpp"

#include "tests/support/wait_until.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace pgleash::test {

using namespace std::chrono_literals;
using testing::IsEmpty;

std::size_t House::descriptors(pid_t pid) {
  const std::filesystem::directory_iterator open{fmt::format("/proc/{}/fd", pid)};
  return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

long House::memory(pid_t pid, const std::string& which) {
  std::ifstream status{fmt::format("/proc/{}/status", pid)};
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(which + ":")) return std::stol(line.substr(which.size() + 1));
  return 0;
}

House::House(Postgres& postgres, PgleashProcess& pgleash, SteadyClient::WhenLost when_lost)
    : postgres_(postgres),
      pgleash_(pgleash),
      may_be_lost_(when_lost == SteadyClient::WhenLost::log_in_again),
      steady_(std::make_unique<SteadyClient>(pgleash.words({{"application_name", "steady"}}),
                                             when_lost)) {
  EXPECT_TRUE(steady_->works_on(100));
  descriptors_ = descriptors(pgleash.pid());
  memory_ = memory(pgleash.pid());
}

void House::watch(const std::string& metric, const Labels& labels) {
  watched_.push_back({metric, labels, pgleash_.metric(metric, labels)});
}

void House::expect_in_order() {
  EXPECT_TRUE(steady_->works_on()) << "the steady client stands still";
  EXPECT_THAT(steady_->errors(), IsEmpty()) << "the steady client was disturbed";
  EXPECT_TRUE(may_be_lost_ || steady_->lost() == 0);
  {
    LibpqClient fresh{pgleash_.words({{"application_name", "fresh"}})};
    EXPECT_EQ(fresh.exec("SELECT 'served'"), "served");
  }
  ASSERT_TRUE(pgleash_.process().running());
  std::size_t open = 0;
  EXPECT_TRUE(wait_until(
      [&] {
        open = descriptors(pgleash_.pid());
        return open <= descriptors_ + spare_descriptors;
      },
      30s))
      << "descriptors: " << descriptors_ << " before, " << open << " after";
  EXPECT_LE(memory(pgleash_.pid()), memory_ + spare_memory_kib) << "KiB; before: " << memory_;

  std::string backends;
  double sessions = 0;
  EXPECT_TRUE(wait_until(
      [&] {
        backends = postgres_.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
        sessions = pgleash_.metric("pgleash_sessions");
        return fmt::format("{:.0f}", sessions) == backends;
      },
      30s))
      << backends << " backends, " << sessions << " sessions";

  std::map<std::string, int> outcomes;
  const auto settled = [&] {
    outcomes.clear();
    for (const auto& line : pgleash_.audit("intent")) outcomes[text(line, "verdict")] = 0;
    for (const auto& line : pgleash_.audit("outcome"))
      if (text(line, "outcome") != "deferred") ++outcomes[text(line, "verdict")];
    return std::none_of(outcomes.begin(), outcomes.end(),
                        [](const auto& one) { return one.second == 0; });
  };
  EXPECT_TRUE(wait_until(settled, 30s)) << "a verdict has no outcome";
  for (const auto& [verdict, times] : outcomes) EXPECT_LE(times, 1) << verdict;
  const auto verified = run({.argv = {PGLEASH_BINARY, "audit", "verify", pgleash_.audit_file()},
                             .environment = {},
                             .user = {}});
  EXPECT_EQ(verified.status, 0) << verified.err;
  for (const Watched& one : watched_)
    EXPECT_TRUE(
        wait_until([&] { return pgleash_.metric(one.metric, one.labels) > one.before; }, 10s))
        << one.metric << " did not move";
  EXPECT_FALSE(pgleash_.page("/healthz").empty());
}

}  // namespace pgleash::test
