#pragma once

#include "app/log/log.hpp"
#include "app/notify/webhooks.hpp"
#include "metrics/http_server.hpp"
#include "proxy/events.hpp"
#include "proxy/flood_count.hpp"
#include "watchdog/watchdog.hpp"

#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::app {

/// Writes the events of proxy, watchdog and pages to the log: the only place where their names are
/// spelled. What webhooks are for goes to them too.
class EventLog final : public proxy::ProxyEvents,
                       public notify::WebhookEvents,
                       public watchdog::WatchdogEvents,
                       public metrics::HttpEvents {
 public:
  explicit EventLog(Log& log) : log_(log) {}

  /// Before the first watchdog starts. Outlives the watchdogs.
  void tell(notify::Webhooks& webhooks) noexcept { webhooks_ = &webhooks; }
  /// Called once a server, with what it was advised of first. Before the first watchdog starts.
  using FirstAdvice =
      std::function<void(std::string_view server, const std::vector<watchdog::Advice>& advice)>;
  void when_first_advised(FirstAdvice told) { first_advice_ = std::move(told); }

  void listening(std::string_view listener, std::string_view address) override;
  void accept_paused(std::string_view listener, std::string_view why) override;
  void refused(std::string_view listener, const proxy::Endpoint& client, proxy::AcceptResult result,
               std::string_view why) override;
  void session_opened(proxy::SessionId id, const proxy::SessionIdentity& who) override;
  void session_closed(const proxy::SessionIdentity& who, const proxy::SessionEnd& end) override;
  void client_gone(proxy::SessionId id, const proxy::SessionIdentity& who, bool acted) override;

  void monitor(std::string_view server, bool up, std::string_view problem,
               std::string_view application_name) override;
  void advised(std::string_view server, const std::vector<watchdog::Advice>& advice) override;
  void warned(std::string_view server, const watchdog::Verdict& verdict) override;
  void blocking(std::string_view server, const watchdog::BlockingReport& report) override;
  void judged(std::string_view server, const watchdog::Verdict& verdict, bool acting) override;
  void finished(std::string_view server, const watchdog::Verdict& verdict,
                const watchdog::TerminationRecord& record) override;
  void fuse_tripped(std::string_view server, const watchdog::OpenFuse& fuse) override;
  void failover(std::string_view server, std::string_view what) override;
  void no_data(std::string_view server, std::string_view rule, std::string_view kind,
               std::string_view why) override;
  void resolved(std::string_view server, const watchdog::Verdict& verdict, Duration after) override;

  void journal(std::string_view path, std::size_t inherited, std::string_view problem) override;
  void engine_fallback(std::string_view why) override;
  void orphan(std::string_view server, const watchdog::Orphan& orphan) override;
  void backend_lost(std::string_view server, const watchdog::SessionEntry& session) override;

  void leak_detected(std::string_view server, const watchdog::LeakReport& report) override;
  void leak_cleared(std::string_view server, const watchdog::LeakReport& report) override;
  void recording(std::string_view server, std::string_view why) override;

  void webhook_fails(std::string_view name, std::string_view why) override;
  void webhook_works(std::string_view name, Duration failed_for, std::uint64_t lost) override;
  void webhook_refused(std::string_view name, std::string_view id, std::string_view why) override;

  void accept_failed(std::string_view address, std::string_view why) override;
  void page_failed(std::string_view why) override;
  void failure(std::string_view where, std::string_view what) override;

  /// For the log, how many lines of a flood were left out, in windows that are over by now or, with
  /// `all`, so far. To be called every now and then. Any thread.
  void tell_left_out(bool all);

 private:
  Log& log_;
  notify::Webhooks* webhooks_ = nullptr;
  FirstAdvice first_advice_;
  std::set<std::string, std::less<>> advised_;  ///< servers
  bool engine_told_ = false;                    ///< set while the workers are made, on one thread
  std::mutex mutex_;
  proxy::FloodCount refusals_;  ///< by listener and result; strangers decide how many there are
};

}  // namespace pgleash::app
