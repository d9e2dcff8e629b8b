#pragma once

#include "app/event_log.hpp"
#include "app/log.hpp"
#include "config/config.hpp"
#include "metrics/http_server.hpp"
#include "metrics/metrics_source.hpp"
#include "metrics/pages.hpp"
#include "proxy/proxy.hpp"
#include "watchdog/audit_log.hpp"
#include "watchdog/watchdog.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <string>
#include <vector>

namespace pgleash::app {

/// The whole program: wires the parts, runs the control thread, ends in order. Construction binds
/// every port and opens every file, so that what is wrong with them stops the start; what the
/// server says is found out while running.
class Application final : private metrics::MetricsSource {
 public:
  /// Throws std::exception whose text says what to do.
  explicit Application(config::Config config);
  ~Application() override;
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  /// Serves until SIGTERM or SIGINT, drains, and returns the exit status. A second signal ends at
  /// once.
  int run();

 private:
  watchdog::Task<void> live();
  watchdog::Task<void> wind_down(bool patient);
  void on_signal();
  void raise_descriptor_limit();

  const metrics::BuildInfo& build() const override { return build_; }
  std::chrono::system_clock::time_point started() const override { return started_; }
  std::shared_ptr<const config::Config> config() const override { return config_; }
  metrics::ReloadFacts reloads() const override;
  std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> statuses() const override;
  std::vector<metrics::WorkerCounters<proxy::ListenerCounters>> listeners() const override;
  std::vector<metrics::WorkerCounters<proxy::ServerCounters>> servers() const override;
  std::vector<metrics::Heartbeat> heartbeats() const override;
  metrics::Readiness readiness() const override;

  std::shared_ptr<const config::Config> config_;
  metrics::BuildInfo build_;
  std::chrono::system_clock::time_point started_;
  Log log_;
  EventLog events_;
  std::unique_ptr<watchdog::AuditLog>
      audit_;  ///< outlives the io_context, whose tasks may wait on it
  boost::asio::io_context context_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer wake_;  ///< cancelled by each signal
  proxy::Proxy proxy_;
  std::vector<std::unique_ptr<watchdog::Watchdog>> watchdogs_;
  metrics::Pages pages_;
  metrics::HttpServer http_;
  int stop_signals_ = 0;
  bool interrupted_ = false;  ///< SIGINT: somebody waits at a terminal
};

/// What is judged, what is off and how to switch it on, where to connect: printed when the program
/// starts.
[[nodiscard]] std::string start_card(const config::Config& config, bool colour);

}  // namespace pgleash::app
