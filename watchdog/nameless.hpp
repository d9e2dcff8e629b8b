#pragma once

#include "watchdog/activity.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Sessions that say nothing of which application they belong to. Pure.
namespace pgleash::watchdog {

/// A driver, or a guess at one, and what gives its sessions a name.
struct Nameless {
  std::string said;  ///< application_name as it is: empty, or the driver's default
  std::uint32_t sessions = 0;
  std::vector<std::string> users;  ///< user@database of some, to find them by
  std::string remedy;              ///< the one line, for the likely driver
};

/// What gives sessions with that application_name a name; empty: it is a name already.
[[nodiscard]] std::string_view naming_remedy(std::string_view application_name) noexcept;

/// The client backends without a name, by what they say instead, the most first. Superusers' and
/// people's tools (psql) have names of their own.
[[nodiscard]] std::vector<Nameless> nameless_sessions(std::span<const SharedRow> rows);

}  // namespace pgleash::watchdog
