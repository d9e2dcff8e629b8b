#include "watchdog/cost.hpp"

namespace pgleash::watchdog {

using config::RuleKind;

std::string_view name(NoData why) noexcept {
  switch (why) {
    case NoData::no_monitor:
      return "no_monitor";
    case NoData::server_version:
      return "server_version";
    case NoData::not_this_host:
      return "not_this_host";
    case NoData::not_permitted:
      return "not_permitted";
    case NoData::none:
      break;
  }
  return "none";
}

CostNeeds CostNeeds::of(const std::vector<config::Rule>& rules) noexcept {
  CostNeeds needs;
  for (const config::Rule& rule : rules) {
    switch (rule.kind) {
      case RuleKind::temp_bytes:
        needs.temp_bytes = needs.workers = true;
        break;
      case RuleKind::xmin_age:
        needs.xmin_age = true;
        break;
      case RuleKind::locks:
        needs.locks = true;
        break;
      case RuleKind::parallel_workers:
        needs.workers = true;
        break;
      case RuleKind::cpu_time:
      case RuleKind::cpu_share:
      case RuleKind::memory:
        needs.processes = needs.workers = true;
        break;
      case RuleKind::read_rate:
      case RuleKind::write_rate:
        needs.processes = needs.workers = needs.io = true;
        break;
      case RuleKind::wal:
        needs.wal = true;
        break;
      default:
        break;
    }
  }
  return needs;
}

}  // namespace pgleash::watchdog
