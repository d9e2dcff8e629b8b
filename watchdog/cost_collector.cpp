#include "watchdog/cost_collector.hpp"

#include "config/measure.hpp"
#include "watchdog/clock.hpp"
#include "watchdog/cost_query.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace pgleash::watchdog {

using config::RuleKind;
using namespace std::chrono_literals;

namespace {

constexpr Duration first_retry = 1s;
constexpr Duration last_retry = 30s;
/// A server that moved to another host is not found here any more.
constexpr Duration finding_lives = 60s;

bool runs(const SessionEntry& entry) noexcept {
  return entry.view.facts.outstanding > 0 || entry.view.facts.segment_open;
}

bool agree(Duration a, Duration b) noexcept {
  return a - b <= CostCollector::age_tolerance && b - a <= CostCollector::age_tolerance;
}

}  // namespace

CostCollector::CostCollector(const config::Server& server, const std::vector<config::Rule>& rules,
                             ProcReader processes)
    : interval_(server.monitor.poll_interval),
      monitor_configured_(server.monitor.enabled),
      sampler_(server.monitor.poll_interval),
      processes_(std::move(processes)) {
  set_rules(rules);
}

void CostCollector::set_rules(const std::vector<config::Rule>& rules) {
  needs_ = CostNeeds::of(rules);
  sampler_.set_needs(needs_);
}

void CostCollector::fill(Snapshot& snapshot) {
  if (needs_ == CostNeeds{}) return;
  meter_.fill(snapshot, sampler_.latest());
}

// ---------------------------------------------------------------- processes of this host

bool CostCollector::due(const SessionEntry& entry, Instant now) const {
  if (!entry.backend || !entry.row || entry.view.ending) return false;
  if (entry.mapping != Mapping::confirmed && entry.mapping != Mapping::by_port) return false;
  if (entry.row->backend != *entry.backend) return false;
  const auto known = known_.find(proxy::number(entry.view.id));
  if (known != known_.end() && !known->second.start_ticks && now < known->second.retry)
    return false;
  const auto last = meter_.last_read(entry.view.id);
  return (!last || now - *last >= interval_) && meter_.worth_reading(entry);
}

bool CostCollector::is_backend(const SessionEntry& entry,
                               const ProcReader::Identity& process) const {
  const ActivityRow& row = *entry.row;
  const auto& who = *entry.view.who;
  const Duration age = row.backend_age + (watchdog::now() - entry.row_taken);
  return agree(process.age, age) &&
         title_names_session(process.cmdline, who.user, who.database, row.client_port);
}

std::optional<std::uint64_t> CostCollector::identify(const SessionEntry& entry, Instant now) {
  Known& known = known_[proxy::number(entry.view.id)];
  if (known.start_ticks) return known.start_ticks;
  const auto process = processes_.identify(entry.backend->pid);
  if (process && is_backend(entry, *process)) {
    known.start_ticks = process->start_ticks;
    last_found_ = now;
    return known.start_ticks;
  }
  known.pause = std::clamp(known.pause * 2, first_retry, last_retry);
  known.retry = now + known.pause;
  last_missed_ = now;
  return std::nullopt;
}

/// Those that the server named in a sample that was begun within the request; nothing when there is
/// no such sample, though there could be.
std::optional<std::vector<CostCollector::Worker>> CostCollector::workers_of(
    const SessionEntry& entry) const {
  std::vector<Worker> workers;
  const ServerCostSample* sample = sampler_.latest();
  if (!runs(entry)) return workers;
  if (sample == nullptr || sample->asked < entry.view.facts.request_since) return std::nullopt;
  if (!sample->knows_workers) return workers;
  for (const ServerCost& row : sample->rows) {
    if (row.leader == entry.backend->pid) workers.push_back({row.backend.pid, row.age});
  }
  return workers;
}

void CostCollector::read(const SessionEntry& entry) {
  const auto workers = workers_of(entry);
  if (!workers) return;
  SessionProcesses found;
  found.asked = watchdog::now();
  const auto start_ticks = identify(entry, found.asked);
  if (!start_ticks) return;
  auto backend = processes_.read(entry.backend->pid, *start_ticks, needs_.io);
  if (!backend) {
    // It is gone, or it never was the one: the session's end will tell.
    known_.erase(proxy::number(entry.view.id));
    return;
  }
  last_found_ = found.asked;
  if (needs_.io) io_denied_ = backend->denied;
  found.processes.push_back(backend->reading);
  const ServerCostSample* sample = sampler_.latest();
  for (const Worker& worker : *workers) {
    const auto process = processes_.identify(worker.pid);
    const Duration age = worker.age + (watchdog::now() - sample->taken);
    if (!process || !title_names_worker(process->cmdline, entry.backend->pid) ||
        !agree(process->age, age))
      continue;  // it has ended since
    if (const auto read = processes_.read(worker.pid, process->start_ticks, needs_.io))
      found.processes.push_back(read->reading);
  }
  found.taken = watchdog::now();
  meter_.read(entry, std::move(found));
}

void CostCollector::read_processes(const Snapshot& snapshot) {
  if (!needs_.processes) return;
  const Instant started = watchdog::now();
  std::vector<const SessionEntry*> turn;
  std::unordered_set<std::uint64_t> present;
  for (const SessionEntry& entry : snapshot.sessions) {
    present.insert(proxy::number(entry.view.id));
    if (due(entry, started)) turn.push_back(&entry);
  }
  std::erase_if(known_, [&](const auto& item) { return !present.contains(item.first); });
  std::sort(turn.begin(), turn.end(), [this](const SessionEntry* a, const SessionEntry* b) {
    if (runs(*a) != runs(*b)) return runs(*a);
    return meter_.last_read(a->view.id) < meter_.last_read(b->view.id);  // never: before all others
  });
  for (const SessionEntry* entry : turn) {
    read(*entry);
    if (watchdog::now() - started > round_time) break;
  }
}

// ---------------------------------------------------------------- what cannot be known

NoData CostCollector::no_data(RuleKind kind, bool monitor_up) const {
  if (!config::is_cost(kind) || kind == RuleKind::sent_bytes || kind == RuleKind::rows)
    return NoData::none;
  if (kind == RuleKind::wal) return NoData::server_version;
  if (!monitor_configured_ || !monitor_up) return NoData::no_monitor;
  if (sampler_.denied()) return NoData::not_permitted;
  const int version = sampler_.server_version();
  if (kind == RuleKind::parallel_workers && version != 0 && !knows_workers(version))
    return NoData::server_version;
  switch (kind) {
    case RuleKind::cpu_time:
    case RuleKind::cpu_share:
    case RuleKind::memory:
    case RuleKind::read_rate:
    case RuleKind::write_rate:
      break;
    default:
      return NoData::none;
  }
  if (last_missed_ && (!last_found_ || *last_missed_ - *last_found_ > finding_lives))
    return NoData::not_this_host;
  const bool io = kind == RuleKind::read_rate || kind == RuleKind::write_rate;
  return io && io_denied_ ? NoData::not_permitted : NoData::none;
}

}  // namespace pgleash::watchdog
