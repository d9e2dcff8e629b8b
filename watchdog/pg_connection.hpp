#pragma once

#include "watchdog/pg_endpoint.hpp"
#include "watchdog/pg_result.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <libpq-fe.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// One libpq connection on the Asio loop: nothing here ever blocks the thread, every wait has a
/// deadline.
///
/// Belongs to one thread, and must outlive the tasks it gave out. One statement at a time. The
/// descriptor stays armed while idle, so the death of the server is noticed when it happens and not
/// at the next statement. A statement that passes its deadline drops the connection, since libpq
/// has no other way out that does not block.
///
/// The session is read-only and frugal: see session_options in pg_endpoint.cpp. Its client_encoding
/// is SQL_ASCII, that is, the server converts and checks nothing: pg_stat_activity shows the bytes
/// of sessions of other databases, in their encodings, and a conversion would fail on them. Source:
/// "libpq - C Library", Database Connection Control Functions; Asynchronous Command Processing.
class PgConnection {
 public:
  explicit PgConnection(boost::asio::any_io_executor executor);
  ~PgConnection();
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  /// A new connection, logged in. Tries each address of a host name in turn, until one has a server
  /// that answers.
  static Task<PgResult<std::unique_ptr<PgConnection>>> connect(PgEndpoint where, Instant deadline);
  /// The same for an object that exists, so that its owner can close() it meanwhile. Once in its
  /// life.
  Task<std::optional<PgError>> open(PgEndpoint where, Instant deadline);

  Task<PgResult<PgRows>> prepare(std::string name, std::string sql, Instant deadline);
  Task<PgResult<PgRows>> execute(std::string name, PgParameters parameters, Instant deadline);
  Task<PgResult<PgRows>> query(std::string sql, PgParameters parameters, Instant deadline);

  /// Waits while idle: true as soon as the connection is lost or closed, false at the deadline.
  Task<bool> lost_before(Instant deadline);

  [[nodiscard]] bool alive() const noexcept { return conn_ != nullptr && !opening_; }
  /// Why the connection is not alive.
  [[nodiscard]] const PgError& loss() const noexcept { return loss_; }
  /// Ends it; whoever waits on it gets `lost`.
  void close();

  [[nodiscard]] protocol::BackendPid pid() const noexcept { return pid_; }
  [[nodiscard]] int server_version() const noexcept { return server_version_; }  ///< 150018

 private:
  using Addresses = std::vector<std::string>;
  enum Interest : unsigned { read = 1, write = 2 };
  class InUse;

  Task<PgResult<Addresses>> resolve(std::string host, std::uint16_t port, Instant deadline);
  Task<std::optional<PgError>> open_address(const PgEndpoint& where, const std::string& hostaddr,
                                            Instant deadline);
  std::optional<PgError> opened();
  PgError connect_error(bool reached) const;

  Task<PgResult<PgRows>> finish(int sent, std::string statement, Instant deadline);
  Task<bool> flush(Instant deadline);
  Task<bool> receive(Instant deadline);
  PgError interrupted(std::string statement);

  Task<bool> wait(unsigned interest, Instant deadline);
  void arm(Interest interest);
  void ready(Interest interest);
  void idle_input();
  bool attach();
  void detach();
  void drop(PgError why);
  static void on_notice(void* self, const PGresult* notice);

  boost::asio::posix::stream_descriptor
      socket_;  ///< libpq's own descriptor, lent: released before libpq may close it
  boost::asio::steady_timer wake_;  ///< the deadline of the one wait; whatever happens cancels it
  boost::asio::ip::tcp::resolver resolver_;
  std::shared_ptr<std::uint64_t>
      generation_;  ///< handlers of an earlier generation find nothing to do
  PGconn* conn_ = nullptr;
  PgError loss_;
  std::string fatal_;  ///< the server's last words
  std::string fatal_sqlstate_;
  std::optional<PgResult<Addresses>> resolved_;
  protocol::BackendPid pid_{};
  int server_version_ = 0;
  unsigned armed_ = 0;
  unsigned ready_ = 0;
  bool in_use_ = false;
  bool opening_ = false;
  bool closed_ = false;
};

}  // namespace pgleash::watchdog
