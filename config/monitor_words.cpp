#include "config/monitor_words.hpp"

#include "config/names.hpp"
#include "config/nearest.hpp"
#include "config/secret_file.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <variant>

namespace pgleash::config {

namespace {

using Words = std::vector<std::pair<std::string, std::string>>;

constexpr std::array<std::string_view, 3> own_words{"user", "dbname", "password_file"};
constexpr std::array<std::string_view, 4> server_words{"host", "hostaddr", "port", "sslmode"};

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

std::optional<Fault> set_word(const std::string& word, std::string value, Monitor& monitor) {
  if (value.empty() && std::ranges::find(own_words, word) != own_words.end()) {
    return Fault{'\'' + word + "' has no value", "leave it out for the default"};
  }
  if (word == "user" || word == "dbname") {
    auto parsed = parse_identifier(value);
    if (auto* fault = std::get_if<Fault>(&parsed)) return std::move(*fault);
    (word == "user" ? monitor.user : monitor.database) = std::move(value);
  } else if (word == "password_file") {
    monitor.password_file = std::move(value);
    return secret_file_fault(monitor.password_file);
  } else if (word == "password") {
    return Fault{"a password on the command line is everybody's to read",
                 "write password_file=PATH, or leave it to PGPASSWORD or libpq's passfile"};
  } else if (word == "database") {
    return Fault{"unknown word 'database'", "libpq's word is dbname"};
  } else if (std::ranges::find(server_words, std::string_view{word}) != server_words.end()) {
    return Fault{'\'' + word + "' is not the monitor's to choose",
                 "it connects to the address of --server"};
  } else {
    const auto meant = nearest(word, own_words);
    return Fault{"unknown word '" + word + '\'', meant
                                                     ? "did you mean '" + std::string(*meant) + "'?"
                                                     : "known here: " + listed(own_words)};
  }
  return std::nullopt;
}

}  // namespace

Parsed<Words> parse_libpq_words(std::string_view text) {
  Words words;
  for (skip_space(text); !text.empty(); skip_space(text)) {
    const auto end = std::ranges::find_if(text, [](char c) { return c == '=' || is_space(c); });
    const std::string word{text.begin(), end};
    text.remove_prefix(word.size());
    skip_space(text);
    if (word.empty() || !text.starts_with('=')) {
      return Fault{"a word without = in the monitor's connection words",
                   "write user=pgleash_monitor dbname=pgleash, or none"};
    }
    text.remove_prefix(1);
    skip_space(text);
    auto value = take_value(text);
    if (!value) return Fault{"the value of '" + word + "' has no closing quote", {}};
    words.emplace_back(word, std::move(*value));
  }
  return words;
}

Monitor read_monitor_words(std::string_view text, std::vector<Fault>& faults) {
  Monitor monitor;
  if (text == "none") {
    monitor.enabled = false;
    return monitor;
  }
  auto parsed = parse_libpq_words(text);
  if (auto* fault = std::get_if<Fault>(&parsed)) {
    faults.push_back(std::move(*fault));
    return monitor;
  }
  for (auto& [word, value] : std::get<Words>(parsed)) {
    if (auto fault = set_word(word, std::move(value), monitor)) faults.push_back(std::move(*fault));
  }
  return monitor;
}

}  // namespace pgleash::config
