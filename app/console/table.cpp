#include "app/console/table.hpp"

#include "watchdog/utf8.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>

namespace pgleash::console {
namespace {

/// 2000-01-01, where PostgreSQL's clock begins, in the seconds of 1970.
constexpr std::int64_t epoch = 946'684'800;
constexpr std::int64_t second = 1'000'000;

std::string time_text(watchdog::ServerTime time) {
  const std::int64_t whole = time.microseconds >= 0 ? time.microseconds / second
                                                    : (time.microseconds - second + 1) / second;
  const std::int64_t rest = time.microseconds - whole * second;
  std::string text =
      fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(whole + epoch)));
  if (rest != 0) {
    std::string fraction = fmt::format(".{:06}", rest);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    text += fraction;
  }
  return text + "+00";
}

std::string span_text(Span span) {
  const std::int64_t all = std::abs(span.microseconds);
  const std::int64_t seconds = all / second;
  std::string text = fmt::format("{}{:02}:{:02}:{:02}", span.microseconds < 0 ? "-" : "",
                                 seconds / 3600, seconds / 60 % 60, seconds % 60);
  if (all % second != 0) {
    std::string fraction = fmt::format(".{:06}", all % second);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    text += fraction;
  }
  return text;
}

}  // namespace

std::uint32_t oid_of(Type type) noexcept {
  switch (type) {
    case Type::boolean:
      return 16;
    case Type::int4:
      return 23;
    case Type::int8:
      return 20;
    case Type::float8:
      return 701;
    case Type::oid:
      return 26;
    case Type::xid:
      return 28;
    case Type::text:
      return 25;
    case Type::name:
      return 19;
    case Type::inet:
      return 869;
    case Type::timestamp:
      return 1184;
    case Type::interval:
      break;
  }
  return 1186;
}

std::int16_t size_of(Type type) noexcept {
  switch (type) {
    case Type::boolean:
      return 1;
    case Type::int4:
    case Type::oid:
    case Type::xid:
      return 4;
    case Type::int8:
    case Type::float8:
    case Type::timestamp:
      return 8;
    case Type::name:
      return 64;
    case Type::interval:
      return 16;
    case Type::text:
    case Type::inet:
      break;
  }
  return -1;
}

std::string_view name(Type type) noexcept {
  switch (type) {
    case Type::boolean:
      return "boolean";
    case Type::int4:
      return "integer";
    case Type::int8:
      return "bigint";
    case Type::float8:
      return "double precision";
    case Type::oid:
      return "oid";
    case Type::xid:
      return "xid";
    case Type::text:
      return "text";
    case Type::name:
      return "name";
    case Type::inet:
      return "inet";
    case Type::timestamp:
      return "timestamp with time zone";
    case Type::interval:
      break;
  }
  return "interval";
}

Cell text(std::string_view text) {
  return cleaned(text);
}

Cell text_or_null(std::string_view value) {
  if (value.empty()) return Null{};
  return text(value);
}

std::string cleaned(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : watchdog::valid_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) continue;
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) {
      safe += fmt::format("\\x{:02x}", byte);
    } else {
      safe += c;
    }
  }
  // U+0080 to U+009F: some terminals take them for escape sequences.
  for (std::size_t at = 0; (at = safe.find('\xC2', at)) != std::string::npos; ++at) {
    if (at + 1 >= safe.size()) break;
    const auto next = static_cast<unsigned char>(safe[at + 1]);
    if (next < 0xA0) safe.replace(at, 2, fmt::format("\\u{:04x}", next));
  }
  return safe;
}

std::string to_text(const Cell& cell, Type /*type*/) {
  struct Show {
    std::string operator()(Null /*nothing*/) const { return {}; }
    std::string operator()(bool yes) const { return yes ? "t" : "f"; }
    std::string operator()(std::int64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const { return fmt::format("{}", number); }
    std::string operator()(const std::string& value) const { return value; }
    std::string operator()(watchdog::ServerTime time) const { return time_text(time); }
    std::string operator()(Span span) const { return span_text(span); }
  };
  return std::visit(Show{}, cell);
}

}  // namespace pgleash::console
