#pragma once

#include <libpq-fe.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/support/wait_until.hpp"

namespace pgleash::test {

/// An application's session, as libpq makes one.
class LibpqClient {
 public:
  /// libpq's connection parameters; throws when the login fails.
  explicit LibpqClient(std::map<std::string, std::string> parameters) {
    parameters.emplace("connect_timeout", "10");
    std::string text;
    for (const auto& [key, value] : parameters) text += key + "='" + value + "' ";
    connection_.reset(PQconnectdb(text.c_str()));
    if (PQstatus(connection_.get()) != CONNECTION_OK) throw std::runtime_error{PQerrorMessage(connection_.get())};
    PQsetNoticeReceiver(connection_.get(), [](void*, const PGresult*) {}, nullptr);
  }

  [[nodiscard]] pid_t pid() const { return PQbackendPID(connection_.get()); }
  [[nodiscard]] PGconn* raw() const { return connection_.get(); }

  /// First column of the first row; throws on an error.
  std::string exec(const std::string& sql) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(raw(), sql.c_str()), &PQclear};
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) throw std::runtime_error{PQerrorMessage(raw())};
    return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
  }
  /// Sends it and does not wait for the answer.
  void send(const std::string& sql) {
    if (PQsendQuery(raw(), sql.c_str()) == 0) throw std::runtime_error{PQerrorMessage(raw())};
  }
  /// True once the server has ended this session; `words` is what it said.
  bool ended(std::chrono::nanoseconds patience) {
    return wait_until([this] { return PQconsumeInput(raw()) == 0; }, patience);
  }
  [[nodiscard]] std::string words() const { return PQerrorMessage(raw()); }
  void close() { connection_.reset(); }

 private:
  struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
  };
  std::unique_ptr<PGconn, Finish> connection_;
};

}  // namespace pgleash::test
