#include "watchdog/leak_status.hpp"

#include <algorithm>

namespace pgleash::watchdog {

bool uses_up(const LeakReport& report, const QuotaForecast& quota) {
  switch (quota.key) {
    case config::QuotaKey::application:
      return quota.holder == report.leak.group.application;
    case config::QuotaKey::user:
      return quota.holder == report.leak.group.user;
    case config::QuotaKey::database:
      return quota.holder == report.leak.group.database;
    case config::QuotaKey::address:
      break;
  }
  return std::ranges::any_of(report.addresses,
                             [&](const auto& address) { return address.first == quota.holder; });
}

}  // namespace pgleash::watchdog
