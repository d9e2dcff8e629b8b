#include "watchdog/cost_sampler.hpp"

#include "watchdog/clock.hpp"
#include "watchdog/cost_query.hpp"

#include <utility>

namespace pgleash::watchdog {

Task<void> CostSampler::sample(PgConnection& connection, Instant deadline) {
  ServerCostSample sample;
  sample.measured = needs_;
  version_ = connection.server_version();
  sample.knows_workers = knows_workers(version_);
  std::string sql = cost_sql(needs_, version_);
  sample.asked = now();
  const auto rows = co_await connection.query(std::move(sql), {}, deadline);
  sample.taken = now();
  pace_.took(sample.taken - sample.asked);
  next_ = sample.asked + pace_.interval();
  denied_ = !rows && rows.error().sqlstate == "42501";
  if (!rows) {
    problem_ = rows.error().message;
    co_return;
  }
  problem_.clear();
  sample.rows = decode_costs(*rows);
  latest_ = std::move(sample);
}

}  // namespace pgleash::watchdog
