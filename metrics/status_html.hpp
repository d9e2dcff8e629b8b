#pragma once

#include <string_view>

namespace pgleash::metrics {

/// The status page, metrics/status.html, which travels inside the program. Each style and script
/// has the attribute nonce="NONCE", to be filled in at each request.
extern const std::string_view status_html;

}  // namespace pgleash::metrics
