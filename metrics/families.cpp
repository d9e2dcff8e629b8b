#include "metrics/families.hpp"

#include "metrics/labels.hpp"

#include <cassert>
#include <limits>
#include <string>
#include <utility>

namespace pgleash::metrics {

Families::Families() {
  for (const MetricSpec& metric : catalogue()) {
    auto& family = families_[static_cast<std::size_t>(metric.id)];
    family.name = metric.name;
    family.help = metric.help;
    family.type = metric.type;
  }
}

prometheus::ClientMetric& Families::append(Metric metric, Labels labels) {
  const auto names = spec(metric).labels;
  assert(names.size() == labels.size());
  auto& series = families_[static_cast<std::size_t>(metric)].metric.emplace_back();
  series.label.reserve(labels.size());
  auto name = names.begin();
  for (const std::string_view value : labels) {
    series.label.push_back({std::string{name->name}, clean_label(value)});
    ++name;
  }
  return series;
}

void Families::add(Metric metric, Labels labels, double value) {
  auto& series = append(metric, labels);
  assert(spec(metric).type != prometheus::MetricType::Histogram);
  if (spec(metric).type == prometheus::MetricType::Counter) {
    series.counter.value = value;
  } else {
    series.gauge.value = value;
  }
}

void Families::add_histogram(Metric metric, Labels labels, std::span<const double> bounds,
                             std::span<const std::uint64_t> buckets, double sum) {
  assert(spec(metric).type == prometheus::MetricType::Histogram);
  assert(buckets.size() == bounds.size() + 1);
  auto& histogram = append(metric, labels).histogram;
  histogram.bucket.reserve(buckets.size());
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    cumulative += buckets[i];
    const double bound = i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({cumulative, bound});
  }
  // The count is the sum of the buckets, not a counter of its own: buckets are read one by one
  // while their thread goes on counting, and the two would not agree.
  histogram.sample_count = cumulative;
  histogram.sample_sum = sum;
}

std::vector<prometheus::MetricFamily> Families::take() && {
  std::vector<prometheus::MetricFamily> taken;
  taken.reserve(families_.size());
  for (auto& family : families_) {
    if (!family.metric.empty()) {
      taken.push_back(std::move(family));
    }
  }
  return taken;
}

}  // namespace pgleash::metrics
