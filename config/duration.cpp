#include "config/duration.hpp"

#include "config/duration_text.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>

namespace pgleash::config {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr milliseconds shortest = 25ms;
constexpr milliseconds longest = 10 * 365 * 24h;

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr std::array units{Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"m", 60'000},
                           Unit{"s", 1'000}, Unit{"ms", 1}};

/// Spellings of other programs, so that the hint can name ours.
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> foreign_units{{
    {"msec", "ms"},
    {"millis", "ms"},
    {"milliseconds", "ms"},
    {"sec", "s"},
    {"secs", "s"},
    {"second", "s"},
    {"seconds", "s"},
    {"min", "m"},
    {"mins", "m"},
    {"minute", "m"},
    {"minutes", "m"},
    {"hours", "h"},
    {"hour", "h"},
    {"days", "d"},
}};

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string_view take_while(std::string_view& rest, bool (*wanted)(char)) {
  const auto end = std::ranges::find_if_not(rest, wanted);
  const auto length = static_cast<std::size_t>(end - rest.begin());
  const std::string_view taken = rest.substr(0, length);
  rest.remove_prefix(length);
  return taken;
}

Fault faulty(
    std::string message,
    std::string hint = R"(write a number and a unit (ms, s, m, h, d), as "90s" or "1h30m")") {
  return {std::move(message), std::move(hint)};
}

/// The grammar alone: digits and a unit, repeated, large units first.
Parsed<milliseconds> parse_strictly(std::string_view text) {
  if (text.empty()) return faulty("an empty text is no duration");
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view digits = take_while(rest, is_digit);
    if (digits.empty()) return faulty(in_quotes(text) + " is no duration");
    const std::string_view name = take_while(rest, is_letter);
    if (name.empty() && !rest.empty()) return faulty(in_quotes(text) + " is no duration");
    if (name.empty()) {
      return faulty(in_quotes(text) + " has no unit",
                    "write \"" + std::string(digits) + "s\" for seconds");
    }
    const auto unit = std::ranges::find(units, name, &Unit::name);
    if (unit == units.end()) return faulty(in_quotes(name) + " is no unit of time");
    const auto index = static_cast<std::size_t>(unit - units.begin());
    if (index < next_unit) {
      return faulty(in_quotes(text) + " repeats or mixes up its units",
                    "large units first, each once: \"1h30m\"");
    }
    next_unit = index + 1;
    std::int64_t count = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), count);
    if (parsed.ec != std::errc{} || count > longest.count() / unit->milliseconds) {
      return faulty(in_quotes(text) + " is too long", R"(ten years ("3650d") is the most)");
    }
    total += count * unit->milliseconds;
  }
  if (total > longest.count())
    return faulty(in_quotes(text) + " is too long", R"(ten years ("3650d") is the most)");
  return milliseconds{total};
}

/// What somebody who wrote "90 sec", "90S" or "1.5h" meant, or nothing.
std::optional<milliseconds> guess(std::string_view text) {
  std::string tidy;
  for (const char c : text) {
    if (c != ' ' && c != '_')
      tidy += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  std::string ours;
  for (std::string_view rest = tidy; !rest.empty();) {
    const std::string_view word = take_while(rest, is_letter);
    const auto foreign = std::ranges::find(foreign_units, word,
                                           &std::pair<std::string_view, std::string_view>::first);
    ours += foreign == foreign_units.end() ? word : foreign->second;
    if (!rest.empty() && !is_letter(rest.front())) {
      ours += rest.front();
      rest.remove_prefix(1);
    }
  }
  if (auto exact = parse_strictly(ours); const auto* duration = std::get_if<milliseconds>(&exact))
    return *duration;
  double number = 0;
  const auto parsed =
      std::from_chars(ours.data(), ours.data() + ours.size(), number, std::chars_format::fixed);
  const std::string_view name{parsed.ptr,
                              static_cast<std::size_t>(ours.data() + ours.size() - parsed.ptr)};
  const auto unit = std::ranges::find(units, name, &Unit::name);
  if (parsed.ec != std::errc{} || unit == units.end()) return std::nullopt;
  const double value = number * static_cast<double>(unit->milliseconds);
  if (!(value >= 1 && value <= static_cast<double>(longest.count()))) return std::nullopt;
  return milliseconds{static_cast<std::int64_t>(value)};
}

}  // namespace

Parsed<milliseconds> parse_duration(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    return faulty(in_quotes(text) + " has a sign");
  }
  auto parsed = parse_strictly(text);
  if (auto* fault = std::get_if<Fault>(&parsed)) {
    if (const auto meant = guess(text);
        meant && *meant >= shortest && !fault->message.ends_with("no unit")) {
      fault->hint = "write \"" + format_duration(*meant) + '"';
    }
    return parsed;
  }
  const auto duration = std::get<milliseconds>(parsed);
  if (duration == 0ms) return faulty("zero is no duration", R"(the shortest is "25ms")");
  if (duration < shortest)
    return faulty(in_quotes(text) + " is too short", R"(the shortest is "25ms")");
  return parsed;
}

std::optional<milliseconds> parse_duration(std::string_view text, std::string& why) {
  const auto parsed = parse_duration(text);
  if (const auto* duration = std::get_if<milliseconds>(&parsed)) return *duration;
  const auto& fault = std::get<Fault>(parsed);
  why = fault.message + "; " + fault.hint;
  return std::nullopt;
}

std::string format_duration(milliseconds duration) {
  if (duration == 0ms) return "0s";
  std::string text;
  std::int64_t rest = duration.count();
  if (rest < 0) text = "-";
  for (const Unit& unit : units) {
    const std::int64_t count = rest / unit.milliseconds;
    if (count != 0) text += std::to_string(count < 0 ? -count : count) + std::string(unit.name);
    rest %= unit.milliseconds;
  }
  return text;
}

}  // namespace pgleash::config
