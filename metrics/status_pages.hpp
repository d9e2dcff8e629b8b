#pragma once

#include "metrics/metrics_source.hpp"
#include "metrics/pages.hpp"

#include <string_view>

namespace pgleash::metrics {

/// What people read: the status page `/`, and `/api/…` that it is made of (docs/status-page.md).
/// They name users, applications and addresses, so they are served on loopback, to requests whose
/// Host is loopback: HttpLimits::loopback_host_only. Read-only. No sockets here. Control thread.
class StatusPages {
 public:
  /// `source` outlives the pages.
  explicit StatusPages(const MetricsSource& source) : source_(source) {}

  /// `target` as in the request line. 404 for what is not here, 400 for what lacks a number.
  [[nodiscard]] Reply get(std::string_view target, Instant now) const;

 private:
  [[nodiscard]] Reply explain(std::string_view target) const;
  [[nodiscard]] Reply incident(std::string_view id) const;
  [[nodiscard]] Reply actions() const;

  const MetricsSource& source_;
};

}  // namespace pgleash::metrics
