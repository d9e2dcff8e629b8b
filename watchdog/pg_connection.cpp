#include "watchdog/pg_connection.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <cassert>

namespace pgleash::watchdog {
namespace {

using boost::asio::posix::stream_descriptor;
using boost::system::error_code;
using Kind = PgError::Kind;

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text != nullptr ? text : "";
}

}  // namespace

/// Marks the connection as carrying a statement. A task that is destroyed halfway leaves a
/// connection nobody can use.
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

PgConnection::~PgConnection() {
  close();
}

Task<PgResult<PgRows>> PgConnection::prepare(std::string name, std::string sql, Instant deadline) {
  if (!alive()) co_return loss_;
  const int sent = PQsendPrepare(conn_, name.c_str(), sql.c_str(), 0, nullptr);
  co_return co_await finish(sent, std::move(name), deadline);
}

Task<PgResult<PgRows>> PgConnection::execute(std::string name, PgParameters parameters,
                                             Instant deadline) {
  if (!alive()) co_return loss_;
  const auto all = parameters.arrays();
  const int sent = PQsendQueryPrepared(conn_, name.c_str(), parameters.size(), all.values.data(),
                                       all.lengths.data(), all.formats.data(), 1);
  co_return co_await finish(sent, std::move(name), deadline);
}

Task<PgResult<PgRows>> PgConnection::query(std::string sql, PgParameters parameters,
                                           Instant deadline) {
  if (!alive()) co_return loss_;
  const auto all = parameters.arrays();
  const int sent = PQsendQueryParams(conn_, sql.c_str(), parameters.size(), all.types.data(),
                                     all.values.data(), all.lengths.data(), all.formats.data(), 1);
  co_return co_await finish(sent, "query", deadline);
}

Task<PgResult<PgRows>> PgConnection::finish(int sent, std::string statement, Instant deadline) {
  InUse use{*this};
  if (sent == 0) {
    drop({Kind::lost, {}, libpq_message(PQerrorMessage(conn_)), statement});
    co_return loss_;
  }
  const bool flushed = co_await flush(deadline);
  if (!flushed) co_return interrupted(std::move(statement));
  PgRows rows;
  std::optional<PgError> error;
  for (;;) {
    const bool received = co_await receive(deadline);
    if (!received) {
      auto why = interrupted(std::move(statement));
      if (!error || why.kind != Kind::lost) co_return why;
      error->kind = Kind::lost;  // its FATAL came, then its end
      loss_ = *error;
      co_return loss_;
    }
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
          if (message.empty()) message = libpq_message(PQresultErrorMessage(result));
          error = PgError{Kind::refused, field(result, PG_DIAG_SQLSTATE), std::move(message),
                          statement};
        }
        break;
      default:  // COPY: PQgetResult would answer so for ever
        drop({Kind::lost,
              {},
              fmt::format("unexpected {}", PQresStatus(PQresultStatus(result))),
              statement});
        co_return loss_;
    }
  }
  if (PQstatus(conn_) == CONNECTION_BAD) {  // the server's FATAL came as the answer
    if (!error) error = PgError{Kind::lost, {}, libpq_message(PQerrorMessage(conn_)), statement};
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
      drop({Kind::lost, {}, libpq_message(PQerrorMessage(conn_)), {}});
      co_return false;
    }
    // The server may be blocked writing to us: read too, or both wait for ever.
    const bool moved = co_await wait(read | write, deadline);
    if (!moved || conn_ == nullptr) co_return false;
    if ((ready_ & read) != 0 && PQconsumeInput(conn_) == 0) {
      drop({Kind::lost, {}, libpq_message(PQerrorMessage(conn_)), {}});
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
      drop({Kind::lost,
            fatal_sqlstate_,
            fatal_.empty() ? libpq_message(PQerrorMessage(conn_)) : fatal_,
            {}});
      co_return false;
    }
  }
  co_return true;
}

/// A wait ended without what was waited for: it is lost already, or the deadline passed.
PgError PgConnection::interrupted(std::string statement) {
  if (conn_ != nullptr)
    drop({Kind::timeout, {}, "no answer in time; the connection was dropped", {}});
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

/// True when something of `interest` is ready; false at the deadline, or when the connection was
/// dropped.
Task<bool> PgConnection::wait(unsigned interest, Instant deadline) {
  ready_ = 0;
  wake_.expires_at(deadline);
  if ((interest & read) != 0) arm(read);
  if ((interest & write) != 0) arm(write);
  error_code cancelled_or_not;  // which says nothing: what happened is in ready_
  co_await wake_.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, cancelled_or_not));
  co_return conn_ != nullptr&& ready_ != 0;
}

void PgConnection::arm(Interest interest) {
  if ((armed_ & interest) != 0) return;
  armed_ |= interest;
  auto handler = [this, interest, generation = generation_, mine = *generation_](error_code) {
    if (*generation == mine) ready(interest);
  };
  socket_.async_wait(
      interest == read ? stream_descriptor::wait_read : stream_descriptor::wait_write,
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
    drop({Kind::lost,
          fatal_sqlstate_,
          fatal_.empty() ? libpq_message(PQerrorMessage(conn_)) : fatal_,
          {}});
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

/// Takes the descriptor from Asio without closing it: it is libpq's. Pending waits find their
/// generation gone.
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
