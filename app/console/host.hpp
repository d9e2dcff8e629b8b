#pragma once

#include "config/config.hpp"
#include "watchdog/audit_log.hpp"
#include "watchdog/watchdog.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::console {

/// What the console shows and does, of the program it is part of. Implemented by the application;
/// control thread.
class Host {
 public:
  virtual ~Host() = default;
  /// The configuration in force.
  [[nodiscard]] virtual std::shared_ptr<const config::Config> config() const = 0;
  /// One a server; they live as long as the console.
  [[nodiscard]] virtual std::vector<watchdog::Watchdog*> watchdogs() = 0;
  /// Null: off.
  [[nodiscard]] virtual watchdog::AuditLog* audit() = 0;
  struct Build {
    std::string version;
    std::string revision;
    std::chrono::system_clock::time_point started;
  };
  [[nodiscard]] virtual Build build_facts() const = 0;

  /// The kill switch, for all servers.
  virtual void set_paused(bool paused, std::string_view who) = 0;
  /// Why the changed file was not taken over; empty: it was.
  virtual std::string reload_for(std::string_view who) = 0;
  /// As SIGTERM does.
  virtual void drain_for(std::string_view who) = 0;
  /// For the log: what was asked and what came of it.
  virtual void commanded(std::string_view actor, std::string_view role, std::string_view command,
                         std::string_view result) = 0;
};

}  // namespace pgleash::console
