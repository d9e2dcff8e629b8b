#pragma once

#include "metrics/labels.hpp"
#include "watchdog/utf8.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
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

/// A longer text, a statement, as a JSON string: cut off after so many bytes, line ends are blanks.
[[nodiscard]] inline std::string json_prose(std::string_view value, std::size_t most = 2048) {
  std::string quoted{'"'};
  for (const char c : watchdog::valid_utf8(value.substr(0, most))) {
    if (c == '"' || c == '\\') quoted += '\\';
    const bool control = (c >= 0 && c < 0x20) || c == 0x7F;
    quoted += control ? ' ' : c;
  }
  return quoted + '"';
}

[[nodiscard]] inline std::string json_seconds(std::optional<Duration> duration) {
  return duration ? fmt::format("{:.3f}", std::chrono::duration<double>(*duration).count())
                  : std::string{"null"};
}

}  // namespace pgleash::metrics
