#include "app/watch/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <utility>

namespace pgleash::app {
namespace {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

/// The first character of a text that is not empty. Source: RFC 3629.
Character first_of(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {lead, 1, false};
  char32_t code = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return {lead, 1, false};
    code = (code << 6U) | (byte(i) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < least[length] || code > 0x10FFFF || surrogate) return {lead, 1, false};
  return {code, length, true};
}

using Ranges = std::pair<char32_t, char32_t>;

template <std::size_t N>
bool within(char32_t code, const std::array<Ranges, N>& ranges) noexcept {
  return std::any_of(ranges.begin(), ranges.end(), [&](const Ranges& range) {
    return code >= range.first && code <= range.second;
  });
}

/// What a reader does not see, or what makes him see something else: soft hyphen, zero width,
/// bidirectional marks, line separators, tags, variation selectors, private use.
bool is_deceptive(char32_t code) noexcept {
  constexpr std::array<Ranges, 12> ranges{{{0xAD, 0xAD},
                                           {0x61C, 0x61C},
                                           {0x115F, 0x1160},
                                           {0x180E, 0x180E},
                                           {0x200B, 0x200F},
                                           {0x2028, 0x202E},
                                           {0x2060, 0x206F},
                                           {0xE000, 0xF8FF},
                                           {0xFE00, 0xFE0F},
                                           {0xFEFF, 0xFEFF},
                                           {0xFFF0, 0xFFFB},
                                           {0xE0000, 0x10FFFF}}};
  return within(code, ranges);
}

std::size_t columns_of(char32_t code) noexcept {
  constexpr std::array<Ranges, 8> combining{{{0x300, 0x36F},
                                             {0x483, 0x489},
                                             {0x591, 0x5BD},
                                             {0x610, 0x61A},
                                             {0x64B, 0x65F},
                                             {0x1AB0, 0x1AFF},
                                             {0x20D0, 0x20FF},
                                             {0xFE20, 0xFE2F}}};
  constexpr std::array<Ranges, 9> wide{{{0x1100, 0x115E},
                                        {0x2E80, 0x303E},
                                        {0x3041, 0xA4CF},
                                        {0xAC00, 0xD7A3},
                                        {0xF900, 0xFAFF},
                                        {0xFE30, 0xFE6F},
                                        {0xFF00, 0xFF60},
                                        {0x1F300, 0x1FAFF},
                                        {0x20000, 0x3FFFD}}};
  if (within(code, combining)) return 0;
  return within(code, wide) ? 2 : 1;
}

}  // namespace

std::string safe_line(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const Character one = first_of(text);
    if (!one.valid) {
      safe += fmt::format("\\x{:02x}", static_cast<unsigned>(one.code));
    } else if (one.code == '\n' || one.code == '\t' || one.code == '\r') {
      safe += ' ';
    } else if (one.code < 0x20 || one.code == 0x7F) {
      safe += fmt::format("\\x{:02x}", static_cast<unsigned>(one.code));
    } else if ((one.code >= 0x80 && one.code < 0xA0) || is_deceptive(one.code)) {
      safe += fmt::format("\\u{{{:x}}}", static_cast<std::uint32_t>(one.code));
    } else {
      safe += text.substr(0, one.bytes);
    }
    text.remove_prefix(one.bytes);
  }
  return safe;
}

std::size_t columns_of(std::string_view safe) noexcept {
  std::size_t columns = 0;
  while (!safe.empty()) {
    const Character one = first_of(safe);
    columns += columns_of(one.code);
    safe.remove_prefix(one.bytes);
  }
  return columns;
}

std::string cut(std::string_view safe, std::size_t width) {
  if (columns_of(safe) <= width) return std::string{safe};
  if (width == 0) return {};
  std::string kept;
  std::size_t columns = 0;
  while (!safe.empty()) {
    const Character one = first_of(safe);
    const std::size_t more = columns_of(one.code);
    if (columns + more > width - 1) break;
    kept += safe.substr(0, one.bytes);
    columns += more;
    safe.remove_prefix(one.bytes);
  }
  return kept + "…";
}

std::string fit(std::string_view safe, std::size_t width, bool align_right) {
  std::string text = cut(safe, width);
  const std::string space(width - columns_of(text), ' ');
  return align_right ? space + text : text + space;
}

std::string short_age(Duration age) {
  using namespace std::chrono;
  const auto whole = std::max<std::int64_t>(duration_cast<seconds>(age).count(), 0);
  if (whole < 10) {
    const auto tenths = std::max<std::int64_t>(duration_cast<milliseconds>(age).count(), 0) / 100;
    return fmt::format("{}.{}s", tenths / 10, tenths % 10);
  }
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole % 86400 / 3600);
}

std::string short_age(const std::optional<Duration>& age) {
  return age ? short_age(*age) : std::string{"-"};
}

}  // namespace pgleash::app
