#pragma once

#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// The text with each byte that belongs to no well-formed UTF-8 character replaced by U+FFFD.
[[nodiscard]] std::string valid_utf8(std::string_view text);

}  // namespace pgleash::watchdog
