#pragma once

#include "tests/support/wait_until.hpp"

#include <libpq-fe.h>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/types.h>

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
    if (PQstatus(connection_.get()) != CONNECTION_OK)
      throw std::runtime_error{PQerrorMessage(connection_.get())};
    pid_ = PQbackendPID(connection_.get());
    PQsetNoticeReceiver(connection_.get(), &LibpqClient::on_notice, words_.get());
  }

  /// Also when the session is over, of which libpq says 0.
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] PGconn* raw() const { return connection_.get(); }

  /// First column of the first row; throws on an error.
  std::string exec(const std::string& sql) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(raw(), sql.c_str()),
                                                               &PQclear};
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
      throw std::runtime_error{PQerrorMessage(raw())};
    return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
  }
  /// Sends it and does not wait for the answer.
  void send(const std::string& sql) {
    if (PQsendQuery(raw(), sql.c_str()) == 0) throw std::runtime_error{PQerrorMessage(raw())};
  }
  /// True once the server has ended this session; its last words are in words() then.
  bool ended(std::chrono::nanoseconds patience) {
    return wait_until(
        [this] {
          const bool open = PQconsumeInput(raw()) != 0;
          PQisBusy(raw());  // parses what came
          return !open;
        },
        patience);
  }
  /// The server's last FATAL, empty when it went without a word.
  [[nodiscard]] const std::string& words() const { return *words_; }
  void close() { connection_.reset(); }

 private:
  struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
  };
  /// An error that nobody asked for comes as a notice.
  static void on_notice(void* words, const PGresult* notice) {
    const char* severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char* message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    if (severity != nullptr && message != nullptr && std::string{severity} == "FATAL") {
      *static_cast<std::string*>(words) = message;
    }
  }

  pid_t pid_ = 0;
  std::unique_ptr<std::string> words_ = std::make_unique<std::string>();
  std::unique_ptr<PGconn, Finish> connection_;
};

}  // namespace pgleash::test
