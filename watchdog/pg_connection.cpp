#include "watchdog/pg_connection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>
#include <string_view>

#include "watchdog/clock.hpp"
#include "watchdog/password_file.hpp"

namespace pgleash::watchdog {
namespace {

using boost::asio::posix::stream_descriptor;
using boost::system::error_code;
using Kind = PgError::Kind;

constexpr int oldest_server = 120000;

long long milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

/// Read-only, nothing that waits long or costs much, nothing that an ALTER ROLE or ALTER DATABASE could change.
/// (pg_terminate_backend is no write: it works in a read-only transaction.)
std::string session_options(const PgEndpoint& where) {
  return fmt::format(
      "-c search_path=pg_catalog -c statement_timeout={}ms -c lock_timeout=1s"
      " -c idle_in_transaction_session_timeout=10s -c jit=off -c max_parallel_workers_per_gather=0"
      " -c default_transaction_read_only=on -c DateStyle=ISO -c TimeZone=UTC",
      milliseconds(where.statement_timeout));
}

/// libpq's parameters: the names are literals, the values are kept here.
class Parameters {
 public:
  void add(const char* keyword, std::string value) {
    keywords_.push_back(keyword);
    values_.push_back(std::move(value));
  }
  PGconn* start(const char* password) const {
    auto keywords = keywords_;
    std::vector<const char*> values;
    for (const auto& value : values_) values.push_back(value.c_str());
    keywords.push_back("password");
    values.push_back(password);
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    return PQconnectStartParams(keywords.data(), values.data(), 0);
  }

 private:
  std::vector<const char*> keywords_;
  std::vector<std::string> values_;
};

Parameters parameters(const PgEndpoint& where, const std::string& hostaddr) {
  using std::chrono::duration_cast, std::chrono::seconds;
  Parameters all;
  all.add("host", where.address.host);
  if (!hostaddr.empty()) all.add("hostaddr", hostaddr);  // a name alone would make libpq ask the DNS, and block
  all.add("port", std::to_string(where.address.port));
  all.add("user", where.user);
  all.add("dbname", where.database);
  all.add("application_name", where.application_name);
  all.add("options", session_options(where));
  all.add("client_encoding", "SQL_ASCII");
  all.add("gssencmode", "disable");
  all.add("keepalives", "1");
  all.add("keepalives_idle", std::to_string(duration_cast<seconds>(where.keepalive.idle).count()));
  all.add("keepalives_interval", std::to_string(duration_cast<seconds>(where.keepalive.interval).count()));
  all.add("keepalives_count", std::to_string(where.keepalive.count));
  all.add("tcp_user_timeout", std::to_string(milliseconds(where.keepalive.user_timeout)));
  return all;
}

std::string place(const PgEndpoint& where, const std::string& hostaddr) {
  const auto& address = where.address;
  if (address.is_unix) return fmt::format("{}/.s.PGSQL.{}", address.host, address.port);
  if (hostaddr.empty() || hostaddr == address.host) return fmt::format("{} port {}", address.host, address.port);
  return fmt::format("{} ({}) port {}", address.host, hostaddr, address.port);
}

bool is_sqlstate(std::string_view text) {
  return text.size() == 5 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
         });
}

/// One line out of libpq's several: it repeats itself when it tried with TLS and without.
/// Takes the SQLSTATE out, which verbose errors have after the severity ("FATAL:  28P01: password …").
std::string one_line(std::string_view text, std::string* sqlstate = nullptr) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string line{text.substr(0, end)};
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with("LOCATION:")) continue;
    for (auto at = line.find(":  "); at != std::string::npos; at = line.find(":  ", at + 1)) {
      const auto code = line.substr(at + 3, 5);
      if (!is_sqlstate(code) || line.compare(at + 8, 2, ": ") != 0) continue;
      if (sqlstate != nullptr) *sqlstate = code;
      line.replace(at, 10, ": ");
      break;
    }
    if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
  }
  return fmt::format("{}", fmt::join(lines, "; "));
}

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text != nullptr ? text : "";
}

}  // namespace

PgEndpoint monitor_endpoint(const config::Server& server) {
  PgEndpoint where;
  where.address = server.address;
  where.keepalive = server.keepalive;
  where.user = server.monitor.user;
  where.database = server.monitor.database;
  where.password_file = server.monitor.password_file;
  where.statement_timeout = server.monitor.statement_timeout;
  return where;
}

