#pragma once

#include "config/config.hpp"
#include "metrics/closed_sets.hpp"
#include "protocol/types.hpp"
#include "proxy/counters.hpp"
#include "watchdog/explain.hpp"
#include "watchdog/recent_actions.hpp"
#include "watchdog/status.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::metrics {

struct BuildInfo {
  std::string version;
  std::string revision;  ///< of the source; "unknown" when it was not built from a repository
};

/// What became of the configuration since the start.
struct ReloadFacts {
  bool last_successful = true;  ///< the load at start-up counts
  std::chrono::system_clock::time_point last_success{};
  std::uint64_t successes = 0;  ///< reloads, the load at start-up left out
  std::uint64_t failures = 0;
};

/// One listener's, or one server's, counters: a pointer for each worker, valid during the call.
template <class Counters>
struct WorkerCounters {
  std::string name;
  std::vector<const Counters*> workers;
};

struct Heartbeat {
  std::string worker;   ///< "worker 3"
  Instant last_turn{};  ///< its event loop turned then; at least once a second, idle or not
};

/// The journal of server legs.
struct JournalFacts {
  bool up = false;
  std::uint64_t unrecorded = 0;
};

/// Of one webhook.
struct NotificationFacts {
  std::string sink;
  std::array<std::uint64_t, words::notification_results.size()> results{};
  std::uint64_t queued = 0;
};

/// Whether new sessions are taken, and what is not as it should be although they are.
struct Readiness {
  bool accepting = false;
  std::string why_not;                ///< "draining"; one line
  std::vector<std::string> degraded;  ///< one line each; states of the monitor are added from the
                                      ///< statuses. Shown to anybody: no secrets
};

/// Where metrics and pages take everything from. Implemented by the application; called on the
/// control thread, at each scrape; must not wait for anybody.
class MetricsSource {
 public:
  virtual ~MetricsSource() = default;
  [[nodiscard]] virtual const BuildInfo& build() const = 0;
  [[nodiscard]] virtual std::chrono::system_clock::time_point started() const = 0;
  /// The configuration in force: rules, mode and limits.
  [[nodiscard]] virtual std::shared_ptr<const config::Config> config() const = 0;
  [[nodiscard]] virtual ReloadFacts reloads() const = 0;
  /// One a server, never null.
  [[nodiscard]] virtual std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> statuses()
      const = 0;
  [[nodiscard]] virtual std::vector<WorkerCounters<proxy::ListenerCounters>> listeners() const = 0;
  [[nodiscard]] virtual std::vector<WorkerCounters<proxy::ServerCounters>> servers() const = 0;
  [[nodiscard]] virtual std::vector<Heartbeat> heartbeats() const = 0;
  /// One a worker, valid during the call.
  [[nodiscard]] virtual std::vector<const proxy::LagCounts*> loop_lags() const = 0;
  [[nodiscard]] virtual Readiness readiness() const = 0;
  /// Why a session is judged as it is; empty: there is none of that number.
  [[nodiscard]] virtual std::optional<watchdog::SessionExplanation> explain(
      proxy::SessionId /*session*/) const {
    return std::nullopt;
  }
  /// One a server, in the order of statuses(); valid during the call.
  [[nodiscard]] virtual std::vector<const watchdog::RecentActions*> recent_actions() const {
    return {};
  }
  /// By name of the quota.
  [[nodiscard]] virtual std::map<std::string, proxy::QuotaUse> quotas() const { return {}; }
  [[nodiscard]] virtual std::vector<NotificationFacts> notifications() const { return {}; }
  /// Nothing: it is off.
  [[nodiscard]] virtual std::optional<JournalFacts> journal() const { return std::nullopt; }
};

}  // namespace pgleash::metrics
