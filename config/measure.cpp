#include "config/measure.hpp"

#include "config/duration.hpp"
#include "config/duration_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace pgleash::config {

namespace {

struct SizeUnit {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array sizes{SizeUnit{"TiB", std::uint64_t{1} << 40U},
                           SizeUnit{"GiB", std::uint64_t{1} << 30U},
                           SizeUnit{"MiB", std::uint64_t{1} << 20U},
                           SizeUnit{"KiB", std::uint64_t{1} << 10U}, SizeUnit{"B", 1}};
constexpr std::uint64_t most_bytes = std::uint64_t{1} << 60U;
constexpr std::uint64_t most_percent = 1'000'000;
constexpr std::string_view per_second = "/s";

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_letters(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, {}, lower, lower);
}

/// What somebody who wrote "20 GB", "20g" or "20gib" meant: "GiB"; empty when nobody can tell.
std::string_view meant_size(std::string_view name) noexcept {
  for (const SizeUnit& unit : sizes) {
    const std::string_view letter = unit.name.substr(0, 1);
    if (same_letters(name, unit.name) || (unit.bytes > 1 && same_letters(name, letter)) ||
        (name.size() == 2 && same_letters(name.substr(0, 1), letter) && lower(name[1]) == 'b')) {
      return unit.name;
    }
  }
  return {};
}

/// The whole number at the start, taken off; nothing when there is none or it is too large.
bool take_number(std::string_view& text, std::uint64_t& number) noexcept {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::string write(std::string_view text) {
  return "write \"" + std::string(text) + '"';
}

Fault bad_size(std::string_view text, bool rate, std::string hint) {
  return {in_quotes(text) + (rate ? " is no rate" : " is no size"), std::move(hint)};
}

Parsed<std::uint64_t> parse_size(std::string_view text, bool rate) {
  const std::string like = rate ? R"(write a whole number and a unit, as "100MiB/s")"
                                : R"(write a whole number and a unit, as "20GiB")";
  std::string_view rest = text;
  std::uint64_t number = 0;
  if (!take_number(rest, number)) return bad_size(text, rate, like);
  const std::string digits{text.substr(0, text.size() - rest.size())};
  const bool has_rate = rest.ends_with(per_second);
  if (has_rate) rest.remove_suffix(per_second.size());
  const std::string suffix{rate ? per_second : ""};
  const auto unit = std::ranges::find(sizes, rest, &SizeUnit::name);
  if (unit == sizes.end()) {
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    const std::string_view meant = meant_size(rest);
    if (rest.empty()) {
      return Fault{in_quotes(text) + " has no unit",
                   write(digits + "MiB" + suffix) + " or another"};
    }
    return bad_size(text, rate, meant.empty() ? like : write(digits + std::string{meant} + suffix));
  }
  if (has_rate != rate) {
    return rate ? Fault{in_quotes(text) + " is a size, and a rate is wanted",
                        write(std::string{text} + std::string{per_second})}
                : Fault{in_quotes(text) + " is a rate, and a size is wanted",
                        write(text.substr(0, text.size() - per_second.size()))};
  }
  if (number == 0) return Fault{"zero is no value", "everybody would be above it"};
  if (number > most_bytes / unit->bytes) {
    return Fault{in_quotes(text) + " is too large", "1048576TiB is the most"};
  }
  return number * unit->bytes;
}

Parsed<std::uint64_t> parse_share(std::string_view text) {
  std::string_view rest = text;
  std::uint64_t number = 0;
  const bool counted = take_number(rest, number);
  if (counted && rest.empty())
    return Fault{in_quotes(text) + " has no unit", write(std::string{text} + '%')};
  if (!counted || rest != "%")
    return Fault{in_quotes(text) + " is no share of a CPU",
                 R"(write a whole number of percent of one CPU, as "150%")"};
  if (number == 0) return Fault{"zero is no value", "everybody would be above it"};
  if (number > most_percent)
    return Fault{in_quotes(text) + " is more than there can be", "100% is one CPU"};
  return number;
}

std::string three_digits(double value) {
  std::array<char, 32> buffer{};
  const int decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
  const int size = std::snprintf(buffer.data(), buffer.size(), "%.*f", decimals, value);
  std::string text{buffer.data(), static_cast<std::size_t>(size)};
  if (text.find('.') != std::string::npos) {
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

std::string show_size(std::uint64_t value) {
  const auto unit = std::ranges::find_if(
      sizes, [value](const SizeUnit& one) { return value >= one.bytes || one.bytes == 1; });
  return three_digits(static_cast<double>(value) / static_cast<double>(unit->bytes)) + ' ' +
         std::string{unit->name};
}

}  // namespace

Parsed<std::uint64_t> parse_measure(MeasureUnit unit, std::string_view text) {
  switch (unit) {
    case MeasureUnit::bytes:
      return parse_size(text, false);
    case MeasureUnit::rate:
      return parse_size(text, true);
    case MeasureUnit::share:
      return parse_share(text);
    case MeasureUnit::cpu_time: {
      const auto parsed = parse_duration(text);
      if (const auto* fault = std::get_if<Fault>(&parsed)) return *fault;
      return static_cast<std::uint64_t>(std::get<std::chrono::milliseconds>(parsed).count());
    }
    case MeasureUnit::count:
    case MeasureUnit::none:
      break;
  }
  return Fault{in_quotes(text) + " is no number", "write a whole number without quotes"};
}

std::string_view measure_example(MeasureUnit unit) noexcept {
  switch (unit) {
    case MeasureUnit::bytes:
      return R"("20GiB")";
    case MeasureUnit::count:
      return "1000000";
    case MeasureUnit::cpu_time:
      return R"("2h")";
    case MeasureUnit::share:
      return R"("150%")";
    case MeasureUnit::rate:
      return R"("100MiB/s")";
    case MeasureUnit::none:
      break;
  }
  return {};
}

std::string format_measure(MeasureUnit unit, std::uint64_t value) {
  switch (unit) {
    case MeasureUnit::bytes:
    case MeasureUnit::rate: {
      const auto size = std::ranges::find_if(
          sizes, [value](const SizeUnit& one) { return value % one.bytes == 0; });
      return std::to_string(value / size->bytes) + std::string{size->name} +
             std::string{unit == MeasureUnit::rate ? per_second : ""};
    }
    case MeasureUnit::cpu_time:
      return format_duration(std::chrono::milliseconds{value});
    case MeasureUnit::share:
      return std::to_string(value) + '%';
    case MeasureUnit::count:
    case MeasureUnit::none:
      break;
  }
  return std::to_string(value);
}

std::string show_measure(MeasureUnit unit, std::uint64_t value) {
  switch (unit) {
    case MeasureUnit::bytes:
      return show_size(value);
    case MeasureUnit::rate:
      return show_size(value) + std::string{per_second};
    case MeasureUnit::cpu_time: {
      const std::chrono::milliseconds time{value};
      // Beyond some seconds their parts say nothing.
      const std::chrono::milliseconds whole = std::chrono::floor<std::chrono::seconds>(time);
      return format_duration(whole >= std::chrono::seconds{10} ? whole : time);
    }
    case MeasureUnit::share:
      return std::to_string(value) + " %";
    case MeasureUnit::count:
    case MeasureUnit::none:
      break;
  }
  return std::to_string(value);
}

}  // namespace pgleash::config
