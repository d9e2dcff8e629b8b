#pragma once

#include "config/config.hpp"
#include "watchdog/on_demand_connection.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <optional>
#include <string>

namespace pgleash::watchdog {

/// Asks the server for the SCRAM secret of a role that is about to log in, by the function that
/// deploy/sql/bootstrap.sql makes for it and that tells of a listed group only. Over a connection
/// of its own, so that a storm of logins delays no kill and no sample. Nothing is remembered: a
/// password that changed counts at once. Control thread; outlives its tasks.
class ScramVerifiers {
 public:
  ScramVerifiers(boost::asio::any_io_executor executor, const config::Server& server,
                 std::string application_name)
      : connection_(executor, server, std::move(application_name)) {}

  /// Empty: no role that may log in so. An error: nobody could be asked.
  Task<PgResult<std::string>> of(std::string role, Instant deadline);
  void close() { connection_.close(); }
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept {
    return connection_.pid();
  }

 private:
  OnDemandConnection connection_;
};

}  // namespace pgleash::watchdog
