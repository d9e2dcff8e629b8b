#pragma once

#include "config/config.hpp"
#include "proxy/kill_order.hpp"
#include "proxy/session_view.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/task.hpp"
#include "watchdog/termination_plan.hpp"
#include "watchdog/turnstile.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <set>
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
/// sample delays no kill. Opened on demand, kept for a while. Tasks may overlap; statements queue.
/// Control thread; outlives its tasks. Always by (pid, backend_start), and over
/// pg_stat_get_activity(pid): the view would read everybody's entry, and that widens the window
/// between the look and the signal.
class KillConnection {
 public:
  static constexpr Duration kept = std::chrono::seconds{60};

  KillConnection(boost::asio::any_io_executor executor, const config::Server& server);
  ~KillConnection();
  KillConnection(const KillConnection&) = delete;
  KillConnection& operator=(const KillConnection&) = delete;

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

  /// `no` also when the backend is gone.
  /// The backend of that pid whose client is the end `leg` of a server leg, which its key named:
  /// two witnesses. Empty when the server shows another client there (a pooler or a balancer is
  /// between us), or could not be asked in time.
  Task<std::optional<BackendId>> identify(protocol::BackendPid pid, proxy::Endpoint leg,
                                          Instant deadline);
  Task<TerminationPlan::StandbyWait> standby_wait(BackendId backend, Instant deadline);

  void close();
  /// Of the connection that is open now: nobody's session.
  [[nodiscard]] std::optional<protocol::BackendPid> pid() const noexcept;

 private:
  Task<Answer> signal(std::string name, std::string sql, PgParameters parameters, Instant deadline);
  Task<PgResult<PgRows>> run(std::string name, std::string sql, PgParameters parameters,
                             Instant deadline);
  void keep_for_a_while();

  config::Server server_;
  boost::asio::any_io_executor executor_;
  Turnstile turnstile_;
  std::shared_ptr<boost::asio::steady_timer>
      idle_;  ///< shared with its handler, which may run after us
  std::unique_ptr<PgConnection> connection_;
  std::set<std::string> prepared_;  ///< on connection_
};

}  // namespace pgleash::watchdog
