#pragma once

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

[[nodiscard]] Reply plain_reply(unsigned status, std::string text);

/// The path of `/x`, `/x?y` and `http://host/x`: a server must take the absolute form as well.
[[nodiscard]] std::string_view path_of(std::string_view target) noexcept;
/// "localhost", "127.x.y.z" or "[::1]", with or without a port.
[[nodiscard]] bool is_loopback_host(std::string_view host) noexcept;

}  // namespace pgleash::metrics
