#include "app/console/parser.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <utility>

namespace pgleash::console {
namespace {

constexpr std::int64_t second = 1'000'000;
constexpr std::int64_t longest = std::int64_t{1000} * 366 * 86'400 * second;

constexpr std::array<std::pair<std::string_view, std::int64_t>, 21> units{{
    {"us", 1},
    {"ms", 1000},
    {"millisecond", 1000},
    {"milliseconds", 1000},
    {"s", second},
    {"sec", second},
    {"secs", second},
    {"second", second},
    {"seconds", second},
    {"m", 60 * second},
    {"min", 60 * second},
    {"mins", 60 * second},
    {"minute", 60 * second},
    {"minutes", 60 * second},
    {"h", 3600 * second},
    {"hour", 3600 * second},
    {"hours", 3600 * second},
    {"d", 86'400 * second},
    {"day", 86'400 * second},
    {"days", 86'400 * second},
    {"week", 7 * 86'400 * second},
}};

void skip_space(std::string_view& text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
}

std::optional<std::int64_t> number(std::string_view& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0 || value > longest) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

/// ":MM:SS" behind the hours.
std::optional<std::int64_t> clock(std::int64_t hours, std::string_view& text) {
  if (hours > longest / 3600 / second) return std::nullopt;
  std::int64_t total = hours * 3600;
  std::int64_t unit = 60;
  while (unit > 0 && text.starts_with(':')) {
    text.remove_prefix(1);
    const auto part = number(text);
    if (!part || *part >= 60) return std::nullopt;
    total += *part * unit;
    unit /= 60;
  }
  return total * second;
}

std::optional<std::int64_t> unit_of(std::string_view& text) {
  std::string word;
  while (!text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0) {
    word += static_cast<char>(std::tolower(static_cast<unsigned char>(text.front())));
    text.remove_prefix(1);
  }
  for (const auto& [name, size] : units)
    if (name == word) return size;
  return std::nullopt;
}

}  // namespace

std::optional<Span> parse_span(std::string_view text) {
  std::int64_t total = 0;
  skip_space(text);
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const auto count = number(text);
    if (!count) return std::nullopt;
    std::int64_t part = 0;
    if (text.starts_with(':')) {
      const auto time = clock(*count, text);
      if (!time) return std::nullopt;
      part = *time;
    } else {
      skip_space(text);
      const auto unit = unit_of(text);
      if (!unit || *count > longest / *unit) return std::nullopt;
      part = *count * *unit;
    }
    total += part;
    if (total > longest) return std::nullopt;
    skip_space(text);
  }
  return Span{total};
}

}  // namespace pgleash::console
