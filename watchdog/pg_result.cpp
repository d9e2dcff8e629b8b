#include "watchdog/pg_result.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>

namespace pgleash::watchdog {
namespace {

// pg_type.dat: these numbers are part of PostgreSQL's interface and never change.
constexpr Oid int4_oid = 23;
constexpr Oid text_oid = 25;
constexpr Oid timestamptz_oid = 1184;

/// Network byte order, as every binary format of PostgreSQL.
template <std::unsigned_integral T>
T decode(std::string_view bytes) noexcept {
  if (bytes.size() != sizeof(T)) return 0;
  T value = 0;
  for (const char byte : bytes)
    value = static_cast<T>(value << 8U | static_cast<unsigned char>(byte));
  return value;
}

template <std::unsigned_integral T>
std::string encode(T value) {
  std::string bytes(sizeof(T), '\0');
  for (std::size_t i = sizeof(T); i-- > 0; value = static_cast<T>(value >> 8U)) {
    bytes[i] = static_cast<char>(value & 0xFFU);
  }
  return bytes;
}

bool is_sqlstate(std::string_view text) {
  return text.size() == 5 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
         });
}

}  // namespace

std::string libpq_message(std::string_view text, std::string* sqlstate) {
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

std::string_view name(PgError::Kind kind) noexcept {
  switch (kind) {
    case PgError::Kind::configuration:
      return "configuration";
    case PgError::Kind::unreachable:
      return "unreachable";
    case PgError::Kind::refused:
      return "refused";
    case PgError::Kind::lost:
      return "lost";
    case PgError::Kind::timeout:
      return "timeout";
  }
  return "unknown";
}

bool PgRows::null(int row, int column) const noexcept {
  return !result_ || PQgetisnull(result_.get(), row, column) != 0;
}

std::string_view PgRows::text(int row, int column) const noexcept {
  if (null(row, column)) return {};
  return {PQgetvalue(result_.get(), row, column),
          static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

bool PgRows::boolean(int row, int column) const noexcept {
  return decode<std::uint8_t>(text(row, column)) != 0;
}

std::int32_t PgRows::int4(int row, int column) const noexcept {
  return static_cast<std::int32_t>(decode<std::uint32_t>(text(row, column)));
}

std::uint32_t PgRows::oid(int row, int column) const noexcept {
  return decode<std::uint32_t>(text(row, column));
}

std::int64_t PgRows::int8(int row, int column) const noexcept {
  return static_cast<std::int64_t>(decode<std::uint64_t>(text(row, column)));
}

std::optional<ServerTime> PgRows::time(int row, int column) const noexcept {
  constexpr std::int64_t day = std::int64_t{86'400} * 1'000'000;
  constexpr std::int64_t new_year_1900 = -36'524 * day;
  constexpr std::int64_t new_year_2100 = 36'525 * day;
  const std::int64_t microseconds = int8(row, column);
  if (null(row, column) || microseconds < new_year_1900 || microseconds >= new_year_2100)
    return std::nullopt;
  return ServerTime{microseconds};
}

PgParameters& PgParameters::add_int4(std::int32_t value) {
  return add(int4_oid, encode(static_cast<std::uint32_t>(value)));
}

PgParameters& PgParameters::add_time(std::optional<ServerTime> value) {
  if (!value) return add(timestamptz_oid, std::nullopt);
  return add(timestamptz_oid, encode(static_cast<std::uint64_t>(value->microseconds)));
}

PgParameters& PgParameters::add_text(std::optional<std::string> value) {
  return add(text_oid, std::move(value));
}

PgParameters& PgParameters::add(Oid type, std::optional<std::string> bytes) {
  types_.push_back(type);
  bytes_.push_back(std::move(bytes));
  return *this;
}

PgParameters::Arrays PgParameters::arrays() const {
  Arrays arrays;
  arrays.types = types_;
  for (const auto& bytes : bytes_) {
    arrays.values.push_back(bytes ? bytes->data() : nullptr);
    arrays.lengths.push_back(bytes ? static_cast<int>(bytes->size()) : 0);
    arrays.formats.push_back(1);
  }
  return arrays;
}

}  // namespace pgleash::watchdog
