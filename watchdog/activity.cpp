#include "watchdog/activity.hpp"

namespace pgleash::watchdog {

std::string_view failover_between(const ServerIdentity& before,
                                  const ServerIdentity& after) noexcept {
  const auto differ = [](auto a, auto b) {
    return a != decltype(a){} && b != decltype(b){} && a != b;
  };
  if (differ(before.system_identifier, after.system_identifier)) return "another system identifier";
  if (differ(before.started, after.started)) return "the server was started anew";
  if (differ(before.timeline, after.timeline)) return "another timeline";
  if (before.in_recovery != after.in_recovery) return "the end of recovery";
  return {};
}

}  // namespace pgleash::watchdog
