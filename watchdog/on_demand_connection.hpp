#pragma once

#include "config/config.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/task.hpp"
#include "watchdog/turnstile.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>

namespace pgleash::watchdog {

/// A connection of the monitor role beside the standing one, for statements that must not wait for
/// a slow sample. Opened when one is to be run, kept for a while after it. Tasks may overlap;
/// statements queue. Control thread; outlives its tasks.
class OnDemandConnection {
 public:
  static constexpr Duration kept = std::chrono::seconds{60};

  OnDemandConnection(boost::asio::any_io_executor executor, const config::Server& server,
                     std::string application_name);
  ~OnDemandConnection();
  OnDemandConnection(const OnDemandConnection&) = delete;
  OnDemandConnection& operator=(const OnDemandConnection&) = delete;

  /// What it is in the server's version (server_version_num).
  using SqlOfVersion = std::string (*)(int version);

  /// One statement, prepared under its name when this connection does not know it yet.
  Task<PgResult<PgRows>> run(std::string name, std::variant<std::string, SqlOfVersion> sql,
                             PgParameters parameters, Instant deadline);

  void close();
  /// Of the connection that is open now: nobody's session.
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept;

 private:
  void keep_for_a_while();

  config::Server server_;
  std::string application_name_;
  boost::asio::any_io_executor executor_;
  Turnstile turnstile_;
  std::shared_ptr<boost::asio::steady_timer>
      idle_;  ///< shared with its handler, which may run after us
  std::unique_ptr<PgConnection> connection_;
  std::set<std::string> prepared_;  ///< on connection_
};

}  // namespace pgleash::watchdog
