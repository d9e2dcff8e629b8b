#pragma once

#include "app/console/sql_error.hpp"
#include "app/console/statement.hpp"

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace pgleash::console {

inline constexpr std::size_t max_statement = 16 * 1024;  ///< bytes of a text
inline constexpr std::size_t max_depth = 32;             ///< of parentheses and NOT
inline constexpr std::size_t max_parameters = 64;

/// The statements of a text, separated by semicolons; none for an empty one. Pure. Errors carry
/// PostgreSQL's code and the character they are about: 42601 for what cannot be read, 42703 for a
/// column that is none, 0A000 for SQL that only a database answers, 54000 and 54001 for what is too
/// long or too deep. A text that is refused is refused whole.
[[nodiscard]] Outcome<std::vector<Statement>> parse(std::string_view text);

/// "10m", "90s", "1 hour", "5 minutes", "2 days 3 hours", "00:05:00": nothing when it is none of
/// these, or longer than a thousand years.
[[nodiscard]] std::optional<Span> parse_span(std::string_view text);

}  // namespace pgleash::console
