#pragma once

#include "config/config.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/on_demand_connection.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
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
/// neither a sample nor a kill waits for it. Control thread; outlives its tasks.
class ActivityLister {
 public:
  ActivityLister(boost::asio::any_io_executor executor, const config::Server& server,
                 std::string application_name)
      : connection_(std::move(executor), server, std::move(application_name)) {}

  Task<PgResult<ActivityListing>> read(Instant deadline);
  void close() { connection_.close(); }
  /// Of the connection that is open now: nobody's session.
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept {
    return connection_.pid();
  }

 private:
  OnDemandConnection connection_;
};

}  // namespace pgleash::watchdog
