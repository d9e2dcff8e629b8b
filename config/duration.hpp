#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::config {

/// Reads "90s", "1h30m", "250ms", "2d". Units: ms s m h d. No sign, no space, no bare number, not
/// zero, at least 25 ms. On failure `why` says what is wrong and what to write.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text,
                                                                      std::string& why);
/// The shortest such text: 90s is "1m30s".
[[nodiscard]] std::string format_duration(std::chrono::milliseconds duration);

}  // namespace pgleash::config
