#include "proxy/in_band_step.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pgleash::proxy {
namespace {

using protocol::SessionState;

struct Row {
  SessionState state;
  InBandStep terminate;
  InBandStep cancel;
};

/// The first column of PRODUCT.md's kill ladder.
const std::vector<Row> ladder{
    {SessionState::starting, InBandStep::none, InBandStep::none},
    {SessionState::idle, InBandStep::end_waiting, InBandStep::none},
    {SessionState::idle_in_transaction, InBandStep::end_waiting, InBandStep::none},
    {SessionState::aborted, InBandStep::end_waiting, InBandStep::none},
    {SessionState::busy, InBandStep::reset_then_cancel, InBandStep::cancel},
    {SessionState::fastpath, InBandStep::reset_then_cancel, InBandStep::cancel},
    {SessionState::pipeline_flushed, InBandStep::end_waiting, InBandStep::none},
    {SessionState::pipeline_open, InBandStep::reset_then_cancel, InBandStep::cancel},
    {SessionState::pipeline_failed, InBandStep::end_waiting, InBandStep::none},
    {SessionState::copy_in, InBandStep::end_copy_in, InBandStep::none},
    {SessionState::copy_out, InBandStep::reset_then_cancel, InBandStep::cancel},
    {SessionState::copy_both, InBandStep::none, InBandStep::none},
    {SessionState::closing, InBandStep::none, InBandStep::none},
};

TEST(InBandStep, FollowsTheLadderInEveryState) {
  for (const Row& row : ladder) {
    EXPECT_EQ(first_step(KillAction::terminate, row.state, false, true), row.terminate)
        << protocol::name(row.state);
    EXPECT_EQ(first_step(KillAction::cancel, row.state, false, true), row.cancel)
        << protocol::name(row.state);
  }
}

TEST(InBandStep, ResetsAStalledReaderWhateverTheServerDoes) {
  for (const SessionState state : {SessionState::busy, SessionState::copy_out, SessionState::idle})
    EXPECT_EQ(first_step(KillAction::terminate, state, true, true), InBandStep::reset_stalled);
}

TEST(InBandStep, NeverWritesBehindAHalfMessage) {
  for (const Row& row : ladder) {
    if (!waits_for_client(row.state)) continue;
    EXPECT_EQ(first_step(KillAction::terminate, row.state, false, false),
              InBandStep::reset_stalled);
  }
}

TEST(InBandStep, NeverTouchesAReplicationStream) {
  for (const bool stalled : {false, true})
    EXPECT_EQ(first_step(KillAction::terminate, SessionState::copy_both, stalled, true),
              InBandStep::none);
}

TEST(InBandStep, AStateEitherWaitsForTheClientOrMayWorkOrIsOutOfReach) {
  for (const Row& row : ladder)
    EXPECT_FALSE(waits_for_client(row.state) && server_may_work(row.state));
}

}  // namespace
}  // namespace pgleash::proxy
