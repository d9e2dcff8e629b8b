#include "metrics/collector.hpp"

#include "metrics/closed_sets.hpp"
#include "metrics/process_usage.hpp"

#include <prometheus/text_serializer.h>

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <utility>

namespace pgleash::metrics {
namespace {

double unix_seconds(std::chrono::system_clock::time_point at) {
  return std::chrono::duration<double>{at.time_since_epoch()}.count();
}

/// Sum over the workers of the one counter that `pick` finds in each.
template <class Counters, class Pick>
std::uint64_t sum(const WorkerCounters<Counters>& of, Pick pick) {
  std::uint64_t total = 0;
  for (const Counters* worker : of.workers) {
    total += pick(*worker).get();
  }
  return total;
}

using ServerWorkers = WorkerCounters<proxy::ServerCounters>;

/// Worker after worker, each with its own part.
struct Cost {
  std::uint64_t sent_bytes = 0;
  std::uint64_t idle_in_transaction = 0;  ///< microseconds, as the next
  std::uint64_t stalled = 0;
};

double to_seconds(std::uint64_t microseconds) {
  return static_cast<double>(microseconds) / 1e6;
}

void add_duration(Metric metric, const ServerWorkers& server,
                  proxy::HistogramCounts proxy::ServerCounters::*histogram, Families& out) {
  std::array<std::uint64_t, proxy::duration_bounds.size() + 1> buckets{};
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    buckets[i] = sum(server, [&](const auto& worker) -> const proxy::Count& {
      return (worker.*histogram).buckets[i];
    });
  }
  const auto microseconds = sum(server, [&](const auto& worker) -> const proxy::Count& {
    return (worker.*histogram).sum_microseconds;
  });
  out.add_histogram(metric, {server.name}, proxy::duration_bounds, buckets,
                    to_seconds(microseconds));
}

void add_cancels(const ServerWorkers& server, Families& out) {
  for (std::size_t origin = 0; origin < words::cancel_origins.size(); ++origin) {
    for (std::size_t result = 0; result < words::cancel_results.size(); ++result) {
      if (!words::possible_cancel(words::cancel_origins[origin], words::cancel_results[result]))
        continue;
      const auto value = sum(server, [&](const auto& worker) -> const proxy::Count& {
        return worker.cancels[origin][result];
      });
      out.add(Metric::cancel_requests,
              {server.name, words::cancel_origins[origin], words::cancel_results[result]}, value);
    }
  }
}

/// A counter with one label of a closed set beside the server.
template <std::size_t N>
void add_by_word(Metric metric, const ServerWorkers& server, const words::Words<N>& set,
                 std::array<proxy::Count, N> proxy::ServerCounters::*counts, Families& out) {
  for (std::size_t i = 0; i < N; ++i) {
    const auto value =
        sum(server, [&](const auto& worker) -> const proxy::Count& { return (worker.*counts)[i]; });
    out.add(metric, {server.name, set[i]}, value);
  }
}

void add_single(Metric metric, Families::Labels labels, const ServerWorkers& server,
                proxy::Count proxy::ServerCounters::*count, Families& out) {
  out.add(metric, labels,
          sum(server, [&](const auto& worker) -> const proxy::Count& { return worker.*count; }));
}

}  // namespace

Collector::Collector(const MetricsSource& source)
    : source_(source),
      snapshots_(source.config()->metrics.max_applications),
      charged_applications_(source.config()->metrics.max_applications) {}

std::vector<prometheus::MetricFamily> Collector::collect(Instant now) {
  Families out;
  const auto config = source_.config();
  collect_process(*config, out);
  collect_listeners(out);
  collect_servers(out);
  collect_lag(out);
  for (const auto& server : config->servers) {
    out.add(Metric::sessions_limit, {server.name, words::limit_scopes[0]},
            std::uint64_t{config->process.max_sessions});
  }
  snapshots_.collect(source_.statuses(), *config, now, out);
  return std::move(out).take();
}

std::shared_ptr<const std::string> Collector::text(Instant now) {
  if (!text_ || now - text_made_ >= text_lifetime) {
    std::ostringstream out;
    prometheus::TextSerializer{}.Serialize(out, collect(now));
    text_ = std::make_shared<const std::string>(std::move(out).str());
    text_made_ = now;
  }
  return text_;
}

