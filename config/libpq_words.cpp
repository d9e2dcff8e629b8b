#include "config/libpq_words.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace pgleash::config {

namespace {

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void skip_space(std::string_view& rest) {
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
}

/// A value as libpq reads it: bare up to white space, or in single quotes; a backslash takes the
/// next character as it is.
std::optional<std::string> take_value(std::string_view& rest) {
  const bool is_quoted = rest.starts_with('\'');
  if (is_quoted) rest.remove_prefix(1);
  std::string value;
  while (!rest.empty()) {
    char c = rest.front();
    if (!is_quoted && is_space(c)) return value;
    rest.remove_prefix(1);
    if (is_quoted && c == '\'') return value;
    if (c == '\\' && !rest.empty()) {
      c = rest.front();
      rest.remove_prefix(1);
    }
    value += c;
  }
  return is_quoted ? std::nullopt : std::optional{value};
}

Fault without_sign(std::string_view example) {
  return {"a word without = among the connection words", "write " + std::string{example}};
}

/// Nothing for a code that is none, and for that of NUL, which libpq refuses too.
std::optional<std::string> without_codes(std::string_view text) {
  constexpr std::size_t digits = 2;
  std::string plain;
  while (!text.empty()) {
    if (text.front() != '%') {
      plain += text.front();
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(1);
    if (text.size() < digits) return std::nullopt;
    unsigned char code = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + digits, code, 16);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + digits || code == 0)
      return std::nullopt;
    plain += static_cast<char>(code);
    text.remove_prefix(digits);
  }
  return plain;
}

}  // namespace

Parsed<LibpqWords> parse_libpq_words(std::string_view text, std::string_view example) {
  LibpqWords words;
  for (skip_space(text); !text.empty(); skip_space(text)) {
    const auto end = std::ranges::find_if(text, [](char c) { return c == '=' || is_space(c); });
    const std::string word{text.begin(), end};
    text.remove_prefix(word.size());
    skip_space(text);
    if (word.empty() || !text.starts_with('=')) return without_sign(example);
    text.remove_prefix(1);
    skip_space(text);
    auto value = take_value(text);
    if (!value) return Fault{"the value of '" + word + "' has no closing quote", {}};
    words.emplace_back(word, std::move(*value));
  }
  return words;
}

Parsed<LibpqWords> parse_url_words(std::string_view text, std::string_view example) {
  LibpqWords words;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const auto sign = one.find('=');
    if (sign == 0 || sign == std::string_view::npos) return without_sign(example);
    auto word = without_codes(one.substr(0, sign));
    if (!word) return Fault{"a word with a faulty %-code", "a % of its own is written %25"};
    auto value = without_codes(one.substr(sign + 1));
    if (!value)
      return Fault{"the value of '" + *word + "' has a faulty %-code",
                   "a % of its own is written %25"};
    words.emplace_back(std::move(*word), std::move(*value));
  }
  return words;
}

}  // namespace pgleash::config
