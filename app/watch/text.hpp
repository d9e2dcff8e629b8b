#pragma once

#include "protocol/types.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// Text for a terminal's cells, whatever bytes a client put into its names. Pure.
namespace pgleash::app {

/// One line, safe on any terminal: control characters (C1 too, which start escape sequences as ESC
/// does), marks that turn or hide text, and bytes that are no UTF-8 are shown as `\x1b` or
/// `\u{202e}`; line ends and tabs become one space.
[[nodiscard]] std::string safe_line(std::string_view text);

/// Columns that a terminal gives to safe text: none to combining marks, two to wide characters.
[[nodiscard]] std::size_t columns_of(std::string_view safe) noexcept;

/// Safe text made exactly `width` columns: cut with `…` at the end, or padded.
[[nodiscard]] std::string fit(std::string_view safe, std::size_t width, bool align_right = false);
/// Cut with `…`, never padded.
[[nodiscard]] std::string cut(std::string_view safe, std::size_t width);

/// "0.4s", "12s", "5m03s", "2h05m", "3d04h": five or six columns.
[[nodiscard]] std::string short_age(Duration age);
/// The same; "-" for none.
[[nodiscard]] std::string short_age(const std::optional<Duration>& age);

}  // namespace pgleash::app
