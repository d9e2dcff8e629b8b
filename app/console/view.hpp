#pragma once

#include "app/console/table.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace pgleash::console {

/// What can be looked at: SHOW SESSIONS, or SELECT … FROM sessions.
enum class View : std::uint8_t {
  sessions,  ///< pg_stat_activity too
  rules,
  actions,
  leaks,
  blocking,
  fuses,
  servers,
  config,
  version,
  help,
};

/// By its name in lower case.
[[nodiscard]] std::optional<View> view_named(std::string_view name) noexcept;
[[nodiscard]] std::string_view name(View view) noexcept;
/// Its columns; those of `sessions` begin with all of pg_stat_activity's, in their order.
[[nodiscard]] std::span<const Column> columns_of(View view) noexcept;
/// Where in the view; nothing: it has no such column.
[[nodiscard]] std::optional<std::size_t> column_of(View view, std::string_view name) noexcept;

}  // namespace pgleash::console
