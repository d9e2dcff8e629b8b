#pragma once

#include "config/config.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/task.hpp"
#include "watchdog/turnstile.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// One process of the server as pg_stat_activity shows it, background processes too. Texts are
/// bytes, in the encoding of the database they come from.
struct ListedProcess {
  std::optional<std::uint32_t> datid;
  std::string datname;
  protocol::BackendPid pid{};
  std::optional<std::int32_t> leader_pid;  ///< 13 and later
  std::optional<std::uint32_t> usesysid;
  std::string usename;
  bool superuser = false;
  std::string application_name;
  std::string client_addr;  ///< empty: NULL, as all texts here
  std::string client_hostname;
  std::optional<std::int32_t> client_port;
  std::optional<ServerTime> backend_start;
  std::optional<ServerTime> xact_start;
  std::optional<ServerTime> query_start;
  std::optional<ServerTime> state_change;
  std::string wait_event_type;
  std::string wait_event;
  std::string state;
  std::optional<std::uint32_t> backend_xid;
  std::optional<std::uint32_t> backend_xmin;
  std::optional<std::int64_t> query_id;  ///< 14 and later
  std::string query;                     ///< at most max_query bytes
  std::string backend_type;
};

struct ActivityListing {
  static constexpr std::size_t max_query = 1024;
  ServerTime server_now;
  std::vector<ListedProcess> processes;
};

/// Reads the whole of pg_stat_activity for a person who asks, over a connection of its own, so that
/// neither a sample nor a kill waits for it. Opened on demand, kept for a while. Control thread;
/// outlives its tasks.
class ActivityLister {
 public:
  static constexpr Duration kept = std::chrono::seconds{60};

  ActivityLister(boost::asio::any_io_executor executor, const config::Server& server);
  ~ActivityLister();
  ActivityLister(const ActivityLister&) = delete;
  ActivityLister& operator=(const ActivityLister&) = delete;

  Task<PgResult<ActivityListing>> read(Instant deadline);
  void close();
  /// Of the connection that is open now: nobody's session.
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept;

 private:
  void keep_for_a_while();

  config::Server server_;
  boost::asio::any_io_executor executor_;
  Turnstile turnstile_;
  std::shared_ptr<boost::asio::steady_timer> idle_;  ///< shared with its handler
  std::unique_ptr<PgConnection> connection_;
};

}  // namespace pgleash::watchdog
