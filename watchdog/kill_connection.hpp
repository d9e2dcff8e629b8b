#pragma once

#include "config/config.hpp"
#include "proxy/kill_order.hpp"
#include "proxy/session_view.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/on_demand_connection.hpp"
#include "watchdog/task.hpp"
#include "watchdog/termination_plan.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <optional>
#include <string>

namespace pgleash::watchdog {

/// The server's columns that a verdict's counter rests on: same columns, same activity (PRODUCT.md,
/// below the ladder).
struct JudgedColumns {
  proxy::JudgedCounter counter = proxy::JudgedCounter::state;
  std::string state;
  ServerTime state_change;
  std::optional<ServerTime> xact_start;
  ServerTime query_start;
  std::optional<proxy::Endpoint> leg = {};  ///< its client_addr and client_port, where they are all
                                            ///< that ties it to us
  bool spare_listeners = false;  ///< end it only if it neither listens nor holds an advisory lock
};
[[nodiscard]] JudgedColumns judged_columns(proxy::JudgedCounter counter, const ActivityRow& row);

/// The second line: ends and verifies backends by SQL, over a connection of its own so that a slow
/// sample delays no kill. Tasks may overlap; statements queue. Control thread; outlives its tasks.
/// Always by (pid, backend_start), and over
/// pg_stat_get_activity(pid): the view would read everybody's entry, and that widens the window
/// between the look and the signal.
class KillConnection {
 public:
  KillConnection(boost::asio::any_io_executor executor, const config::Server& server,
                 std::string application_name)
      : connection_(executor, server, std::move(application_name)) {}

  /// What guarded SQL answered, and why when it is not `signalled`.
  struct Answer {
    TerminationPlan::SqlResult result = TerminationPlan::SqlResult::unavailable;
    std::string why;
  };
  /// pg_terminate_backend, if and only if the judged activity goes on. Without the columns its
  /// counter needs (track_activities off) nothing is judged the same, so nothing is ended.
  Task<Answer> terminate(BackendId backend, JudgedColumns judged, Instant deadline);
  /// pg_cancel_backend, under the same guard.
  Task<Answer> cancel(BackendId backend, JudgedColumns judged, Instant deadline);
  /// pg_terminate_backend for a backend of ours without a session: if and only if this run of this
  /// server has it at that address and port of ours. `leg` without an address: a Unix socket.
  Task<Answer> terminate_orphan(BackendId backend, ServerIdentity identity, proxy::Endpoint leg,
                                Instant deadline);
  /// `not_visible` when there is no connection, or the server hides the backend from us.
  Task<BackendSight> look(BackendId backend, JudgedColumns judged, Instant deadline);

  /// The backend of that pid whose client is the end `leg` of a server leg, which its key named:
  /// two witnesses. Empty when the server shows another client there (a pooler or a balancer is
  /// between us), or could not be asked in time.
  Task<std::optional<BackendId>> identify(protocol::BackendPid pid, proxy::Endpoint leg,
                                          Instant deadline);
  /// `no` also when the backend is gone.
  Task<TerminationPlan::StandbyWait> standby_wait(BackendId backend, Instant deadline);

  void close() { connection_.close(); }
  /// Of the connection that is open now: nobody's session.
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept {
    return connection_.pid();
  }

 private:
  Task<Answer> signal(std::string name, std::string sql, PgParameters parameters, Instant deadline);

  OnDemandConnection connection_;
};

}  // namespace pgleash::watchdog
