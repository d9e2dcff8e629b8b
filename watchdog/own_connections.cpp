#include "watchdog/own_connections.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace pgleash::watchdog {

InstanceMark::InstanceMark(std::uint32_t number) : name_(fmt::format("pgleash {:08x}", number)) {}

bool is_name_of_a_subcommand(std::string_view application_name) noexcept {
  constexpr std::array names{watch_name, record_name, check_name};
  return std::find(names.begin(), names.end(), application_name) != names.end();
}

bool OwnConnections::knows(const ActivityRow& row, std::span<const protocol::BackendPid> pids) {
  if (row.application_name != name_ ||
      std::find(pids.begin(), pids.end(), row.backend.pid) == pids.end())
    return false;
  addresses_.insert(row.client_addr);
  return true;
}

bool OwnConnections::bears_our_name(const ActivityRow& row) const {
  return row.application_name == name_ && addresses_.contains(row.client_addr);
}

}  // namespace pgleash::watchdog
