#include "metrics/closed_sets.hpp"

#include "config/config.hpp"
#include "proxy/counters.hpp"
#include "watchdog/verdict.hpp"

#include <gtest/gtest.h>

namespace pgleash::metrics {
namespace {

/// `set` has the words of `Enum`, in its order, beginning with its member number `from`.
template <class Enum, std::size_t N>
void expect_names(const words::Words<N>& set, std::size_t from = 0) {
  using proxy::name;
  for (std::size_t i = 0; i < N; ++i) {
    EXPECT_EQ(set[i], name(static_cast<Enum>(i + from)));
  }
}

TEST(ClosedSets, AreTheWordsOfLogAndAuditLine) {
  expect_names<config::Mode>(words::modes);
  expect_names<config::Action>(words::actions);
  expect_names<proxy::AcceptResult>(words::accept_results);
  expect_names<proxy::EndCause>(words::end_causes);
  expect_names<proxy::CancelOrigin>(words::cancel_origins);
  expect_names<proxy::CancelResult>(words::cancel_results);
  expect_names<watchdog::Outcome>(words::outcomes);
  expect_names<watchdog::Exemption>(words::exemptions, 1);
  for (std::size_t i = 0; i < watchdog::fuse_kinds; ++i)
    EXPECT_EQ(words::fuses[i], name(static_cast<watchdog::FuseKind>(i)));
  EXPECT_EQ(words::fuses.back(), name(watchdog::FuseScope::global));
  expect_names<watchdog::PaceScope>(words::pace_scopes);
  expect_names<watchdog::HoldReason>(words::hold_reasons);
  expect_names<watchdog::Margin>(words::margins);
}

TEST(ClosedSets, OnlyClientsShowKeysThatNobodyKnows) {
  EXPECT_TRUE(words::possible_cancel("client", "unknown_key"));
  EXPECT_FALSE(words::possible_cancel("rule", "unknown_key"));
  EXPECT_TRUE(words::possible_cancel("client_gone", "observed"));
  EXPECT_FALSE(words::possible_cancel("drain", "observed"));
  EXPECT_TRUE(words::possible_cancel("drain", "timeout"));
}

TEST(ClosedSets, WhoOnlyObservesNeverEndsAnybody) {
  EXPECT_TRUE(words::possible("terminate", "enforce", "confirmed"));
  EXPECT_FALSE(words::possible("terminate", "observe", "confirmed"));
  EXPECT_FALSE(words::possible("observe", "enforce", "confirmed"));
  EXPECT_TRUE(words::possible("observe", "enforce", "observed"));
  EXPECT_FALSE(words::possible("terminate", "enforce", "observed"));
  EXPECT_FALSE(words::possible("terminate", "observe", "deferred"));
  EXPECT_TRUE(words::possible("terminate", "enforce", "fused"));
  EXPECT_TRUE(words::possible("terminate", "observe", "exempted"));
}

}  // namespace
}  // namespace pgleash::metrics
