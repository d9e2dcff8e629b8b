#include "watchdog/cost_meter.hpp"

#include "proxy/kill_order.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace pgleash::watchdog {

using config::RuleKind;

namespace {

bool runs(const protocol::SessionFacts& facts) noexcept {
  return facts.outstanding > 0 || facts.segment_open;
}

bool same_request(const protocol::ActivityMark& a, const protocol::ActivityMark& b) noexcept {
  return proxy::same_activity(proxy::JudgedCounter::request, a, b);
}

const ProcessReading* find(const std::optional<SessionProcesses>& among,
                           const ProcessReading& process) {
  if (!among) return nullptr;
  for (const ProcessReading& one : among->processes) {
    if (one.pid == process.pid && one.start_ticks == process.start_ticks) return &one;
  }
  return nullptr;
}

std::uint64_t rate(std::uint64_t amount, Duration during) {
  const double seconds = std::chrono::duration<double>(during).count();
  return static_cast<std::uint64_t>(static_cast<double>(amount) / seconds);
}

/// The rows of one sample, found by pid.
struct ServerRows {
  explicit ServerRows(const ServerCostSample* from) : sample(from) {
    if (sample == nullptr) return;
    for (const ServerCost& row : sample->rows) {
      if (row.leader) {
        workers.emplace(static_cast<std::int32_t>(*row.leader), &row);
      } else {
        backends.emplace(static_cast<std::int32_t>(row.backend.pid), &row);
      }
    }
  }
  [[nodiscard]] const ServerCost* of(const SessionEntry& entry) const {
    if (!entry.backend) return nullptr;
    const auto found = backends.find(static_cast<std::int32_t>(entry.backend->pid));
    return found != backends.end() && found->second->backend == *entry.backend ? found->second
                                                                               : nullptr;
  }
  /// Of the backend and its workers.
  [[nodiscard]] std::uint64_t temp_bytes(const ServerCost& backend) const {
    std::uint64_t sum = backend.temp_bytes;
    const auto [from, to] = workers.equal_range(static_cast<std::int32_t>(backend.backend.pid));
    for (auto worker = from; worker != to; ++worker) sum += worker->second->temp_bytes;
    return sum;
  }
  [[nodiscard]] std::uint64_t worker_count(const ServerCost& backend) const {
    return workers.count(static_cast<std::int32_t>(backend.backend.pid));
  }

  const ServerCostSample* sample;
  std::unordered_map<std::int32_t, const ServerCost*> backends;
  std::unordered_multimap<std::int32_t, const ServerCost*> workers;
};

void server_into(Costs& costs, const ServerCost& row, const ServerRows& rows) {
  const ServerCostSample& sample = *rows.sample;
  if (sample.measured.temp_bytes)
    costs.set(RuleKind::temp_bytes, rows.temp_bytes(row), sample.taken);
  if (sample.measured.xmin_age) costs.set(RuleKind::xmin_age, row.xmin_age, sample.taken);
  if (sample.measured.locks) costs.set(RuleKind::locks, row.locks, sample.taken);
  if (sample.measured.workers && sample.knows_workers)
    costs.set(RuleKind::parallel_workers, rows.worker_count(row), sample.taken);
}

}  // namespace

/// What processes used between two readings of them.
struct CostMeter::Used {
  Duration cpu{};
  std::uint64_t read = 0;
  std::uint64_t written = 0;

  static Used between(const std::optional<SessionProcesses>& before, const SessionProcesses& now) {
    Used used;
    for (std::size_t i = 0; i < now.processes.size(); ++i) {
      const ProcessReading& process = now.processes[i];
      const ProcessReading* known = find(before, process);
      if (known == nullptr && i == 0) continue;  // the backend: nobody knows what it had used
      const auto grown = [](const std::optional<std::uint64_t>& later,
                            const std::optional<std::uint64_t>& earlier) {
        return later ? *later - std::min(*later, earlier.value_or(0)) : 0;
      };
      used.cpu += process.cpu - (known ? known->cpu : Duration{});
      used.read += grown(process.read, known ? known->read : std::nullopt);
      used.written += grown(process.written, known ? known->written : std::nullopt);
    }
    return used;
  }
};

void CostMeter::read(const SessionEntry& entry, SessionProcesses reading) {
  if (reading.processes.empty()) return;
  Meter& meter = meters_[proxy::number(entry.view.id)];
  meter.fresh = std::move(reading);
  meter.read_mark = entry.view.facts.mark;
}

bool CostMeter::worth_reading(const SessionEntry& entry) const {
  const auto known = meters_.find(proxy::number(entry.view.id));
  if (known == meters_.end()) return true;
  const Meter& meter = known->second;
  if (meter.fresh) return false;
  return !meter.newest || runs(entry.view.facts) || meter.read_mark != entry.view.facts.mark;
}

