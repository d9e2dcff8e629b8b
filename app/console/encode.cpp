#include "app/console/encode.hpp"

#include "app/console/filter.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <bit>
#include <optional>

namespace pgleash::console {
namespace {

template <class Integer>
void put(std::string& out, Integer value) {
  const auto bits = static_cast<std::make_unsigned_t<Integer>>(value);
  for (std::size_t i = sizeof bits; i-- > 0;)
    out.push_back(static_cast<char>(bits >> (8U * i) & 0xFFU));
}

void put_string(std::string& out, std::string_view text) {
  std::copy_if(text.begin(), text.end(), std::back_inserter(out), [](char c) { return c != '\0'; });
  out.push_back('\0');
}

Format format_of(const Formats& formats, std::size_t column) noexcept {
  if (formats.empty()) return Format::text;
  return formats.size() == 1 ? formats.front() : formats[std::min(column, formats.size() - 1)];
}

/// PGSQL_AF_INET and PGSQL_AF_INET6 of the server; nothing that is an address is sent as none.
std::optional<std::string> inet_bytes(const std::string& text) {
  boost::system::error_code bad;
  const auto address = boost::asio::ip::make_address(text.substr(0, text.find('%')), bad);
  if (bad) return std::nullopt;
  std::string out;
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    out = {2, 32, 0, 4};
    out.append(bytes.begin(), bytes.end());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    out = {3, static_cast<char>(128), 0, 16};
    out.append(bytes.begin(), bytes.end());
  }
  return out;
}

std::optional<std::string> binary(const Cell& cell, Type type) {
  std::string out;
  if (const auto* number = std::get_if<std::int64_t>(&cell)) {
    if (type == Type::int8) {
      put(out, *number);
    } else {
      put(out, static_cast<std::uint32_t>(*number));
    }
  } else if (const auto* real = std::get_if<double>(&cell)) {
    put(out, std::bit_cast<std::uint64_t>(*real));
  } else if (const auto* yes = std::get_if<bool>(&cell)) {
    out.push_back(*yes ? 1 : 0);
  } else if (const auto* time = std::get_if<watchdog::ServerTime>(&cell)) {
    put(out, time->microseconds);
  } else if (const auto* span = std::get_if<Span>(&cell)) {
    put(out, span->microseconds);
    put(out, std::int64_t{0});  // days and months
  } else if (const auto* text = std::get_if<std::string>(&cell)) {
    if (type == Type::inet) return inet_bytes(*text);
    out = *text;
  }
  return out;
}

std::optional<std::uint64_t> big_endian(std::string_view bytes) noexcept {
  if (bytes.size() > 8) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8U | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

void put_message(std::string& out, char type, std::string_view body) {
  out.push_back(type);
  put(out, static_cast<std::uint32_t>(body.size() + 4));
  out.append(body);
}

void put_row_description(std::string& out, std::span<const Column> columns,
                         const Formats& formats) {
  std::string body;
  put(body, static_cast<std::uint16_t>(columns.size()));
  for (std::size_t i = 0; i < columns.size(); ++i) {
    put_string(body, columns[i].name);
    put(body, std::uint32_t{0});  // no table
    put(body, std::uint16_t{0});
    put(body, oid_of(columns[i].type));
    put(body, size_of(columns[i].type));
    put(body, std::int32_t{-1});
    put(body, static_cast<std::uint16_t>(format_of(formats, i)));
  }
  put_message(out, 'T', body);
}

void put_data_row(std::string& out, const Row& row, std::span<const Column> columns,
                  const Formats& formats) {
  std::string body;
  put(body, static_cast<std::uint16_t>(row.size()));
  for (std::size_t i = 0; i < row.size(); ++i) {
    std::optional<std::string> bytes;
    if (!is_null(row[i]))
      bytes = format_of(formats, i) == Format::binary ? binary(row[i], columns[i].type)
                                                      : to_text(row[i], columns[i].type);
    put(body, bytes ? static_cast<std::int32_t>(bytes->size()) : -1);
    if (bytes) body += *bytes;
  }
  put_message(out, 'D', body);
}

void put_complete(std::string& out, std::string_view tag) {
  std::string body;
  put_string(body, tag);
  put_message(out, 'C', body);
}

void put_ready(std::string& out, char transaction) {
  put_message(out, 'Z', std::string_view{&transaction, 1});
}

void put_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  std::string body;
  put_string(body, name);
  put_string(body, value);
  put_message(out, 'S', body);
}

void put_parameter_description(std::string& out, std::span<const Type> types) {
  std::string body;
  put(body, static_cast<std::uint16_t>(types.size()));
  for (const Type type : types) put(body, oid_of(type));
  put_message(out, 't', body);
}

void put_error(std::string& out, const SqlError& error, std::string_view severity) {
  std::string body;
  const auto field = [&body](char code, std::string_view text) {
    if (text.empty()) return;
    body.push_back(code);
    put_string(body, text);
  };
  field('S', severity);
  field('V', severity);
  field('C', error.sqlstate);
  field('M', cleaned(error.message));
  field('D', cleaned(error.detail));
  field('H', cleaned(error.hint));
  if (error.position > 0) field('P', std::to_string(error.position));
  body.push_back('\0');
  put_message(out, severity == "WARNING" || severity == "NOTICE" ? 'N' : 'E', body);
}

Outcome<std::string> parameter_text(std::string_view bytes, std::uint32_t oid, Format format) {
  if (format == Format::text) return std::string{bytes};
  const auto bad = [oid] {
    return SqlError{"22P03",
                    "incorrect binary data for a parameter of type " + std::to_string(oid)};
  };
  switch (oid) {
    case 21: {  // int2
      const auto value = big_endian(bytes);
      if (!value || bytes.size() != 2) return bad();
      return std::to_string(static_cast<std::int16_t>(*value));
    }
    case 23: {
      const auto value = big_endian(bytes);
      if (!value || bytes.size() != 4) return bad();
      return std::to_string(static_cast<std::int32_t>(*value));
    }
    case 26:
    case 28: {
      const auto value = big_endian(bytes);
      if (!value || bytes.size() != 4) return bad();
      return std::to_string(*value);
    }
    case 20: {
      const auto value = big_endian(bytes);
      if (!value || bytes.size() != 8) return bad();
      return std::to_string(static_cast<std::int64_t>(*value));
    }
    case 701: {
      const auto value = big_endian(bytes);
      if (!value || bytes.size() != 8) return bad();
      return console::to_text(Cell{std::bit_cast<double>(*value)}, Type::float8);
    }
    case 16:
      if (bytes.size() != 1) return bad();
      return std::string{bytes[0] != 0 ? "t" : "f"};
    case 1184:
    case 1114: {
      const auto value = big_endian(bytes);
      if (!value || bytes.size() != 8) return bad();
      return console::to_text(Cell{watchdog::ServerTime{static_cast<std::int64_t>(*value)}},
                              Type::timestamp);
    }
    case 1186: {
      const auto micros = big_endian(bytes.substr(0, 8));
      const auto months = bytes.size() == 16 ? big_endian(bytes.substr(12)) : std::nullopt;
      const auto days = bytes.size() == 16 ? big_endian(bytes.substr(8, 4)) : std::nullopt;
      if (!micros || !days || !months) return bad();
      if (*months != 0) return SqlError{"0A000", "an interval of months has no length"};
      constexpr std::int64_t day = 86'400'000'000;
      return console::to_text(
          Cell{Span{static_cast<std::int64_t>(*micros) + static_cast<std::int32_t>(*days) * day}},
          Type::interval);
    }
    case 0:
    case 19:
    case 25:
    case 1043:
    case 705:
      return std::string{bytes};
    default:
      break;
  }
  return SqlError{"0A000",
                  "the console does not read type " + std::to_string(oid) + " in binary format",
                  {},
                  "send the parameter as text"};
}

}  // namespace pgleash::console
