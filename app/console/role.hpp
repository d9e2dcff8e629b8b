#pragma once

#include "config/config.hpp"

#include <cstdint>
#include <string_view>

namespace pgleash::console {

/// What somebody may do. Each role may do what those before it may.
enum class Role : std::uint8_t { none, viewer, op, admin };
[[nodiscard]] std::string_view name(Role role) noexcept;

/// The highest that the user is listed with. Names are compared as they are, byte by byte.
[[nodiscard]] Role role_of(const config::Console& console, std::string_view user) noexcept;

}  // namespace pgleash::console
