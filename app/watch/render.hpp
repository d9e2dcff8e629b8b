#pragma once

#include "app/watch/view.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace pgleash::app {

struct Layout {
  std::size_t width = 0;   ///< columns; 0: as wide as it gets
  std::size_t height = 0;  ///< lines; 0: all of them
  bool colour = false;
};

/// The view as lines of text, none wider than the layout, no more of them than it has. Without
/// colour there is no escape sequence in them, whatever a client calls itself. Pure.
[[nodiscard]] std::vector<std::string> render(const WatchView& view, const Layout& layout);

/// The same as one JSON object in one line. Ages in seconds; texts are valid UTF-8.
[[nodiscard]] std::string render_json(const WatchView& view);

/// "2026-11-25T21:40:12Z".
[[nodiscard]] std::string utc(std::chrono::system_clock::time_point when);

}  // namespace pgleash::app
