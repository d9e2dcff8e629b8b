#pragma once

#include "proxy/inherited_sockets.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <string>

namespace pgleash::app {

/// What systemd, or another manager that speaks its protocol, is told, and gives us. Without one
/// (no NOTIFY_SOCKET) nothing happens. Control thread. Source: sd_notify(3), sd_listen_fds(3).
class ServiceManager {
 public:
  /// `healthy` is asked before each beat of the watchdog: no beat is sent for what does not turn.
  ServiceManager(boost::asio::io_context& context, std::function<bool()> healthy);

  /// The sockets that it opened for us; once, before threads start. Their environment variables are
  /// unset, so that no child takes them for its own.
  [[nodiscard]] static proxy::InheritedSockets sockets();

  /// All ports are open: dependent services may start. `status`: one line for `systemctl status`.
  void ready(const std::string& status);
  void reloading();
  void stopping();
  /// Begins to beat, when WatchdogSec= is set: twice in each interval.
  void start();
  void stop();

 private:
  void beat();

  std::function<bool()> healthy_;
  boost::asio::steady_timer timer_;
  std::chrono::microseconds interval_{};
};

}  // namespace pgleash::app
