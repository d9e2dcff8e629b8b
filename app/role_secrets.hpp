#pragma once

#include "proxy/verifier_source.hpp"
#include "watchdog/watchdog.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <vector>

namespace pgleash::app {

/// Leads the proxy's questions for secrets of roles to the watchdog of the server, on the control
/// thread. Nothing is kept here. References outlive it.
class RoleSecrets final : public proxy::VerifierSource {
 public:
  RoleSecrets(boost::asio::io_context& control,
              const std::vector<std::unique_ptr<watchdog::Watchdog>>& watchdogs)
      : control_(control), watchdogs_(watchdogs) {}

  boost::asio::awaitable<proxy::VerifierAnswer> verifier(std::string server, std::string user,
                                                         Instant deadline) override;

 private:
  boost::asio::io_context& control_;
  const std::vector<std::unique_ptr<watchdog::Watchdog>>& watchdogs_;
};

}  // namespace pgleash::app
