#pragma once

#include "config/config.hpp"
#include "proxy/identity.hpp"

#include <string>
#include <vector>

namespace pgleash::proxy {

/// What the workers need of the configuration. Immutable, shared by all threads; outlives every
/// session.
struct ProxySettings {
  explicit ProxySettings(const config::Config& config)
      : process(config.process),
        listeners(config.listeners),
        servers(config.servers),
        mode(config.enforcement.mode),
        spare_superusers(config.protect.superusers),
        names(config.identity) {
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
  config::Mode mode;
  bool spare_superusers;  ///< [protect] superusers: their abandoned queries are left alone too
  ApplicationNames names;
};

}  // namespace pgleash::proxy
