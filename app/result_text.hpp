#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <string>
#include <vector>

/// A result as text. `columns`: which, in that order; none: all.
namespace pgleash::app {

/// Aligned, with a header; lines are cut at `width`.
[[nodiscard]] std::string result_table(const PGresult* result, std::vector<int> columns,
                                       std::size_t width);
/// A header and a line for each row, tabs between.
[[nodiscard]] std::string result_lines(const PGresult* result, std::vector<int> columns);
/// An array of objects with all columns; numbers and booleans bare, but 64-bit ones as text.
[[nodiscard]] std::string result_json(const PGresult* result);

}  // namespace pgleash::app