std::optional<Instant> CostMeter::last_read(proxy::SessionId session) const {
  const auto known = meters_.find(proxy::number(session));
  if (known == meters_.end()) return std::nullopt;
  if (known->second.fresh) return known->second.fresh->taken;
  return known->second.newest ? std::optional{known->second.newest->taken} : std::nullopt;
}

ApplicationCost& CostMeter::application(const SessionEntry& entry) {
  const std::string& name = entry.view.who->application;
  const auto known = applications_.find(name);
  if (known != applications_.end()) return known->second;
  return applications_[applications_.size() < max_applications ? name : "other"];
}

/// The reading was made between the view before this one and this one.
void CostMeter::take_in(Meter& meter, const SessionEntry& entry) {
  const auto& facts = entry.view.facts;
  SessionProcesses reading = *std::exchange(meter.fresh, std::nullopt);
  const Used used = Used::between(meter.newest, reading);
  application(entry).cpu += used.cpu;
  if (runs(facts) && reading.asked >= facts.request_since) {
    if (!meter.begun) {
      // Its first reading: what the backend did before is not known, what its workers did is.
      Used by_workers = Used::between(std::nullopt, reading);
      meter.begun = true;
      meter.cpu = by_workers.cpu;
      meter.read = by_workers.read;
      meter.written = by_workers.written;
      meter.window = {reading.taken, meter.cpu, meter.read, meter.written};
    } else {
      meter.cpu += used.cpu;
      meter.read += used.read;
      meter.written += used.written;
      const Duration length = reading.taken - meter.window.from;
      if (length >= shortest_window) {
        const Window& from = meter.window;
        const auto percent = 100 * std::chrono::duration<double>(meter.cpu - from.cpu).count() /
                             std::chrono::duration<double>(length).count();
        meter.cpu_share = Measure{static_cast<std::uint64_t>(percent), reading.taken};
        if (reading.processes.front().read) {
          meter.read_rate = Measure{rate(meter.read - from.read, length), reading.taken};
          meter.write_rate = Measure{rate(meter.written - from.written, length), reading.taken};
        }
        meter.window = {reading.taken, meter.cpu, meter.read, meter.written};
      }
    }
  }
  meter.newest = std::move(reading);
}

void CostMeter::processes_into(Costs& costs, const Meter& meter) const {
  if (!meter.begun || !meter.newest) return;
  const SessionProcesses& newest = *meter.newest;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(meter.cpu).count();
  costs.set(RuleKind::cpu_time, static_cast<std::uint64_t>(std::max<std::int64_t>(ms, 0)),
            newest.taken);
  std::uint64_t memory = 0;
  bool all = true;
  for (const ProcessReading& process : newest.processes) {
    all = all && process.anonymous;
    memory += process.anonymous.value_or(0);
  }
  if (all) costs.set(RuleKind::memory, memory, newest.taken);
  const auto set = [&costs](RuleKind kind, const std::optional<Measure>& measure) {
    if (measure) costs.set(kind, measure->value, measure->at);
  };
  set(RuleKind::cpu_share, meter.cpu_share);
  set(RuleKind::read_rate, meter.read_rate);
  set(RuleKind::write_rate, meter.write_rate);
}

void CostMeter::fill(Snapshot& snapshot, const ServerCostSample* server) {
  const ServerRows rows{server};
  for (auto& [name, cost] : applications_) cost.largest_memory = cost.temp_bytes = 0;
  std::unordered_set<std::uint64_t> present;
  if (!meters_.empty()) present.reserve(snapshot.sessions.size());
  for (SessionEntry& entry : snapshot.sessions) {
    const auto& facts = entry.view.facts;
    const auto known = meters_.find(proxy::number(entry.view.id));
    Meter* meter = known == meters_.end() ? nullptr : &known->second;
    if (meter != nullptr) {
      present.insert(known->first);
      if (!same_request(meter->mark, facts.mark)) {
        Meter next;
        next.fresh = std::move(meter->fresh);
        next.newest = std::move(meter->newest);
        next.read_mark = meter->read_mark;
        next.mark = facts.mark;
        *meter = std::move(next);
      }
      if (meter->fresh) take_in(*meter, entry);
      if (meter->newest) {
        std::uint64_t memory = 0;
        for (const auto& process : meter->newest->processes)
          memory += process.anonymous.value_or(0);
        auto& largest = application(entry).largest_memory;
        largest = std::max(largest, memory);
      }
    }
    const ServerCost* row = rows.of(entry);
    if (row != nullptr && server->measured.temp_bytes)
      application(entry).temp_bytes += rows.temp_bytes(*row);
    const bool of_this_request = row != nullptr && server->asked >= facts.request_since;
    if (!runs(facts) || (!of_this_request && (meter == nullptr || !meter->begun))) continue;
    auto costs = std::make_shared<Costs>();
    if (of_this_request) server_into(*costs, *row, rows);
    if (meter != nullptr) processes_into(*costs, *meter);
    entry.costs = std::move(costs);
  }
  std::erase_if(meters_, [&](const auto& item) { return !present.contains(item.first); });
}

}  // namespace pgleash::watchdog
