#pragma once

#include "metrics/metrics_source.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::metrics::testing {

using namespace std::chrono_literals;

/// A moment far from the clock's epoch, which means "never" in some fields.
inline constexpr Instant start{std::chrono::hours{1000}};

struct SessionSpec {
  std::string application = "checkout";
  std::string user = "web";
  std::string database = "orders";
  protocol::SessionState state = protocol::SessionState::idle;
  Duration age = 5s;
};

[[nodiscard]] watchdog::SessionEntry session(const SessionSpec& spec, Instant now = start);
/// A row as the monitor saw it, in that wait.
[[nodiscard]] watchdog::ActivityRow row(std::string wait_event_type = {},
                                        std::string wait_event = {});

struct StatusSpec {
  std::string server = "orders";
  std::vector<watchdog::SessionEntry> sessions{};
  std::size_t direct = 0;
  bool monitor_up = true;
  watchdog::BlockingForest blocking{};
  std::optional<watchdog::Horizon> horizon{};
};
/// A status whose snapshot was taken at `now`, the sample one second before.
[[nodiscard]] watchdog::WatchdogStatus status(StatusSpec spec, Instant now = start);

[[nodiscard]] config::Rule rule(std::string name, config::Action action);
/// One server, one listener, the kinds and actions of the default rules in enforce mode.
[[nodiscard]] config::Config small_config();

/// A source with values to set. Counters of two workers each.
class FakeSource final : public MetricsSource {
 public:
  static constexpr std::size_t workers = 2;

  explicit FakeSource(config::Config config = small_config());

  [[nodiscard]] const BuildInfo& build() const override { return build_info; }
  [[nodiscard]] std::chrono::system_clock::time_point started() const override {
    return std::chrono::system_clock::time_point{1700000000s};
  }
  [[nodiscard]] std::shared_ptr<const config::Config> config() const override { return settings; }
  [[nodiscard]] ReloadFacts reloads() const override { return reload_facts; }
  [[nodiscard]] std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> statuses()
      const override;
  [[nodiscard]] std::vector<WorkerCounters<proxy::ListenerCounters>> listeners() const override;
  [[nodiscard]] std::vector<WorkerCounters<proxy::ServerCounters>> servers() const override;
  [[nodiscard]] std::vector<Heartbeat> heartbeats() const override { return beats; }
  [[nodiscard]] std::vector<const proxy::LagCounts*> loop_lags() const override {
    return {&lags[0], &lags[1]};
  }
  [[nodiscard]] Readiness readiness() const override { return ready; }
  [[nodiscard]] std::optional<watchdog::SessionExplanation> explain(
      proxy::SessionId session) const override {
    if (!explanation || explanation->session.view.id != session) return std::nullopt;
    return explanation;
  }
  [[nodiscard]] std::vector<const watchdog::RecentActions*> recent_actions() const override {
    return {&actions};
  }
  [[nodiscard]] std::optional<JournalFacts> journal() const override { return journal_facts; }
  [[nodiscard]] std::map<std::string, proxy::QuotaUse> quotas() const override { return quota_use; }
  [[nodiscard]] std::vector<NotificationFacts> notifications() const override {
    return notification_facts;
  }

  void set(watchdog::WatchdogStatus status);
  [[nodiscard]] proxy::ServerCounters& server(const std::string& name, std::size_t worker) {
    return server_counters_.at(name).at(worker);
  }
  [[nodiscard]] proxy::ListenerCounters& listener(const std::string& name, std::size_t worker) {
    return listener_counters_.at(name).at(worker);
  }

  std::vector<proxy::LagCounts> lags = std::vector<proxy::LagCounts>(workers);
  BuildInfo build_info{"1.2.3", "abcdef0"};
  ReloadFacts reload_facts;
  std::vector<Heartbeat> beats{{"worker 0", start}, {"worker 1", start}};
  Readiness ready{true, {}, {}};
  std::shared_ptr<config::Config> settings;
  std::optional<watchdog::SessionExplanation> explanation;
  std::optional<JournalFacts> journal_facts;
  watchdog::RecentActions actions;
  std::map<std::string, proxy::QuotaUse> quota_use;
  std::vector<NotificationFacts> notification_facts;

 private:
  std::map<std::string, std::vector<proxy::ServerCounters>> server_counters_;
  std::map<std::string, std::vector<proxy::ListenerCounters>> listener_counters_;
  std::map<std::string, std::shared_ptr<const watchdog::WatchdogStatus>> statuses_;
};

}  // namespace pgleash::metrics::testing
