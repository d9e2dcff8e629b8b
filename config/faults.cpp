#include "config/faults.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <tuple>
#include <utility>

namespace pgleash::config {

namespace {

constexpr std::array<std::string_view, 4> secret_words{"password", "passwd", "secret", "token"};

/// What stands before the '=': the key, quotes and dots and all.
std::string_view key_before(std::string_view line, std::size_t equals) {
  line = line.substr(0, equals);
  const auto separator = line.find_last_of(",{=");
  if (separator != std::string_view::npos) line.remove_prefix(separator + 1);
  const auto end = line.find_last_not_of(" \t\"'");
  return end == std::string_view::npos ? std::string_view{} : line.substr(0, end + 1);
}

}  // namespace

Faults::Faults(std::string source, std::string_view text) : source_(std::move(source)) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines_.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void Faults::add(Severity severity, Place place, Fault fault) {
  found_.push_back({severity, at(place), std::move(fault.message), std::move(fault.hint), {}});
}

void Faults::add(std::vector<Diagnostic> diagnostics) {
  std::ranges::move(diagnostics, std::back_inserter(found_));
}

std::string_view Faults::line(std::uint32_t number) const noexcept {
  return number == 0 || number > lines_.size() ? std::string_view{} : lines_[number - 1];
}

std::vector<Diagnostic> Faults::take() {
  std::ranges::stable_sort(found_, {}, [](const Diagnostic& diagnostic) {
    const SourcePosition& position = diagnostic.position;
    return std::tuple{position.line == 0, position.line,
                      position.column};  // the file as a whole comes last
  });
  for (Diagnostic& diagnostic : found_) {
    const SourcePosition& position = diagnostic.position;
    if (position.source == source_ && diagnostic.excerpt.empty())
      diagnostic.excerpt = without_secret(line(position.line));
  }
  return std::exchange(found_, {});
}

bool names_secret(std::string_view key) {
  std::string small{key};
  std::ranges::transform(small, small.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return !small.ends_with("_file") && std::ranges::any_of(secret_words, [&](std::string_view word) {
    return small.find(word) != std::string::npos;
  });
}

Fault secret_fault() {
  return {
      "a secret in the configuration file",
      R"(put it into a file of its own and name that: password_file = "secrets/monitor.pw" in [server.monitor])"};
}

std::string without_secret(std::string_view line) {
  for (auto equals = line.find('='); equals != std::string_view::npos;
       equals = line.find('=', equals + 1)) {
    if (names_secret(key_before(line, equals)))
      return std::string(line.substr(0, equals + 1)) + " ***";
  }
  return std::string(line);
}

}  // namespace pgleash::config
