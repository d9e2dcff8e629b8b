#include "proxy/identity.hpp"

#include <re2/re2.h>

#include <algorithm>

namespace pgleash::proxy {

struct ApplicationNames::Patterns {
  std::vector<std::unique_ptr<re2::RE2>> driver_defaults;
};

ApplicationNames::ApplicationNames(const config::Identity& identity)
    : patterns_(std::make_unique<Patterns>()) {
  for (const config::Pattern& pattern : identity.driver_defaults)
    patterns_->driver_defaults.push_back(std::make_unique<re2::RE2>(pattern.text, re2::RE2::Quiet));
}

ApplicationNames::~ApplicationNames() = default;

std::string ApplicationNames::resolve(std::string_view application_name,
                                      std::string_view listener_default, std::string_view user,
                                      std::string_view database) const {
  const auto is_driver_default = [&] {
    const re2::StringPiece text{application_name.data(), application_name.size()};
    return std::any_of(patterns_->driver_defaults.begin(), patterns_->driver_defaults.end(),
                       [&](const auto& pattern) { return re2::RE2::FullMatch(text, *pattern); });
  };
  if (!application_name.empty() && !is_driver_default()) return std::string{application_name};
  if (!listener_default.empty()) return std::string{listener_default};
  return std::string{user} + "@" + std::string{database};
}

}  // namespace pgleash::proxy
