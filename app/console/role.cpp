#include "app/console/role.hpp"

#include <algorithm>

namespace pgleash::console {

std::string_view name(Role role) noexcept {
  switch (role) {
    case Role::none:
      return "none";
    case Role::viewer:
      return "viewer";
    case Role::op:
      return "operator";
    case Role::admin:
      break;
  }
  return "admin";
}

Role role_of(const config::Console& console, std::string_view user) noexcept {
  const auto listed = [user](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), user) != names.end();
  };
  if (listed(console.admins)) return Role::admin;
  if (listed(console.operators)) return Role::op;
  return listed(console.viewers) ? Role::viewer : Role::none;
}

}  // namespace pgleash::console
