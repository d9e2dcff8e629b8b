#pragma once

#include "config/config.hpp"
#include "proxy/identity.hpp"
#include "proxy/protect_list.hpp"
#include "proxy/quota.hpp"
#include "proxy/scram_exchange.hpp"
#include "proxy/tls_context.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::proxy {

class Journal;
class ConsoleDoor;
class VerifierSource;

/// What the workers need of the configuration. Shared by all threads, outlives every session;
/// immutable but for what a reload sets, which any thread may read at any time.
struct ProxySettings {
  ProxySettings(const config::Config& config, TlsContexts tls)
      : process(config.process),
        listeners(config.listeners),
        servers(config.servers),
        mode(config.enforcement.mode),
        marker(config.protect.marker),
        quotas(config.quotas),
        console_database(config.console.database),
        console_open(config.console.enabled()),
        scram_seed(scram_nonce()),
        names_(std::make_shared<const ApplicationNames>(config.identity)),
        protected_(std::make_shared<const ProtectList>(config.protect)),
        tls_(std::move(tls)) {
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
  const std::string marker;  ///< looked for in statements: known texts were read with it

  mutable QuotaKeeper quotas;           ///< locks by itself
  ConsoleDoor* console_door = nullptr;  ///< null: there is no console; set before the threads start
  const std::string console_database;
  std::atomic<bool> console_open;  ///< somebody may use it

  VerifierSource* verifiers = nullptr;  ///< null: nobody knows any; set before the threads start
  std::string scram_seed;               ///< of what is made up for roles that may not log in

  Journal* journal = nullptr;  ///< null: off, or it could not be had; set before the threads start

  /// Whether who asks for this database wants pgleash itself.
  [[nodiscard]] bool is_console(std::string_view database, bool replication) const noexcept {
    return console_door != nullptr && console_open && !replication && database == console_database;
  }
  [[nodiscard]] std::shared_ptr<const ApplicationNames> names() const {
    const std::lock_guard lock{mutex_};
    return names_;
  }
  /// [protect]: whose abandoned queries are left alone too.
  [[nodiscard]] std::shared_ptr<const ProtectList> protect() const {
    const std::lock_guard lock{mutex_};
    return protected_;
  }
  /// Null: the listener speaks no TLS.
  [[nodiscard]] std::shared_ptr<const ListenerTlsContext> listener_tls(std::size_t listener) const {
    const std::lock_guard lock{mutex_};
    return tls_.listeners[listener];
  }
  /// Null: the server is spoken to in clear.
  [[nodiscard]] std::shared_ptr<const ServerTlsContext> server_tls(std::size_t server) const {
    const std::lock_guard lock{mutex_};
    return tls_.servers[server];
  }
  /// For connections to come; sessions keep what they were made with.
  void reload(TlsContexts tls) {
    const std::lock_guard lock{mutex_};
    tls_ = std::move(tls);
  }
  /// Takes over what needs no restart: mode, protection, identity. Sessions keep their name until
  /// they report another one.
  void reload(const config::Config& config) {
    mode = config.enforcement.mode;
    console_open = config.console.enabled();
    auto names = std::make_shared<const ApplicationNames>(config.identity);
    auto protect = std::make_shared<const ProtectList>(config.protect);
    const std::lock_guard lock{mutex_};
    names_ = std::move(names);
    protected_ = std::move(protect);
  }

 private:
  // Asked at a login, when a session renames itself, and when a client vanishes in mid-query. A
  // mutex, as g++ 12's atomic shared_ptr is not free of races.
  mutable std::mutex mutex_;
  std::shared_ptr<const ApplicationNames> names_;  ///< guarded by mutex_
  std::shared_ptr<const ProtectList> protected_;   ///< guarded by mutex_
  TlsContexts tls_;                                ///< guarded by mutex_
};

}  // namespace pgleash::proxy
