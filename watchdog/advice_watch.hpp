#pragma once

#include "config/config.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/server_advice.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// Keeps an eye on what check --server would say of a server: grants, settings and lines of
/// pg_hba.conf change while the program runs. Asks each time the monitor comes up and once an hour,
/// over a connection of its own that is closed afterwards; what cannot be asked is asked again with
/// back-off, and until then the last answer stands. Control thread.
class AdviceWatch {
 public:
  using Told = std::function<void(const std::vector<Advice>&)>;

  /// `told` is called with the first answer, and when the advice is another than before. `server`
  /// outlives the watch.
  AdviceWatch(boost::asio::any_io_executor executor, const config::Server& server,
              std::string application_name, Told told);

  /// Runs until stop().
  Task<void> run();
  void stop();
  /// The monitor has come up: ask soon.
  void wake();
  /// Of the connection over which it asks right now: nobody's session.
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept;
  /// The configuration that the advice is about from now on.
  void configure(std::shared_ptr<const config::Config> config);

 private:
  boost::asio::any_io_executor executor_;
  const config::Server& server_;
  std::string application_name_;
  Told told_;
  std::shared_ptr<const config::Config> config_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<PgConnection> connection_;  ///< while it asks
  std::optional<std::vector<Advice>> last_;   ///< as it was told; empty: never yet
  bool wanted_ = false;
  bool stopping_ = false;
};

}  // namespace pgleash::watchdog
