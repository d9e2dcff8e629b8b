#pragma once

#include "metrics/families.hpp"
#include "metrics/metrics_source.hpp"
#include "metrics/snapshot_collectable.hpp"

#include <prometheus/metric_family.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace pgleash::metrics {

/// Makes one scrape of everything: the source's facts, the workers' counters summed, and the
/// snapshots. Control thread.
class Collector {
 public:
  /// A text this young is given again. The endpoint may be open to many, and who scrapes in a loop
  /// must not take the control thread away from the watchdog.
  static constexpr Duration text_lifetime = std::chrono::milliseconds{100};

  /// `source` outlives the collector.
  explicit Collector(const MetricsSource& source);

  [[nodiscard]] std::vector<prometheus::MetricFamily> collect(Instant now);
  /// The same in Prometheus' text format 0.0.4. Throws std::bad_alloc only.
  [[nodiscard]] std::shared_ptr<const std::string> text(Instant now);

 private:
  void collect_process(const config::Config& config, Families& out) const;
  void collect_listeners(Families& out) const;
  void collect_servers(Families& out);
  void collect_applications(const WorkerCounters<proxy::ServerCounters>& server, Families& out);
  void collect_lag(Families& out) const;

  const MetricsSource& source_;
  SnapshotCollectable snapshots_;
  FirstComeLabel charged_applications_;
  std::shared_ptr<const std::string> text_;
  Instant text_made_{};
};

}  // namespace pgleash::metrics
