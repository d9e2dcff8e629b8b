#pragma once

#include "tests/support/libpq_client.hpp"

#include <libpq-fe.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace pgleash::test {

/// An error as the server, or pgleash in its place, reported it.
struct ServerError {
  std::string severity, sqlstate, message, detail, hint;

  static ServerError of(const PGresult* result) {
    const auto field = [result](int code) {
      const char* value = PQresultErrorField(result, code);
      return std::string{value != nullptr ? value : ""};
    };
    return {field(PG_DIAG_SEVERITY_NONLOCALIZED), field(PG_DIAG_SQLSTATE),
            field(PG_DIAG_MESSAGE_PRIMARY), field(PG_DIAG_MESSAGE_DETAIL),
            field(PG_DIAG_MESSAGE_HINT)};
  }
  /// Of our messages: "Incident X: …".
  [[nodiscard]] std::string incident() const {
    constexpr std::string_view before = "Incident ";
    if (!detail.starts_with(before)) return {};
    return detail.substr(before.size(), detail.find(':') - before.size());
  }
};

struct FreeResult {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, FreeResult>;

/// A session that remembers the last error it was told, also one that came while it was idle.
class Application {
 public:
  explicit Application(std::map<std::string, std::string> words) : client_(std::move(words)) {
    PQsetNoticeReceiver(client_.raw(), &Application::notice, error_.get());
  }

  [[nodiscard]] pid_t pid() const { return client_.pid(); }
  [[nodiscard]] PGconn* raw() const { return client_.raw(); }
  [[nodiscard]] int socket() const { return PQsocket(client_.raw()); }
  std::string exec(const std::string& sql) { return client_.exec(sql); }
  void send(const std::string& sql) {
    client_.send(sql);
    flush();
  }
  void flush() {
    while (PQflush(raw()) == 1) {
    }
  }
  void close() { client_.close(); }

  /// The error of the statement; nothing when it succeeded.
  std::optional<ServerError> error_of(const std::string& sql) {
    if (PQsendQuery(raw(), sql.c_str()) == 0)
      return ServerError{"FATAL", "", PQerrorMessage(raw()), "", ""};
    return finish();
  }
  /// Waits for the results of what was sent; the first error among them.
  std::optional<ServerError> finish() {
    std::optional<ServerError> first;
    while (const Result result{PQgetResult(raw())}) {
      const auto status = PQresultStatus(result.get());
      if ((status == PGRES_FATAL_ERROR || status == PGRES_PIPELINE_ABORTED) && !first)
        first = ServerError::of(result.get());
    }
    return first;
  }
  /// Waits for the end of the session; what it was told then. Nothing: it still lives.
  std::optional<ServerError> ended(std::chrono::nanoseconds patience) {
    if (!client_.ended(patience)) return std::nullopt;
    (void)PQisBusy(raw());  // libpq parses only when asked
    if (const auto error = finish()) return error;
    return *error_;
  }

 private:
  static void notice(void* self, const PGresult* result) {
    auto error = ServerError::of(result);
    if (error.severity == "FATAL") *static_cast<ServerError*>(self) = std::move(error);
  }

  LibpqClient client_;
  std::unique_ptr<ServerError> error_ = std::make_unique<ServerError>();
};

}  // namespace pgleash::test