void Collector::collect_process(const config::Config& config, Families& out) const {
  const BuildInfo& build = source_.build();
  out.add(Metric::build_info, {build.version, build.revision}, 1.0);
  out.add(Metric::start_time, {}, unix_seconds(source_.started()));

  const ProcessUsage usage = read_process_usage();
  out.add(Metric::process_cpu, {}, usage.cpu_seconds);
  const auto add_known = [&](Metric metric, const std::optional<std::uint64_t>& value) {
    if (value) {
      out.add(metric, {}, *value);
    }
  };
  add_known(Metric::process_resident_memory, usage.resident_bytes);
  add_known(Metric::process_open_fds, usage.open_fds);
  add_known(Metric::process_max_fds, usage.max_fds);

  if (const auto journal = source_.journal()) {
    out.add(Metric::journal_up, {}, journal->up ? 1.0 : 0.0);
    out.add(Metric::journal_unrecorded, {}, journal->unrecorded);
  }

  for (const NotificationFacts& one : source_.notifications()) {
    for (std::size_t i = 0; i < one.results.size(); ++i)
      out.add(Metric::notifications, {one.sink, words::notification_results[i]}, one.results[i]);
    out.add(Metric::notification_queue, {one.sink}, one.queued);
  }
  for (const auto& [name, use] : source_.quotas()) {
    out.add(Metric::quota_sessions, {name}, std::uint64_t{use.most});
    if (use.limit > 0) out.add(Metric::quota_sessions_limit, {name}, std::uint64_t{use.limit});
    out.add(Metric::quota_refused, {name}, use.refused);
  }

  const ReloadFacts reloads = source_.reloads();
  out.add(Metric::config_last_reload_successful, {}, reloads.last_successful ? 1.0 : 0.0);
  out.add(Metric::config_last_reload_success_timestamp, {}, unix_seconds(reloads.last_success));
  out.add(Metric::config_reloads, {words::reload_results[0]}, reloads.successes);
  out.add(Metric::config_reloads, {words::reload_results[1]}, reloads.failures);

  for (const config::Mode mode : {config::Mode::observe, config::Mode::enforce}) {
    out.add(Metric::enforcement_mode, {words::modes[static_cast<std::size_t>(mode)]},
            mode == config.enforcement.mode ? 1.0 : 0.0);
  }
}

void Collector::collect_listeners(Families& out) const {
  for (const auto& listener : source_.listeners()) {
    for (std::size_t result = 0; result < words::accept_results.size(); ++result) {
      const auto value = sum(listener, [&](const auto& worker) -> const proxy::Count& {
        return worker.connections[result];
      });
      out.add(Metric::client_connections, {listener.name, words::accept_results[result]}, value);
    }
  }
}

void Collector::collect_applications(const ServerWorkers& server, Families& out) {
  std::map<std::string, Cost> costs;
  for (const proxy::ServerCounters* worker : server.workers) {
    for (const auto& application : worker->applications.all()) {
      Cost& cost = costs[charged_applications_.label(application->name)];
      cost.sent_bytes += application->sent_bytes.get();
      cost.idle_in_transaction += application->idle_in_transaction_microseconds.get();
      cost.stalled += application->stalled_microseconds.get();
    }
  }
  for (const auto& [label, cost] : costs) {
    out.add(Metric::idle_in_transaction, {server.name, label},
            to_seconds(cost.idle_in_transaction));
    out.add(Metric::client_stalled, {server.name, label}, to_seconds(cost.stalled));
    out.add(Metric::sent_bytes, {server.name, label}, cost.sent_bytes);
  }
}

void Collector::collect_lag(Families& out) const {
  std::array<std::uint64_t, proxy::lag_bounds.size() + 1> buckets{};
  std::uint64_t microseconds = 0;
  for (const proxy::LagCounts* worker : source_.loop_lags()) {
    for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i] += worker->buckets[i].get();
    microseconds += worker->sum_microseconds.get();
  }
  out.add_histogram(Metric::event_loop_lag, {}, proxy::lag_bounds, buckets,
                    to_seconds(microseconds));
}

void Collector::collect_servers(Families& out) {
  using Counters = proxy::ServerCounters;
  for (const auto& server : source_.servers()) {
    out.add(Metric::silent_clients, {server.name},
            sum(server, [](const auto& worker) -> const proxy::Level& { return worker.untold; }));
    add_duration(Metric::session_duration, server, &Counters::session_duration, out);
    add_duration(Metric::statement_duration, server, &Counters::statement_duration, out);
    add_duration(Metric::transaction_duration, server, &Counters::transaction_duration, out);
    add_by_word(Metric::session_ends, server, words::end_causes, &Counters::ends, out);
    add_single(Metric::relay_bytes, {server.name, words::directions[0]}, server,
               &Counters::bytes_to_backend, out);
    add_single(Metric::relay_bytes, {server.name, words::directions[1]}, server,
               &Counters::bytes_to_frontend, out);
    collect_applications(server, out);
    add_cancels(server, out);
    add_duration(Metric::cancel_duration, server, &Counters::cancel_duration, out);
    out.add(Metric::cancel_queue_length, {server.name},
            sum(server,
                [](const auto& worker) -> const proxy::Level& { return worker.cancels_waiting; }));
    add_by_word(Metric::server_errors, server, words::sqlstate_classes, &Counters::server_errors,
                out);
    add_single(Metric::tracker_anomalies, {server.name}, server, &Counters::anomalies, out);
  }
}

}  // namespace pgleash::metrics
