#pragma once

#include "watchdog/locks.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// What the console answers with: typed columns and rows. Values only.
namespace pgleash::console {

/// PostgreSQL's types that columns may have.
enum class Type : std::uint8_t {
  boolean,
  int4,
  int8,
  float8,
  oid,
  xid,
  text,
  name,
  inet,
  timestamp,  ///< timestamptz
  interval,
};
/// Its number in pg_type.
[[nodiscard]] std::uint32_t oid_of(Type type) noexcept;
/// typlen: negative for what varies.
[[nodiscard]] std::int16_t size_of(Type type) noexcept;
[[nodiscard]] std::string_view name(Type type) noexcept;
/// int4 to xid.
[[nodiscard]] constexpr bool is_number(Type type) noexcept {
  return type >= Type::int4 && type <= Type::xid;
}

struct Column {
  std::string name;
  Type type = Type::text;
  bool operator==(const Column&) const = default;
};

struct Null {
  auto operator<=>(const Null&) const = default;
};
/// A length of time as PostgreSQL's interval of nothing but microseconds.
struct Span {
  std::int64_t microseconds = 0;
  auto operator<=>(const Span&) const = default;
};

/// Of a column's type: bool; int64 for int4, int8, oid and xid; double; ServerTime; Span; else
/// text, which is UTF-8 without NUL once it was cleaned().
using Cell =
    std::variant<Null, bool, std::int64_t, double, std::string, watchdog::ServerTime, Span>;
using Row = std::vector<Cell>;

[[nodiscard]] inline bool is_null(const Cell& cell) noexcept {
  return std::holds_alternative<Null>(cell);
}
/// Empty means that nothing is known: NULL.
[[nodiscard]] Cell text_or_null(std::string_view text);
[[nodiscard]] Cell text(std::string_view text);
/// Text that is safe on any terminal and in any driver: valid UTF-8, control characters but line
/// end and tab escaped, NUL dropped.
[[nodiscard]] std::string cleaned(std::string_view text);
/// As psql shows it: PostgreSQL's text format. Not for Null.
[[nodiscard]] std::string to_text(const Cell& cell, Type type);

struct Table {
  std::vector<Column> columns;
  std::vector<Row> rows;
};

}  // namespace pgleash::console
