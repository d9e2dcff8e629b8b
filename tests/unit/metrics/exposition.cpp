#include "exposition.hpp"

#include <gtest/gtest.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

namespace pgleash::metrics::testing {
namespace {

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// Takes a metric or label name off the front.
std::string_view take_name(std::string_view& rest) {
  std::size_t end = 0;
  while (end < rest.size() && is_name_char(rest[end])) {
    ++end;
  }
  const auto name = rest.substr(0, end);
  rest.remove_prefix(end);
  return name;
}

/// Takes `"…"` off the front, with its escapes; false when it is none.
bool take_value(std::string_view& rest) {
  if (!rest.starts_with('"')) {
    return false;
  }
  for (std::size_t at = 1; at < rest.size(); ++at) {
    if (rest[at] == '"') {
      rest.remove_prefix(at + 1);
      return true;
    }
    if (rest[at] == '\\' && (++at == rest.size() ||
                             std::string_view{"\\\"n"}.find(rest[at]) == std::string_view::npos)) {
      return false;
    }
  }
  return false;
}

/// Takes `{a="b",…}` off the front, if it is there.
bool take_labels(std::string_view& rest) {
  if (!rest.starts_with('{')) {
    return true;
  }
  rest.remove_prefix(1);
  std::set<std::string_view> seen;
  while (!rest.starts_with('}')) {
    const auto name = take_name(rest);
    if (name.empty() || !seen.insert(name).second || !rest.starts_with('=')) {
      return false;
    }
    rest.remove_prefix(1);
    if (!take_value(rest)) {
      return false;
    }
    if (rest.starts_with(',')) {
      rest.remove_prefix(1);
    }
  }
  rest.remove_prefix(1);
  return true;
}

std::string_view without_histogram_suffix(std::string_view name) {
  for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
    if (name.ends_with(suffix)) {
      return name.substr(0, name.size() - suffix.size());
    }
  }
  return name;
}

bool is_utf8(std::string_view text) {
  // Of the decoder's own kind, not ours: the standard library has none, a regular expression does.
  static const std::regex well_formed{
      "(?:[\\x01-\\x7F]|[\\xC2-\\xDF][\\x80-\\xBF]|\\xE0[\\xA0-\\xBF][\\x80-\\xBF]|"
      "[\\xE1-\\xEC\\xEE\\xEF][\\x80-\\xBF]{2}|\\xED[\\x80-\\x9F][\\x80-\\xBF]|"
      "\\xF0[\\x90-\\xBF][\\x80-\\xBF]{2}|[\\xF1-\\xF3][\\x80-\\xBF]{3}|"
      "\\xF4[\\x80-\\x8F][\\x80-\\xBF]{2})*"};
  return std::regex_match(text.begin(), text.end(), well_formed);
}

}  // namespace

Series parse_exposition(std::string_view text) {
  Series series;
  std::set<std::string, std::less<>> typed;
  EXPECT_TRUE(text.ends_with('\n'));
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const bool ascii = std::all_of(line.begin(), line.end(), [](char c) { return c > 0; });
    EXPECT_TRUE(ascii || is_utf8(line)) << line;
    if (line.starts_with("# TYPE ")) {
      const auto name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(typed.emplace(name).second) << "typed twice: " << line;
      continue;
    }
    if (line.starts_with('#')) {
      continue;
    }
    std::string_view rest = line;
    const std::string_view family = take_name(rest);
    const bool labels = take_labels(rest);
    const std::string key{line.substr(0, line.size() - rest.size())};
    double value = 0;
    const bool has_value = rest.starts_with(' ');
    rest.remove_prefix(has_value ? 1 : 0);
    rest.remove_prefix(rest.starts_with('+') ? 1 : 0);  // "+Inf"
    const auto number = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (!labels || !has_value || number.ec != std::errc{} ||
        number.ptr != rest.data() + rest.size()) {
      ADD_FAILURE() << "not a series: " << line.substr(0, 500);
      continue;
    }
    EXPECT_TRUE(typed.contains(family) || typed.contains(without_histogram_suffix(family)))
        << "no TYPE: " << line;
    EXPECT_TRUE(series.emplace(key, value).second) << "twice: " << line;
  }
  return series;
}

std::size_t count_series(const Series& series, std::string_view prefix) {
  std::size_t count = 0;
  for (auto at = series.lower_bound(std::string{prefix});
       at != series.end() && at->first.starts_with(prefix); ++at) {
    ++count;
  }
  return count;
}

PromtoolVerdict ask_promtool(const std::string& text) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
    return {};
  }
  const auto file = std::filesystem::temp_directory_path() /
                    ("pgleash_exposition_" + std::to_string(getpid()) + ".txt");
  std::ofstream{file, std::ios::binary} << text;
  const std::string command = "promtool check metrics < '" + file.string() + "' 2>&1";
  std::string complaints;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    return {};
  }
  char piece[4096];
  while (const std::size_t size = fread(piece, 1, sizeof piece, pipe)) {
    complaints.append(piece, size);
  }
  const int code = pclose(pipe);
  std::filesystem::remove(file);
  if (code != 0 && complaints.empty()) {
    complaints = "promtool ended with " + std::to_string(code);
  }
  return {true, complaints};
}

}  // namespace pgleash::metrics::testing
