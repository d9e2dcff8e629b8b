#pragma once

#include "config/fault.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// A TOML document as a plain tree with positions. The one place that knows the TOML library is
/// document.cpp.
namespace pgleash::config {

/// From 1; columns count characters, not bytes. 0: unknown.
struct Place {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  auto operator<=>(const Place&) const = default;
};

struct Entry;

struct Value {
  enum class Type : std::uint8_t { string, integer, floating, boolean, time, list, table };
  Type type = Type::table;
  Place place;
  std::string text;  ///< of a string
  std::int64_t integer = 0;
  bool boolean = false;
  std::vector<Value> items;    ///< of a list
  std::vector<Entry> entries;  ///< of a table, in file order

  [[nodiscard]] const Entry* find(std::string_view key) const noexcept;
  /// Whether it is a list of nothing but tables, as [[name]] makes it.
  [[nodiscard]] bool is_table_list() const noexcept;
  /// "a string", "a whole number", ...
  [[nodiscard]] std::string_view type_name() const noexcept;
};

struct Entry {
  std::string key;
  Place place;
  Value value;
};

/// Where and why a text is no TOML; a parser finds one such fault only.
struct SyntaxFault {
  Place place;
  Fault fault;
};

[[nodiscard]] std::variant<Value, SyntaxFault> parse_document(std::string_view text);

}  // namespace pgleash::config
