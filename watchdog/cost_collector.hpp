#pragma once

#include "config/config.hpp"
#include "watchdog/cost_meter.hpp"
#include "watchdog/cost_sampler.hpp"
#include "watchdog/proc_reader.hpp"

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// All that one server's rules of cost are judged by, from the server and from /proc. Control
/// thread.
///
/// A process is believed to be a session's backend only when its title names the session's user,
/// database and port, and it is as old as the server says that the backend is; a parallel worker
/// when its title names that backend, and its age agrees too. Anything else is somebody else's
/// process, of this host or of another one's numbering, and gives no data.
class CostCollector {
 public:
  /// How much two ages of one process may differ: they are taken by two clocks, one after the
  /// other.
  static constexpr Duration age_tolerance = std::chrono::seconds{2};
  /// Time for one round of reading, so that a judgement is never late because of it. What is left
  /// over is read at the next.
  static constexpr Duration round_time = std::chrono::milliseconds{5};

  CostCollector(const config::Server& server, const std::vector<config::Rule>& rules,
                ProcReader processes = ProcReader{});

  void set_rules(const std::vector<config::Rule>& rules);
  /// For whoever has the connection.
  [[nodiscard]] CostSampler& sampler() noexcept { return sampler_; }

  /// Puts what is known into the entries of a snapshot that was just joined.
  void fill(Snapshot& snapshot);
  /// Reads processes of that snapshot's sessions whose turn it is: those with a running request
  /// first, and who waits longest first. For the next fill().
  void read_processes(const Snapshot& snapshot);

  /// Why there is nothing to judge by for rules of that kind.
  [[nodiscard]] NoData no_data(config::RuleKind kind, bool monitor_up) const;
  [[nodiscard]] const CostNeeds& needs() const noexcept { return needs_; }
  [[nodiscard]] const ApplicationCosts& applications() const noexcept {
    return meter_.applications();
  }

 private:
  /// What was found out about a session's backend process.
  struct Known {
    std::optional<std::uint64_t> start_ticks;  ///< it is this one; absent: none of this host
    Instant retry{};                           ///< when to look again for one that was not found
    Duration pause{};
  };
  struct Worker {
    protocol::BackendPid pid;
    Duration age;  ///< when `taken`
  };

  [[nodiscard]] bool due(const SessionEntry& entry, Instant now) const;
  [[nodiscard]] std::optional<std::uint64_t> identify(const SessionEntry& entry, Instant now);
  [[nodiscard]] bool is_backend(const SessionEntry& entry,
                                const ProcReader::Identity& process) const;
  void read(const SessionEntry& entry);
  [[nodiscard]] std::optional<std::vector<Worker>> workers_of(const SessionEntry& entry) const;

  Duration interval_;
  bool monitor_configured_;
  CostNeeds needs_;
  CostSampler sampler_;
  CostMeter meter_;
  ProcReader processes_;
  std::unordered_map<std::uint64_t, Known> known_;
  std::optional<Instant> last_found_;   ///< a backend's process
  std::optional<Instant> last_missed_;  ///< one that should have been there, and was not
  bool io_denied_ = false;
};

}  // namespace pgleash::watchdog