/// Marks the connection as carrying a statement. A task that is destroyed halfway leaves a connection nobody can use.
class PgConnection::InUse {
 public:
  explicit InUse(PgConnection& connection)
      : connection_(connection), generation_(connection.generation_), mine_(*generation_) {
    assert(!connection.in_use_ && "one statement at a time");
    connection.in_use_ = true;
  }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  ~InUse() {
    if (*generation_ != mine_) return;  // dropped meanwhile, perhaps even destroyed
    connection_.in_use_ = false;
    if (!done_) connection_.drop({Kind::lost, {}, "the statement was abandoned", {}});
  }
  void done() noexcept { done_ = true; }

 private:
  PgConnection& connection_;
  std::shared_ptr<std::uint64_t> generation_;
  std::uint64_t mine_;
  bool done_ = false;
};

PgConnection::PgConnection(boost::asio::any_io_executor executor)
    : socket_(executor),
      wake_(executor),
      resolver_(executor),
      generation_(std::make_shared<std::uint64_t>(0)),
      loss_{Kind::lost, {}, "not connected yet", {}} {}

PgConnection::~PgConnection() { close(); }

Task<PgResult<std::unique_ptr<PgConnection>>> PgConnection::connect(PgEndpoint where, Instant deadline) {
  auto connection = std::make_unique<PgConnection>(co_await boost::asio::this_coro::executor);
  if (auto error = co_await connection->open(std::move(where), deadline)) co_return std::move(*error);
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

/// getaddrinfo runs on Asio's own thread and cannot be interrupted, so the answer is not awaited but called back:
/// after the deadline nobody listens.
Task<PgResult<PgConnection::Addresses>> PgConnection::resolve(std::string host, std::uint16_t port, Instant deadline) {
  resolved_.reset();
  auto answer = [this, host, generation = generation_, mine = *generation_](
                    error_code failed, const boost::asio::ip::tcp::resolver::results_type& results) {
    if (*generation != mine) return;
    Addresses addresses;
    for (const auto& entry : results) addresses.push_back(entry.endpoint().address().to_string());
    if (addresses.empty()) {
      resolved_.emplace(PgError{Kind::unreachable, {}, fmt::format("cannot resolve \"{}\": {}", host, failed.message()), {}});
    } else {
      resolved_.emplace(std::move(addresses));
    }
    wake_.cancel();
  };
  resolver_.async_resolve(host, std::to_string(port), boost::asio::ip::resolver_base::numeric_service,
                          std::move(answer));
  co_await wait(0, deadline);
  if (closed_) co_return loss_;
  if (resolved_) co_return std::move(*resolved_);
  drop({Kind::timeout, {}, fmt::format("no answer for the name \"{}\" in time", host), {}});
  co_return loss_;
}

Task<std::optional<PgError>> PgConnection::open_address(const PgEndpoint& where, const std::string& hostaddr,
                                                        Instant deadline) {
  {
    Password password;
    if (!where.password_file.empty()) {
      if (auto problem = password.read(where.password_file); !problem.empty()) {
        co_return PgError{Kind::configuration, {}, std::move(problem), {}};
      }
    }
    conn_ = parameters(where, hostaddr).start(password.c_str());
  }
  if (conn_ == nullptr) co_return PgError{Kind::configuration, {}, "out of memory", {}};
  PQsetNoticeReceiver(conn_, &PgConnection::on_notice, this);
  PQsetErrorVerbosity(conn_, PQERRORS_VERBOSE);  // the only way to learn the SQLSTATE of a refused login

  bool reached = false;
  auto next = PQstatus(conn_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
    if (!attach()) break;
    const bool woken = co_await wait(next == PGRES_POLLING_READING ? read : write, deadline);
    if (conn_ == nullptr) co_return loss_;  // closed by the owner
    // libpq may close the socket and open another one with the same number, which epoll would not notice:
    // Asio must have let go of it before every poll.
    detach();
    if (!woken) {
      drop({Kind::timeout, {}, fmt::format("no answer from {} in time", place(where, hostaddr)), {}});
      co_return loss_;
    }
    next = PQconnectPoll(conn_);
    const auto status = PQstatus(conn_);
    reached = reached || (status != CONNECTION_BAD && status != CONNECTION_STARTED && status != CONNECTION_NEEDED &&
                          status != CONNECTION_MADE);
  }
  if (next == PGRES_POLLING_OK) co_return opened();
  drop(connect_error(reached));
  co_return loss_;
}

std::optional<PgError> PgConnection::opened() {
  server_version_ = PQserverVersion(conn_);
  pid_ = protocol::BackendPid{PQbackendPID(conn_)};
  if (server_version_ < oldest_server) {
    drop({Kind::configuration, {}, fmt::format("the server is PostgreSQL {}, pgleash needs 12 or newer",
                                               PQparameterStatus(conn_, "server_version")), {}});
    return loss_;
  }
  PQsetErrorVerbosity(conn_, PQERRORS_DEFAULT);
  if (PQsetnonblocking(conn_, 1) != 0 || !attach()) {
    drop({Kind::lost, {}, one_line(PQerrorMessage(conn_)), {}});
    return loss_;
  }
  arm(read);
  return std::nullopt;
}

PgError PgConnection::connect_error(bool reached) const {
  PgError error;
  error.message = one_line(PQerrorMessage(conn_), &error.sqlstate);
  error.kind = reached || !error.sqlstate.empty() ? Kind::refused : Kind::unreachable;
  return error;
}

Task<PgResult<PgRows>> PgConnection::prepare(std::string name, std::string sql, Instant deadline) {
  if (!alive()) co_return loss_;
  const int sent = PQsendPrepare(conn_, name.c_str(), sql.c_str(), 0, nullptr);
  co_return co_await finish(sent, std::move(name), deadline);
}

Task<PgResult<PgRows>> PgConnection::execute(std::string name, PgParameters parameters, Instant deadline) {
  if (!alive()) co_return loss_;
  const auto all = parameters.arrays();
  const int sent = PQsendQueryPrepared(conn_, name.c_str(), parameters.size(), all.values.data(), all.lengths.data(),
                                       all.formats.data(), 1);
  co_return co_await finish(sent, std::move(name), deadline);
}

Task<PgResult<PgRows>> PgConnection::query(std::string sql, PgParameters parameters, Instant deadline) {
  if (!alive()) co_return loss_;
  const auto all = parameters.arrays();
  const int sent = PQsendQueryParams(conn_, sql.c_str(), parameters.size(), all.types.data(), all.values.data(),
                                     all.lengths.data(), all.formats.data(), 1);
  co_return co_await finish(sent, "query", deadline);
}

Task<PgResult<PgRows>> PgConnection::finish(int sent, std::string statement, Instant deadline) {
  InUse use{*this};
  if (sent == 0) {
    drop({Kind::lost, {}, one_line(PQerrorMessage(conn_)), statement});
    co_return loss_;
  }
  const bool flushed = co_await flush(deadline);
  if (!flushed) co_return interrupted(std::move(statement));
  PgRows rows;
  std::optional<PgError> error;
  for (;;) {
    const bool received = co_await receive(deadline);
    if (!received) co_return interrupted(std::move(statement));
    PGresult* result = PQgetResult(conn_);
    if (result == nullptr) break;
    PgRows some{result};
    switch (PQresultStatus(result)) {
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        rows = std::move(some);
        break;
      case PGRES_FATAL_ERROR:
        if (!error) {
          auto message = field(result, PG_DIAG_MESSAGE_PRIMARY);
          if (message.empty()) message = one_line(PQresultErrorMessage(result));
          error = PgError{Kind::refused, field(result, PG_DIAG_SQLSTATE), std::move(message), statement};
        }
        break;
      default:  // COPY: PQgetResult would answer so for ever
        drop({Kind::lost, {}, fmt::format("unexpected {}", PQresStatus(PQresultStatus(result))), statement});
        co_return loss_;
    }
  }
  if (PQstatus(conn_) == CONNECTION_BAD) {  // the server's FATAL came as the answer
    if (!error) error = PgError{Kind::lost, {}, one_line(PQerrorMessage(conn_)), statement};
    error->kind = Kind::lost;
    drop(*error);
    co_return std::move(*error);
  }
  use.done();
  arm(read);
  if (error) co_return std::move(*error);
  co_return rows;
}

/// False when the connection died or the deadline passed.
Task<bool> PgConnection::flush(Instant deadline) {
  for (;;) {
    const int left = PQflush(conn_);
    if (left == 0) co_return true;
    if (left < 0) {
      drop({Kind::lost, {}, one_line(PQerrorMessage(conn_)), {}});
      co_return false;
    }
    // The server may be blocked writing to us: read too, or both wait for ever.
    const bool moved = co_await wait(read | write, deadline);
    if (!moved || conn_ == nullptr) co_return false;
    if ((ready_ & read) != 0 && PQconsumeInput(conn_) == 0) {
      drop({Kind::lost, {}, one_line(PQerrorMessage(conn_)), {}});
      co_return false;
    }
  }
}

/// True when PQgetResult would not block.
Task<bool> PgConnection::receive(Instant deadline) {
  while (PQisBusy(conn_) != 0) {
    // In a statement of its own: a co_await inside || is miscompiled here (g++ 12).
    const bool moved = co_await wait(read, deadline);
    if (!moved || conn_ == nullptr) co_return false;
    if (PQconsumeInput(conn_) == 0) {
      drop({Kind::lost, fatal_sqlstate_, fatal_.empty() ? one_line(PQerrorMessage(conn_)) : fatal_, {}});
      co_return false;
    }
  }
  co_return true;
}

/// A wait ended without what was waited for: it is lost already, or the deadline passed.
PgError PgConnection::interrupted(std::string statement) {
  if (conn_ != nullptr) drop({Kind::timeout, {}, "no answer in time; the connection was dropped", {}});
  auto error = loss_;
  error.statement = std::move(statement);
  return error;
}

Task<bool> PgConnection::lost_before(Instant deadline) {
  if (alive()) co_await wait(read, deadline);
  co_return !alive();
}

void PgConnection::close() {
  closed_ = true;
  drop({Kind::lost, {}, "closed", {}});
}

/// True when something of `interest` is ready; false at the deadline, or when the connection was dropped.
Task<bool> PgConnection::wait(unsigned interest, Instant deadline) {
  ready_ = 0;
  wake_.expires_at(deadline);
  if ((interest & read) != 0) arm(read);
  if ((interest & write) != 0) arm(write);
  error_code cancelled_or_not;  // which says nothing: what happened is in ready_
  co_await wake_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, cancelled_or_not));
  co_return conn_ != nullptr && ready_ != 0;
}

