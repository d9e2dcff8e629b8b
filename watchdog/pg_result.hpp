#pragma once

#include "watchdog/activity.hpp"

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pgleash::watchdog {

/// Why a connection could not be had, or a statement gave no rows.
struct PgError {
  enum class Kind : std::uint8_t {
    configuration,  ///< our own side: the password file, a server too old
    unreachable,    ///< no server answered
    refused,        ///< the server answered with an error; the connection, if any, lives on
    lost,           ///< the connection is gone
    timeout,        ///< the deadline passed; the connection was dropped
  };
  Kind kind = Kind::lost;
  std::string sqlstate;   ///< empty when no server said anything
  std::string message;    ///< primary message, one line, with what we know of the place
  std::string statement;  ///< name of the prepared statement, or "query"; empty while connecting
};
[[nodiscard]] std::string_view name(PgError::Kind kind) noexcept;

/// libpq's text in one line: it ends lines, and repeats itself when it tried with TLS and without.
/// With `sqlstate`, that is taken out of a verbose text ("FATAL:  28P01: password …"), the only
/// place where a refused login has it.
[[nodiscard]] std::string libpq_message(std::string_view text, std::string* sqlstate = nullptr);

/// A value or a PgError. Asking for the one that is not there is a bug of ours.
template <class T>
class [[nodiscard]] PgResult {
 public:
  PgResult(T value)  // NOLINT(google-explicit-constructor): reads as a return value
      : content_(std::in_place_index<0>, std::move(value)) {}
  PgResult(PgError error)  // NOLINT(google-explicit-constructor): reads as a return value
      : content_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] explicit operator bool() const noexcept { return content_.index() == 0; }
  [[nodiscard]] T& operator*() & { return std::get<0>(content_); }
  [[nodiscard]] const T& operator*() const& { return std::get<0>(content_); }
  [[nodiscard]] T* operator->() { return &std::get<0>(content_); }
  [[nodiscard]] const T* operator->() const { return &std::get<0>(content_); }
  [[nodiscard]] const PgError& error() const { return std::get<1>(content_); }

 private:
  std::variant<T, PgError> content_;
};

/// The rows of one statement, in binary format. Columns by position; the type asked for must be the
/// column's own (int4, int8, bool, oid, timestamptz, or any whose binary form is its text). Texts
/// are bytes: what pg_stat_activity shows is in the encoding of the session it came from.
class PgRows {
 public:
  PgRows() = default;
  explicit PgRows(PGresult* result) : result_(result) {}

  [[nodiscard]] int size() const noexcept { return result_ ? PQntuples(result_.get()) : 0; }
  [[nodiscard]] bool null(int row, int column) const noexcept;
  [[nodiscard]] std::string_view text(int row, int column) const noexcept;  ///< empty for NULL
  [[nodiscard]] bool boolean(int row, int column) const noexcept;           ///< false for NULL
  [[nodiscard]] std::int32_t int4(int row, int column) const noexcept;      ///< 0 for NULL
  [[nodiscard]] std::uint32_t oid(int row, int column) const noexcept;  ///< 0 (InvalidOid) for NULL
  [[nodiscard]] std::int64_t int8(int row, int column) const noexcept;  ///< 0 for NULL
  /// Empty for NULL, and for what no clock shows: infinity, or outside the years 1900 to 2099. So
  /// any two can be taken from each other, and the difference is a Duration.
  [[nodiscard]] std::optional<ServerTime> time(int row, int column) const noexcept;

 private:
  struct Clear {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
  };
  std::unique_ptr<PGresult, Clear> result_;
};

/// Values for $1, $2 … in the order they are added, in binary format where PostgreSQL's type has
/// one we need.
class PgParameters {
 public:
  PgParameters& add_int4(std::int32_t value);
  PgParameters& add_time(std::optional<ServerTime> value);
  PgParameters& add_text(std::optional<std::string> value);

  [[nodiscard]] int size() const noexcept { return static_cast<int>(bytes_.size()); }
  /// The arrays that libpq takes; valid while this object is.
  struct Arrays {
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
    std::vector<Oid> types;
  };
  [[nodiscard]] Arrays arrays() const;

 private:
  PgParameters& add(Oid type, std::optional<std::string> bytes);

  std::vector<std::optional<std::string>> bytes_;
  std::vector<Oid> types_;
};

}  // namespace pgleash::watchdog
