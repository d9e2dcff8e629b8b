#include "watchdog/lock_sampler.hpp"

#include "watchdog/clock.hpp"
#include "watchdog/lock_query.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {

using namespace std::chrono_literals;

LockSampler::LockSampler(Duration poll_interval, Duration statement_timeout)
    : patience_(std::min(poll_interval, longest_patience)),
      statement_timeout_(statement_timeout),
      waits_pace_(poll_interval),
      advisory_pace_(poll_interval) {}

void LockSampler::reset() {
  waits_due_ = advisory_due_ = horizon_due_ = {};
  first_seen_.clear();
}

Task<void> LockSampler::sample(PgConnection& connection, ActivitySample& newest) {
  co_await sample_waits(connection, newest);
  if (!connection.alive()) co_return;
  co_await sample_advisory(connection, newest);
  if (!connection.alive()) co_return;
  co_await sample_horizon(connection, newest);
}

Task<void> LockSampler::sample_waits(PgConnection& connection, ActivitySample& newest) {
  const bool somebody_waits = std::ranges::any_of(newest.rows, [this](const ActivityRow& row) {
    return row.wait_event_type == "Lock" && row.state_age >= patience_;
  });
  if (!somebody_waits) {
    newest.locks = LockSample{newest.taken, {}, {}};
    first_seen_.clear();
    co_return;
  }
  const auto started = watchdog::now();
  if (started < waits_due_) co_return;  // the answer before stays, with its age

  const auto rows =
      co_await connection.query(waits_sql(connection.server_version()), {}, deadline());
  bool whole = static_cast<bool>(rows);
  LockSample sample;
  if (whole) {
    sample = decode_waits(*rows);
    whole = co_await walk(connection, sample);
  }
  const auto taken = watchdog::now();
  waits_pace_.took(taken - started);
  waits_due_ = started + waits_pace_.interval();
  if (!whole) {
    newest.locks.reset();
    co_return;
  }
  remember_starts(sample, newest.server_now);
  sample.taken = taken;
  newest.locks = std::move(sample);
}

/// Towards the roots: asks about those that are in the way and wait themselves. False: no answer.
Task<bool> LockSampler::walk(PgConnection& connection, LockSample& sample) {
  for (int round = 0; round < max_rounds; ++round) {
    const auto pids = still_to_ask(sample);
    if (pids.empty()) break;
    std::vector<std::int32_t> numbers;
    for (const auto pid : pids) numbers.push_back(static_cast<std::int32_t>(pid));
    PgParameters parameters;
    parameters.add_text(fmt::format("{{{}}}", fmt::join(numbers, ",")));
    const auto rows = co_await connection.query(blockers_sql, std::move(parameters), deadline());
    if (!rows) co_return false;
    decode_blockers(*rows, sample);
  }
  const bool prepared = std::ranges::any_of(sample.waits, &LockWait::behind_prepared);
  if (!prepared) co_return true;
  const auto rows = co_await connection.query(prepared_holders_sql, {}, deadline());
  if (!rows) co_return false;
  sample.prepared = decode_prepared_holders(*rows);
  co_return true;
}

/// Where the server does not say since when it is, since we saw it: too late rather than too early.
void LockSampler::remember_starts(LockSample& sample, ServerTime now) {
  std::map<std::pair<std::int32_t, std::string>, ServerTime> seen;
  for (LockWait& wait : sample.waits) {
    if (wait.since != ServerTime{}) continue;
    std::pair<std::int32_t, std::string> key{static_cast<std::int32_t>(wait.pid), wait.tag};
    const auto before = first_seen_.find(key);
    wait.since = before == first_seen_.end() ? now : before->second;
    wait.waited = std::chrono::microseconds{
        std::max<std::int64_t>(0, now.microseconds - wait.since.microseconds)};
    seen.emplace(std::move(key), wait.since);
  }
  first_seen_ = std::move(seen);
}

Task<void> LockSampler::sample_advisory(PgConnection& connection, ActivitySample& newest) {
  const auto started = watchdog::now();
  if (!want_advisory_ || started < advisory_due_) co_return;
  const auto rows = co_await connection.query(advisory_sql, {}, deadline());
  advisory_pace_.took(watchdog::now() - started);
  advisory_due_ = started + advisory_pace_.interval();
  newest.advisory.reset();
  if (!rows) co_return;
  newest.advisory = decode_advisory(*rows);
  // The answer tells of the moment when it was asked for, or a later one.
  newest.advisory->taken = started;
}

Task<void> LockSampler::sample_horizon(PgConnection& connection, ActivitySample& newest) {
  const auto started = watchdog::now();
  if (started < horizon_due_) co_return;
  horizon_due_ = started + horizon_interval;
  const auto rows = co_await connection.query(horizon_sql, {}, deadline());
  newest.horizon.reset();
  if (rows) newest.horizon = decode_horizon(*rows);
}

/// Behind the server's own statement_timeout, which leaves the connection whole.
Instant LockSampler::deadline() const {
  return watchdog::now() + statement_timeout_ + 1s;
}

}  // namespace pgleash::watchdog
