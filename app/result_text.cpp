#include "app/result_text.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace pgleash::app {
namespace {

void all_when_none(std::vector<int>& columns, const PGresult* result) {
  if (!columns.empty()) return;
  columns.resize(static_cast<std::size_t>(PQnfields(result)));
  std::iota(columns.begin(), columns.end(), 0);
}

/// One line, whatever the value has in it.
std::string value_of(const PGresult* result, int row, int column) {
  std::string text = PQgetvalue(result, row, column);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

/// Characters, where each byte that begins one counts.
std::size_t length_of(const std::string& text) noexcept {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

void cut(std::string& text, std::size_t length) {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;
    if (characters++ == length) {
      text.resize(i);
      return;
    }
  }
}

bool is_number(Oid type) noexcept {
  return type == 20 || type == 21 || type == 23 || type == 26 || type == 28 || type == 701;
}

}  // namespace

std::string result_table(const PGresult* result, std::vector<int> columns, std::size_t width) {
  all_when_none(columns, result);
  const int rows = PQntuples(result);
  std::vector<std::size_t> widths;
  for (const int column : columns) {
    std::size_t widest = length_of(PQfname(result, column));
    for (int row = 0; row < rows; ++row)
      widest = std::max(widest, length_of(value_of(result, row, column)));
    widths.push_back(widest);
  }
  std::string text;
  for (int row = -1; row < rows; ++row) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string value =
          row < 0 ? std::string{PQfname(result, columns[i])} : value_of(result, row, columns[i]);
      const std::string padding(widths[i] - length_of(value), ' ');
      const bool right = row >= 0 && is_number(PQftype(result, columns[i]));
      line += right ? padding + value : value + padding;
      if (i + 1 < columns.size()) line += "  ";
    }
    cut(line, width);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  if (rows == 0) text += "(nothing)\n";
  return text;
}

std::string result_lines(const PGresult* result, std::vector<int> columns) {
  all_when_none(columns, result);
  std::string text;
  for (int row = -1; row < PQntuples(result); ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (i > 0) text += '\t';
      text +=
          row < 0 ? std::string{PQfname(result, columns[i])} : value_of(result, row, columns[i]);
    }
    text += '\n';
  }
  return text;
}

std::string result_json(const PGresult* result) {
  boost::json::array rows;
  for (int row = 0; row < PQntuples(result); ++row) {
    boost::json::object object;
    for (int column = 0; column < PQnfields(result); ++column) {
      auto& value = object[PQfname(result, column)];
      if (PQgetisnull(result, row, column) != 0) continue;
      const std::string text = PQgetvalue(result, row, column);
      switch (PQftype(result, column)) {
        case 16:
          value = text == "t";
          break;
        case 21:
        case 23:
        case 26:
        case 28:
          value = std::strtoll(text.c_str(), nullptr, 10);
          break;
        case 701:
          value = std::strtod(text.c_str(), nullptr);
          break;
        default:  // 64 bits do not survive readers whose numbers are doubles
          value = text;
          break;
      }
    }
    rows.push_back(std::move(object));
  }
  return boost::json::serialize(rows) + '\n';
}

}  // namespace pgleash::app
