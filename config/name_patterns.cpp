#include "config/name_patterns.hpp"

#include "config/client_encoding.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <vector>

namespace pgleash::config {

namespace {

// RE2's dot matches no byte that is not UTF-8, so that an `except` would miss.
std::string from_latin1(std::string_view text) {
  std::string utf8;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) utf8 += static_cast<char>(0xC0U | (byte >> 6U));
    utf8 += byte >= 0x80 ? static_cast<char>(0x80U | (byte & 0x3FU)) : c;
  }
  return utf8;
}

}  // namespace

struct NamePatterns::Compiled {
  std::vector<std::unique_ptr<RE2>> patterns;
};

NamePatterns::NamePatterns() : compiled_(std::make_unique<Compiled>()) {}
NamePatterns::~NamePatterns() = default;
NamePatterns::NamePatterns(NamePatterns&&) noexcept = default;
NamePatterns& NamePatterns::operator=(NamePatterns&&) noexcept = default;

std::optional<std::string> NamePatterns::add(const std::string& text) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(true);  // a newline in a name must not slip past `except = '.*'`
  auto pattern = std::make_unique<RE2>(text, options);
  if (!pattern->ok()) return pattern->error();
  compiled_->patterns.push_back(std::move(pattern));
  return std::nullopt;
}

bool NamePatterns::match(std::string_view name) const {
  if (empty()) return false;
  std::string decoded;
  if (!is_utf8(name)) name = decoded = from_latin1(name);
  const re2::StringPiece text{name.data(), name.size()};
  return std::ranges::any_of(compiled_->patterns,
                             [&](const auto& pattern) { return RE2::FullMatch(text, *pattern); });
}

bool NamePatterns::empty() const noexcept {
  return compiled_->patterns.empty();
}

}  // namespace pgleash::config
