#pragma once

#include "metrics/catalogue.hpp"

#include <prometheus/metric_family.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

namespace pgleash::metrics {

/// The series of one scrape, filed under the metrics of the catalogue: name, help, type and label
/// names come from there, label values are cleaned here, so that whatever is added can be parsed.
/// The caller adds each series once.
class Families {
 public:
  using Labels = std::initializer_list<std::string_view>;  ///< in the catalogue's order

  Families();
  /// A gauge or counter, as the catalogue says.
  void add(Metric metric, Labels labels, double value);
  void add(Metric metric, Labels labels, std::uint64_t value) {
    add(metric, labels, static_cast<double>(value));
  }
  /// `buckets` are not cumulative and have one more element than `bounds`, for +Inf.
  void add_histogram(Metric metric, Labels labels, std::span<const double> bounds,
                     std::span<const std::uint64_t> buckets, double sum);

  /// In the catalogue's order, without the metrics that have no series.
  [[nodiscard]] std::vector<prometheus::MetricFamily> take() &&;

 private:
  prometheus::ClientMetric& append(Metric metric, Labels labels);

  std::array<prometheus::MetricFamily, metric_count> families_;
};

}  // namespace pgleash::metrics
