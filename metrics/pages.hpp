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
  std::string policy = {};  ///< Content-Security-Policy; empty: nothing may be loaded or run
};

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

[[nodiscard]] Reply plain_reply(unsigned status, std::string text);

/// The path of `/x`, `/x?y` and `http://host/x`: a server must take the absolute form as well.
[[nodiscard]] std::string_view path_of(std::string_view target) noexcept;
/// "localhost", "127.x.y.z" or "[::1]", with or without a port.
[[nodiscard]] bool is_loopback_host(std::string_view host) noexcept;

}  // namespace pgleash::metrics