void PgConnection::arm(Interest interest) {
  if ((armed_ & interest) != 0) return;
  armed_ |= interest;
  auto handler = [this, interest, generation = generation_, mine = *generation_](error_code) {
    if (*generation == mine) ready(interest);
  };
  socket_.async_wait(interest == read ? stream_descriptor::wait_read : stream_descriptor::wait_write,
                     std::move(handler));
}

void PgConnection::ready(Interest interest) {
  armed_ &= ~static_cast<unsigned>(interest);
  ready_ |= interest;
  if (in_use_ || opening_) {
    wake_.cancel();
  } else if (interest == read) {
    idle_input();
  }
}

/// Nobody asked: a notice, a ParameterStatus, the server's FATAL, or its end.
void PgConnection::idle_input() {
  const bool read_well = PQconsumeInput(conn_) != 0;
  PQisBusy(conn_);  // parses what came, for the notice receiver
  if (!read_well || PQstatus(conn_) == CONNECTION_BAD) {
    drop({Kind::lost, fatal_sqlstate_, fatal_.empty() ? one_line(PQerrorMessage(conn_)) : fatal_, {}});
    return;
  }
  while (PGnotify* notify = PQnotifies(conn_)) PQfreemem(notify);
  arm(read);
}

bool PgConnection::attach() {
  error_code failed;
  socket_.assign(PQsocket(conn_), failed);
  return !failed;
}

/// Takes the descriptor from Asio without closing it: it is libpq's. Pending waits find their generation gone.
void PgConnection::detach() {
  ++*generation_;
  armed_ = 0;
  if (socket_.is_open()) socket_.release();
}

void PgConnection::drop(PgError why) {
  detach();
  in_use_ = false;
  if (conn_ != nullptr) {
    PQfinish(conn_);
    conn_ = nullptr;
    loss_ = std::move(why);
  } else if (opening_) {
    loss_ = std::move(why);
  }
  wake_.cancel();
}

void PgConnection::on_notice(void* self, const PGresult* notice) {
  const auto severity = field(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
  if (severity != "FATAL" && severity != "PANIC") return;
  auto& connection = *static_cast<PgConnection*>(self);
  connection.fatal_ = field(notice, PG_DIAG_MESSAGE_PRIMARY);
  connection.fatal_sqlstate_ = field(notice, PG_DIAG_SQLSTATE);
}

}  // namespace pgleash::watchdog
