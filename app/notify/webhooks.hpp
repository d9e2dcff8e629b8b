#pragma once

#include "app/notify/delivery.hpp"
#include "app/notify/outbox.hpp"
#include "config/config.hpp"
#include "watchdog/fuse_box.hpp"
#include "watchdog/leak_status.hpp"
#include "watchdog/terminator.hpp"
#include "watchdog/verdict.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::notify {

/// What the log says of webhooks. Control thread.
class WebhookEvents {
 public:
  virtual ~WebhookEvents() = default;
  /// An attempt failed after one that did not; said once, until `webhook_works`.
  virtual void webhook_fails(std::string_view name, std::string_view why) = 0;
  /// `lost`: given up or dropped meanwhile.
  virtual void webhook_works(std::string_view name, Duration failed_for, std::uint64_t lost) = 0;
  virtual void webhook_refused(std::string_view name, std::string_view id,
                               std::string_view why) = 0;
  virtual void failure(std::string_view where, std::string_view what) = 0;
};

/// All webhooks: a queue and a task each, so that none waits for another, and nobody for any of
/// them. Control thread.
class Webhooks {
 public:
  /// Destinations made from a configuration, before anything is swapped.
  struct Prepared {
    std::vector<config::Webhook> webhooks;
    std::vector<std::shared_ptr<const Destination>> destinations;
    std::string instance;
  };
  struct Facts {
    std::string name;
    OutboxCounts counts;
    std::size_t queued = 0;
  };

  /// Both outlive it; await stop().
  Webhooks(boost::asio::io_context& context, WebhookEvents& events);
  ~Webhooks();
  Webhooks(const Webhooks&) = delete;
  Webhooks& operator=(const Webhooks&) = delete;

  /// Reads secrets and CAs. None, with faults, when something is wrong.
  [[nodiscard]] static std::optional<Prepared> prepare(const config::Config& config,
                                                       std::string agent,
                                                       std::vector<config::Diagnostic>& faults);
  /// At the start and at a reload: a webhook of the same name keeps its queue and counts, one that
  /// is gone takes its queue with it.
  void take(Prepared prepared);

  void finished(std::string_view server, const watchdog::Verdict& verdict,
                const watchdog::TerminationRecord& record);
  void fuse_tripped(std::string_view server, const watchdog::OpenFuse& open);
  void leak(std::string_view server, std::string_view change, const watchdog::LeakReport& report);

  /// Sends what waits as long as that succeeds, for `patience` at most.
  [[nodiscard]] Task<void> stop(Duration patience);
  [[nodiscard]] std::vector<Facts> facts() const;

 private:
  struct Sink;

  template <typename Body>
  void announce(config::WebhookEvent event, std::string_view server, Body body);
  static Task<void> run(std::shared_ptr<Sink> sink, WebhookEvents& events);

  boost::asio::io_context& context_;
  WebhookEvents& events_;
  std::string instance_;
  std::vector<std::shared_ptr<Sink>> sinks_;
  std::vector<std::weak_ptr<Sink>> leaving_;
};

}  // namespace pgleash::notify
