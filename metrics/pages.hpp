#pragma once

#include "metrics/collector.hpp"
#include "metrics/metrics_source.hpp"
#include "metrics/reply.hpp"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace pgleash::metrics {

/// What machines read: /metrics, /healthz, /readyz and an index, with nothing secret in them. What
/// names users, applications and addresses is in StatusPages.
/// No sockets here: a target in, a reply out. Control thread.
class Pages {
 public:
  /// A worker whose loop has not turned for that long hangs.
  static constexpr Duration heartbeat_limit = std::chrono::seconds{5};

  /// `source` outlives the pages.
  explicit Pages(const MetricsSource& source);

  /// `target` as in the request line; query and fragment are ignored. 404 for what is not here.
  [[nodiscard]] Reply get(std::string_view target, Instant now);

 private:
  [[nodiscard]] Reply health(Instant now) const;
  [[nodiscard]] Reply readiness() const;
  [[nodiscard]] Reply index() const;

  const MetricsSource& source_;
  Collector collector_;
};

}  // namespace pgleash::metrics
