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
#include <string>

namespace pgleash::watchdog {

/// Asks the server for the SCRAM secret of a role that is about to log in, by the function that
/// deploy/sql/bootstrap.sql makes for it and that tells of a listed group only. Over a connection
/// of its own, so that a storm of logins delays no kill and no sample; opened on demand, kept for a
/// while. Nothing is remembered: a password that changed counts at once. Control thread; outlives
/// its tasks.
class ScramVerifiers {
 public:
  static constexpr Duration kept = std::chrono::seconds{60};

  ScramVerifiers(boost::asio::any_io_executor executor, const config::Server& server);
  ~ScramVerifiers();
  ScramVerifiers(const ScramVerifiers&) = delete;
  ScramVerifiers& operator=(const ScramVerifiers&) = delete;

  /// Empty: no role that may log in so. An error: nobody could be asked.
  Task<PgResult<std::string>> of(std::string role, Instant deadline);
  void close();
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept;

 private:
  Task<std::optional<PgError>> make_ready(Instant deadline);
  void keep_for_a_while();

  const config::Server& server_;
  boost::asio::any_io_executor executor_;
  Turnstile turnstile_;
  std::shared_ptr<boost::asio::steady_timer> idle_;
  std::unique_ptr<PgConnection> connection_;
  bool prepared_ = false;
};

}  // namespace pgleash::watchdog
