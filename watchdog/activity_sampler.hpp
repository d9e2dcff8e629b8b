#pragma once

#include "config/config.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/activity_query.hpp"
#include "watchdog/cost_sampler.hpp"
#include "watchdog/lock_sampler.hpp"
#include "watchdog/own_connections.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/sampling_pace.hpp"
#include "watchdog/server_clock.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// How the monitor fares.
struct MonitorState {
  bool up = false;      ///< the last sample came, and shows all sessions
  std::string problem;  ///< what is wrong and what to do, in one line; empty when up
  std::string
      advice;  ///< up, but something else will not work: a GRANT that lacks; empty when all is well
  std::uint64_t logins = 0;   ///< that succeeded, with the rights that it takes
  std::uint64_t samples = 0;  ///< taken so far; moves when latest() is a new one
  std::optional<std::chrono::system_clock::time_point> last_success;
};

/// What a sampler is for.
struct SamplerOptions {
  std::string application_name = "pgleash";  ///< of its connection, and of those of also_ours()
  /// It only looks: a superuser may, and a role that sees no more than its own sessions sees those
  /// and the names of the others (rows without a backend_start); advice then says so. Nothing is
  /// said of rights to end anybody.
  bool only_looks = false;
  bool last_statements = false;  ///< the last statement of idle sessions too, and more of each
  /// Called after each round, when all that was due has been asked or something failed. May call
  /// the sampler; must not block.
  std::function<void()> round_over = {};
};

/// Samples pg_stat_get_activity over one standing connection, all client backends at each poll.
///
/// Control thread. Reconnects by itself with back-off; a rule that needs the view sees the newest
/// sample and its age. A role that may not see other roles' sessions, or one that is a superuser,
/// is a problem and gives no samples. A sample that takes longer than 100 ms halves the rate.
/// Source: "Monitoring Database Activity", The Cumulative Statistics System; "Predefined Roles".
class ActivitySampler {
 public:
  /// The problem before the first attempt to connect has ended.
  static constexpr const char* not_tried = "not connected yet";

  /// `observe` hears how long each sample took, from the question to the last row.
  ActivitySampler(boost::asio::any_io_executor executor, const config::Server& server,
                  std::function<void(Duration)> observe = {}, SamplerOptions options = {});

  /// Ends after stop(). The sampler must outlive it.
  Task<void> run();
  void stop();

  /// Null until there is one; an older one stays when the monitor goes down. Valid until the
  /// control thread's next turn.
  [[nodiscard]] const ActivitySample* latest() const noexcept {
    return latest_ ? &*latest_ : nullptr;
  }
  [[nodiscard]] const MonitorState& state() const noexcept { return state_; }
  /// Another connection of this watchdog, asked for at each sample: it is no session of anybody.
  void also_ours(std::function<std::optional<protocol::BackendPid>()> pid) {
    also_ours_.push_back(std::move(pid));
  }
  /// Asked after a sample whenever it is due, on the same connection. Outlives the sampler.
  void also_ask(CostSampler& costs) noexcept { costs_ = &costs; }
  /// Whether somebody waits to know who holds advisory locks (see LockSampler).
  void want_advisory(bool wanted) noexcept { locks_.want_advisory(wanted); }

 private:
  struct Role {
    std::string name;
    bool superuser = false;
  };

  Task<std::string> connect();
  Task<std::string> read_settings(Instant deadline);
  Task<std::string> check_rights(Instant deadline);
  Task<std::string> read_identity(Instant deadline);
  Task<std::string> sample();
  Task<std::string> learn_names(const std::vector<SeenBackend>& backends, Instant deadline);
  Task<std::string> learn(std::string sql, std::vector<std::uint32_t> oids, Instant deadline,
                          std::function<void(const PgRows&, int)> keep);
  Task<void> poll();
  Task<void> pause(Duration length);
  [[nodiscard]] ActivityRow named(SeenBackend seen) const;
  void sort_out_ours(std::vector<SeenBackend>& backends);
  void reckon_ages(SeenActivity& seen, Instant asked, Instant answered);
  [[nodiscard]] Instant statement_deadline() const;
  void failed(std::string problem);

  config::Server server_;
  SamplerOptions options_;
  OwnConnections own_;
  std::function<void(Duration)> observe_;
  std::vector<std::function<std::optional<protocol::BackendPid>()>> also_ours_;
  CostSampler* costs_ = nullptr;
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer pause_;
  std::unique_ptr<PgConnection> connection_;
  SamplingPace pace_;
  LockSampler locks_;
  std::minstd_rand random_;
  std::unordered_map<std::uint32_t, Role> roles_;
  std::unordered_map<std::uint32_t, std::string> databases_;
  std::optional<ActivitySample> latest_;
  MonitorState state_;
  ServerIdentity identity_;
  ServerClock clock_;
  ServerTime clock_of_;  ///< the life of the server whose clock it is
  Instant identity_read_{};
  bool control_data_ = true;  ///< what pg_controldata shows may be read here
  Instant rights_checked_{};
  Instant names_learnt_{};
  std::uint32_t max_connections_ = 0;
  std::uint32_t reserved_connections_ = 0;
  bool synchronous_replication_ = true;
  bool stopping_ = false;
};

}  // namespace pgleash::watchdog
