#pragma once

#include "app/console/sql_error.hpp"
#include "app/console/statement.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

/// Conditions, order and limits over the rows of a view. Pure.
namespace pgleash::console {

/// What values may refer to.
struct Scope {
  std::string user;
  std::string database;
  watchdog::ServerTime now;
  std::vector<std::optional<std::string>> parameters;  ///< in text format
};

/// The value as a cell of that type. 22P02 for text that is none, 22003 for what is too large.
[[nodiscard]] Outcome<Cell> evaluate(const Value& value, Type type, const Scope& scope);

/// A condition with its values filled in: whether a row of the view satisfies it. SQL's logic: what
/// compares with NULL is neither true nor false, and does not satisfy. Regular expressions are RE2,
/// which takes linear time whatever it is given; 2201B for a faulty one.
using Predicate = std::function<bool(const Row&)>;
[[nodiscard]] Outcome<Predicate> compile(const Condition& condition, View view, const Scope& scope);

/// The columns that the query's result has.
[[nodiscard]] std::vector<Column> result_columns(const Query& query);
/// Of rows that have all of the view's columns.
[[nodiscard]] Outcome<Table> run(const Query& query, std::vector<Row> rows, const Scope& scope);

}  // namespace pgleash::console
