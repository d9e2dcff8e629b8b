#include "watchdog/clock.hpp"
#include "watchdog/password_file.hpp"
#include "watchdog/pg_connection.hpp"

#include <boost/asio/this_coro.hpp>
#include <fmt/format.h>

// PgConnection's way from a name to a session; the rest is in pg_connection.cpp.
namespace pgleash::watchdog {
namespace {

using boost::system::error_code;
using Kind = PgError::Kind;

constexpr int oldest_server = 120000;

}  // namespace

Task<PgResult<std::unique_ptr<PgConnection>>> PgConnection::connect(PgEndpoint where,
                                                                    Instant deadline) {
  auto connection = std::make_unique<PgConnection>(co_await boost::asio::this_coro::executor);
  if (auto error = co_await connection->open(std::move(where), deadline))
    co_return std::move(*error);
  co_return connection;
}

Task<std::optional<PgError>> PgConnection::open(PgEndpoint where, Instant deadline) {
  if (closed_) co_return loss_;
  opening_ = true;
  Addresses addresses{""};
  if (!where.address.is_unix) {
    auto found = co_await resolve(where.address.host, where.address.port, deadline);
    if (!found) {
      opening_ = false;
      loss_ = found.error();
      co_return loss_;
    }
    addresses = *found;
  }
  std::optional<PgError> error;
  for (std::size_t i = 0; i < addresses.size() && !closed_; ++i) {
    // An address that swallows packets must leave time for those behind it.
    const auto now = watchdog::now();
    const auto share = (deadline - now) / static_cast<std::int64_t>(addresses.size() - i);
    error = co_await open_address(where, addresses[i], now + share);
    if (!error || (error->kind != Kind::unreachable && error->kind != Kind::timeout)) break;
  }
  opening_ = false;
  if (closed_) co_return loss_;
  if (error) loss_ = *error;
  co_return error;
}

/// getaddrinfo runs on Asio's own thread and cannot be interrupted, so the answer is not awaited
/// but called back: after the deadline nobody listens.
Task<PgResult<PgConnection::Addresses>> PgConnection::resolve(std::string host, std::uint16_t port,
                                                              Instant deadline) {
  resolved_.reset();
  auto answer = [this, host, generation = generation_, mine = *generation_](
                    error_code failed,
                    const boost::asio::ip::tcp::resolver::results_type& results) {
    if (*generation != mine) return;
    Addresses addresses;
    for (const auto& entry : results) addresses.push_back(entry.endpoint().address().to_string());
    if (addresses.empty()) {
      resolved_.emplace(PgError{Kind::unreachable,
                                {},
                                fmt::format("cannot resolve \"{}\": {}", host, failed.message()),
                                {}});
    } else {
      resolved_.emplace(std::move(addresses));
    }
    wake_.cancel();
  };
  resolver_.async_resolve(host, std::to_string(port),
                          boost::asio::ip::resolver_base::numeric_service, std::move(answer));
  co_await wait(0, deadline);
  if (closed_) co_return loss_;
  if (resolved_) co_return std::move(*resolved_);
  drop({Kind::timeout, {}, fmt::format("no answer for the name \"{}\" in time", host), {}});
  co_return loss_;
}

Task<std::optional<PgError>> PgConnection::open_address(const PgEndpoint& where,
                                                        const std::string& hostaddr,
                                                        Instant deadline) {
  {
    Password password;
    if (!where.password_file.empty()) {
      if (auto problem = password.read(where.password_file); !problem.empty()) {
        co_return PgError{Kind::configuration, {}, std::move(problem), {}};
      }
    }
    conn_ = LibpqParameters{where, hostaddr}.start(password.c_str());
  }
  if (conn_ == nullptr) co_return PgError{Kind::configuration, {}, "out of memory", {}};
  PQsetNoticeReceiver(conn_, &PgConnection::on_notice, this);
  PQsetErrorVerbosity(conn_,
                      PQERRORS_VERBOSE);  // the only way to learn the SQLSTATE of a refused login

  bool reached = false;
  auto next = PQstatus(conn_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
    if (!attach()) break;
    const bool woken = co_await wait(next == PGRES_POLLING_READING ? read : write, deadline);
    if (conn_ == nullptr) co_return loss_;  // closed by the owner
    // libpq may close the socket and open another one with the same number, which epoll would not
    // notice: Asio must have let go of it before every poll.
    detach();
    if (!woken) {
      drop({Kind::timeout,
            {},
            fmt::format("no answer from {} in time", place(where, hostaddr)),
            {}});
      co_return loss_;
    }
    next = PQconnectPoll(conn_);
    const auto status = PQstatus(conn_);
    reached = reached || (status != CONNECTION_BAD && status != CONNECTION_STARTED &&
                          status != CONNECTION_NEEDED && status != CONNECTION_MADE);
  }
  if (next == PGRES_POLLING_OK) co_return opened();
  drop(connect_error(reached));
  co_return loss_;
}

std::optional<PgError> PgConnection::opened() {
  server_version_ = PQserverVersion(conn_);
  pid_ = protocol::BackendPid{PQbackendPID(conn_)};
  if (server_version_ < oldest_server) {
    drop({Kind::configuration,
          {},
          fmt::format("the server is PostgreSQL {}, pgleash needs 12 or newer",
                      PQparameterStatus(conn_, "server_version")),
          {}});
    return loss_;
  }
  PQsetErrorVerbosity(conn_, PQERRORS_DEFAULT);
  if (PQsetnonblocking(conn_, 1) != 0 || !attach()) {
    drop({Kind::lost, {}, libpq_message(PQerrorMessage(conn_)), {}});
    return loss_;
  }
  arm(read);
  return std::nullopt;
}

PgError PgConnection::connect_error(bool reached) const {
  PgError error;
  error.message = libpq_message(PQerrorMessage(conn_), &error.sqlstate);
  error.kind = reached || !error.sqlstate.empty() ? Kind::refused : Kind::unreachable;
  return error;
}

}  // namespace pgleash::watchdog
