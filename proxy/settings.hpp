#pragma once

#include "config/config.hpp"
#include "proxy/identity.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::proxy {

class Journal;

/// What the workers need of the configuration. Shared by all threads, outlives every session;
/// immutable but for what a reload sets, which any thread may read at any time.
struct ProxySettings {
  explicit ProxySettings(const config::Config& config)
      : process(config.process),
        listeners(config.listeners),
        servers(config.servers),
        mode(config.enforcement.mode),
        spare_superusers(config.protect.superusers),
        marker(config.protect.marker),
        names_(std::make_shared<const ApplicationNames>(config.identity)) {
    for (const config::Listener& listener : listeners) {
      std::size_t index = 0;
      while (index + 1 < servers.size() && servers[index].name != listener.server) ++index;
      server_of.push_back(index);
    }
  }

  config::Process process;
  std::vector<config::Listener> listeners;
  std::vector<config::Server> servers;
  std::vector<std::size_t> server_of;  ///< index of each listener's server
  std::atomic<config::Mode> mode;
  std::atomic<bool>
      spare_superusers;      ///< [protect] superusers: their abandoned queries are left alone too
  const std::string marker;  ///< looked for in statements: known texts were read with it

  Journal* journal = nullptr;  ///< null: off, or it could not be had; set before the threads start

  [[nodiscard]] std::shared_ptr<const ApplicationNames> names() const {
    const std::lock_guard lock{names_mutex_};
    return names_;
  }
  /// Takes over what needs no restart: mode, superusers, identity. Sessions keep their name until
  /// they report another one.
  void reload(const config::Config& config) {
    mode = config.enforcement.mode;
    spare_superusers = config.protect.superusers;
    auto fresh = std::make_shared<const ApplicationNames>(config.identity);
    const std::lock_guard lock{names_mutex_};
    names_ = std::move(fresh);
  }

 private:
  // Asked at a login and when a session renames itself. A mutex, as g++ 12's atomic shared_ptr is
  // not free of races.
  mutable std::mutex names_mutex_;
  std::shared_ptr<const ApplicationNames> names_;  ///< guarded by names_mutex_
};

}  // namespace pgleash::proxy
