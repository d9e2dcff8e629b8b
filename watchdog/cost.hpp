#pragma once

#include "config/config.hpp"
#include "protocol/types.hpp"
#include "watchdog/activity.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What running statements cost: values only, from wherever they were measured.
namespace pgleash::watchdog {

/// In the unit of its kind (config/measure.hpp).
struct Measure {
  std::uint64_t value = 0;
  Instant at{};  ///< when it was taken, our clock
};

/// What is known of one running request: each measure was begun and taken while it ran. Absent:
/// nobody can tell.
class Costs {
 public:
  [[nodiscard]] const std::optional<Measure>& of(config::RuleKind kind) const {
    return measures_.at(index(kind));
  }
  void set(config::RuleKind kind, std::uint64_t value, Instant at) {
    measures_.at(index(kind)) = Measure{value, at};
  }

 private:
  static constexpr std::size_t first = static_cast<std::size_t>(config::RuleKind::sent_bytes);
  static constexpr std::size_t index(config::RuleKind kind) noexcept {
    return static_cast<std::size_t>(kind) - first;
  }
  std::array<std::optional<Measure>, static_cast<std::size_t>(config::RuleKind::wal) - first + 1>
      measures_;
};

/// Why a kind of cost cannot be judged at all on a server.
enum class NoData : std::uint8_t {
  none,            ///< there is data, or will be
  no_monitor,      ///< none is configured, or it is down
  server_version,  ///< this version of PostgreSQL does not tell
  not_this_host,   ///< no process here is one of the server's backends
  not_permitted,   ///< the role, or this process, may not look
};
[[nodiscard]] std::string_view name(NoData why) noexcept;

/// What the rules want measured; what nobody wants costs nothing.
struct CostNeeds {
  bool temp_bytes = false;
  bool xmin_age = false;
  bool locks = false;
  bool workers = false;  ///< whose parallel workers there are: for their count, files and processes
  bool wal = false;
  bool processes = false;  ///< CPU and memory
  bool io = false;

  [[nodiscard]] static CostNeeds of(const std::vector<config::Rule>& rules) noexcept;
  /// Whether the server is to be asked.
  [[nodiscard]] bool server() const noexcept { return temp_bytes || xmin_age || locks || workers; }
  bool operator==(const CostNeeds&) const = default;
};

/// What the server says of one backend or parallel worker.
struct ServerCost {
  BackendId backend;
  std::optional<protocol::BackendPid> leader;  ///< of a parallel worker
  Duration age{};                              ///< of the process, by the server's clock
  std::uint64_t temp_bytes = 0;                ///< its own files
  std::uint64_t xmin_age = 0;                  ///< transactions; 0: holds nothing back
  std::uint64_t locks = 0;
};

struct ServerCostSample {
  Instant asked{};  ///< the statement was sent not before
  Instant taken{};  ///< and answered not after
  CostNeeds measured;
  bool knows_workers = false;  ///< PostgreSQL 13 or newer
  std::vector<ServerCost> rows;
};

/// One process as the kernel shows it, at one moment; since its start.
struct ProcessReading {
  protocol::BackendPid pid{};
  std::uint64_t start_ticks = 0;  ///< since the boot: with the pid the identity of a process
  Duration cpu{};
  std::optional<std::uint64_t> anonymous;  ///< bytes of memory of its own
  std::optional<std::uint64_t> read;       ///< bytes from storage
  std::optional<std::uint64_t> written;    ///< bytes to storage
};

/// A session's backend and its parallel workers, read one after the other; the backend first.
struct SessionProcesses {
  Instant asked{};
  Instant taken{};
  std::vector<ProcessReading> processes;
};

/// Sums for metrics, of what was measured.
struct ApplicationCost {
  Duration cpu{};                    ///< since the start, sessions that are gone included
  std::uint64_t largest_memory = 0;  ///< anonymous, of one session now
  std::uint64_t temp_bytes = 0;      ///< now
};
using ApplicationCosts = std::map<std::string, ApplicationCost>;

}  // namespace pgleash::watchdog
