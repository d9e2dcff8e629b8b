#pragma once

#include "metrics/collector.hpp"
#include "metrics/metrics_source.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace pgleash::metrics {

/// What a request is answered with. The body is shared, as a scrape's is given to several.
struct Reply {
  unsigned status = 200;
  std::string_view content_type;
  std::shared_ptr<const std::string> body;
};

/// The read-only pages: /metrics, /healthz, /readyz and an index, with nothing secret in them; and
/// /api/sessions and /api/explain, which name users, applications and addresses, and are there only
/// where the pages are served on loopback, and for a Host that is loopback too: a page of elsewhere
/// whose name was made to point here (DNS rebinding) gets nothing.
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
  [[nodiscard]] Reply explain(std::string_view target) const;
  [[nodiscard]] Reply sessions() const;
  [[nodiscard]] Reply index() const;

  const MetricsSource& source_;
  Collector collector_;
};

[[nodiscard]] Reply plain_reply(unsigned status, std::string text);

/// Whether a target names users and the like, so that the request's Host has to be loopback.
[[nodiscard]] bool is_private(std::string_view target) noexcept;
/// "localhost", "127.x.y.z" or "[::1]", with or without a port.
[[nodiscard]] bool is_loopback_host(std::string_view host) noexcept;

}  // namespace pgleash::metrics
