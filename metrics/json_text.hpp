#pragma once

#include "metrics/labels.hpp"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::metrics {

/// A name as a JSON string, whatever bytes it has: clean_label() leaves valid UTF-8 without control
/// characters.
[[nodiscard]] inline std::string json_text(std::string_view value) {
  std::string quoted{'"'};
  for (const char c : clean_label(value)) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

[[nodiscard]] inline std::string json_seconds(std::optional<Duration> duration) {
  return duration ? fmt::format("{:.3f}", std::chrono::duration<double>(*duration).count())
                  : std::string{"null"};
}

}  // namespace pgleash::metrics
