#pragma once

#include "app/config_watch.hpp"
#include "app/console/console.hpp"
#include "app/event_log.hpp"
#include "app/log/log.hpp"
#include "app/notify/webhooks.hpp"
#include "app/role_secrets.hpp"
#include "app/service_manager.hpp"
#include "config/config.hpp"
#include "metrics/http_server.hpp"
#include "metrics/metrics_source.hpp"
#include "metrics/pages.hpp"
#include "metrics/status_pages.hpp"
#include "proxy/proxy.hpp"
#include "watchdog/audit_log.hpp"
#include "watchdog/watchdog.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::app {

/// The whole program: wires the parts, runs the control thread, ends in order. Construction binds
/// every port and opens every file, so that what is wrong with them stops the start; what the
/// server says is found out while running.
class Application final : private metrics::MetricsSource, private console::Host {
 public:
  /// `file` is what a reload reads again; empty: there is none. Throws std::exception whose text
  /// says what to do.
  explicit Application(config::Config config, std::string file = {});
  ~Application() override;
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  /// See EventLog::when_first_advised. Before run().
  void when_first_advised(EventLog::FirstAdvice told) {
    events_.when_first_advised(std::move(told));
  }

  /// Serves until SIGTERM or SIGINT, drains, and returns the exit status. A second signal ends at
  /// once.
  int run();

 private:
  watchdog::Task<void> live();
  watchdog::Task<void> wind_down(bool patient);
  void on_signal();
  void raise_descriptor_limit();
  /// Takes the changed file over (empty), or leaves all as it is and says why.
  std::string reload();
  std::string take_changes();
  std::string refuse_reload(const std::vector<config::Diagnostic>& faults);
  void watch_config();
  /// Renewed certificates are taken without a reload of anything else: no hold-off, no rehearsal.
  void watch_certificates();
  void reload_certificates();
  [[nodiscard]] std::string service_status() const;
  void set_kill_switch(bool paused, std::string_view who);
  void open_console();
  void serve_status_page();
  /// Every second, for as long as the program runs.
  void tell_left_out();

  std::vector<watchdog::Watchdog*> watchdogs() override;
  watchdog::AuditLog* audit() override { return audit_.get(); }
  Build build_facts() const override { return {build_.version, build_.revision, started_}; }
  void set_paused(bool paused, std::string_view who) override { set_kill_switch(paused, who); }
  std::string reload_for(std::string_view who) override;
  void drain_for(std::string_view who) override;
  void commanded(std::string_view actor, std::string_view role, std::string_view command,
                 std::string_view result) override;

  const metrics::BuildInfo& build() const override { return build_; }
  std::chrono::system_clock::time_point started() const override { return started_; }
  std::shared_ptr<const config::Config> config() const override { return config_; }
  metrics::ReloadFacts reloads() const override { return reloads_; }
  std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> statuses() const override;
  std::vector<metrics::WorkerCounters<proxy::ListenerCounters>> listeners() const override;
  std::vector<metrics::WorkerCounters<proxy::ServerCounters>> servers() const override;
  std::vector<metrics::Heartbeat> heartbeats() const override;
  std::vector<const proxy::LagCounts*> loop_lags() const override;
  metrics::Readiness readiness() const override;
  std::map<std::string, proxy::QuotaUse> quotas() const override;
  std::optional<metrics::JournalFacts> journal() const override;
  std::vector<const watchdog::RecentActions*> recent_actions() const override;
  std::vector<metrics::NotificationFacts> notifications() const override;
  std::optional<watchdog::SessionExplanation> explain(proxy::SessionId session) const override;

  std::string file_;
  /// What needs a restart is referred to for good.
  const std::shared_ptr<const config::Config> started_with_;
  std::shared_ptr<const config::Config> config_;  ///< in force: another one after each reload
  metrics::ReloadFacts reloads_;
  metrics::BuildInfo build_;
  std::chrono::system_clock::time_point started_;
  Log log_;
  EventLog events_;
  std::unique_ptr<watchdog::AuditLog>
      audit_;  ///< outlives the io_context, whose tasks may wait on it
  boost::asio::io_context context_{1};
  notify::Webhooks webhooks_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer left_out_timer_;
  boost::asio::steady_timer wake_;  ///< cancelled by each signal
  console::Console console_;        ///< outlives the proxy, which leads guests to it
  proxy::Proxy proxy_;
  std::vector<std::unique_ptr<watchdog::Watchdog>> watchdogs_;
  RoleSecrets secrets_;  ///< answers while the watchdogs run: they end before the proxy does
  metrics::Pages pages_;
  metrics::HttpServer http_;
  metrics::StatusPages status_pages_;
  metrics::HttpServer status_http_;
  ServiceManager manager_;
  std::unique_ptr<ConfigWatch> watch_;
  std::vector<std::unique_ptr<ConfigWatch>> certificate_watches_;
  int stop_signals_ = 0;
  bool paused_ = false;
  bool over_ = false;
  bool interrupted_ = false;  ///< SIGINT: somebody waits at a terminal
};

/// What is judged, what is off and how to switch it on, where to connect: printed when the program
/// starts.
[[nodiscard]] std::string start_card(const config::Config& config, bool colour);

/// Its lines that need the server's answer: how many sessions there carry no name, and what gives
/// them one. Printed when the monitor has looked for the first time.
[[nodiscard]] std::string names_card(std::string_view server,
                                     const std::vector<watchdog::Advice>& advice);

}  // namespace pgleash::app
