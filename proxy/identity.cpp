#include "proxy/identity.hpp"

#include "config/network.hpp"
#include "proxy/fold_name.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <variant>
#include <vector>

namespace pgleash::proxy {
namespace {

std::unique_ptr<re2::RE2> compiled(const std::string& pattern) {
  return std::make_unique<re2::RE2>(pattern, re2::RE2::Quiet);
}

bool matches(std::string_view text, const std::unique_ptr<re2::RE2>& pattern) {
  return re2::RE2::FullMatch(re2::StringPiece{text.data(), text.size()}, *pattern);
}

}  // namespace

struct ApplicationNames::Patterns {
  std::vector<std::unique_ptr<re2::RE2>> driver_defaults;
  std::vector<std::unique_ptr<re2::RE2>> folds;
};

ApplicationNames::ApplicationNames(const config::Identity& identity)
    : identity_(identity), patterns_(std::make_unique<Patterns>()) {
  for (const config::Pattern& pattern : identity.driver_defaults)
    patterns_->driver_defaults.push_back(compiled(pattern.text));
  for (const config::FoldedName& fold : identity.fold)
    patterns_->folds.push_back(compiled(fold.match));
}

ApplicationNames::~ApplicationNames() = default;

std::string ApplicationNames::resolve(const NameSources& known) const {
  for (const config::IdentitySource source : identity_.sources) {
    std::string name;
    switch (source) {
      case config::IdentitySource::application_name:
        name = reported(known.application_name);
        break;
      case config::IdentitySource::listener:
        name = known.listener_default;
        break;
      case config::IdentitySource::client_map:
        name = mapped(known.client_address);
        break;
      case config::IdentitySource::user_database:
        // Of an opaque session neither is known when it comes.
        if (!known.user.empty()) name = std::string{known.user} + "@" + std::string{known.database};
        break;
    }
    if (!name.empty()) return name;
  }
  return {};
}

bool ApplicationNames::is_name(std::string_view application_name) const {
  const auto fits = [&](const auto& pattern) { return matches(application_name, pattern); };
  const auto& defaults = patterns_->driver_defaults;
  return !application_name.empty() && std::none_of(defaults.begin(), defaults.end(), fits);
}

std::string ApplicationNames::reported(std::string_view application_name) const {
  if (!is_name(application_name)) return {};
  const auto fits = [&](const auto& pattern) { return matches(application_name, pattern); };
  const auto& folds = patterns_->folds;
  const auto fold = std::find_if(folds.begin(), folds.end(), fits);
  if (fold != folds.end()) return identity_.fold[static_cast<std::size_t>(fold - folds.begin())].as;
  return fold_name(application_name);
}

std::string ApplicationNames::mapped(std::string_view client_address) const {
  if (identity_.client_map.empty() || client_address.empty()) return {};
  const std::string_view address = client_address.substr(0, client_address.find('%'));
  const bool v6 = address.find(':') != std::string_view::npos;
  // An address is the narrowest network around itself.
  const auto parsed = config::parse_network(std::string{address} + (v6 ? "/128" : "/32"));
  const auto* host = std::get_if<config::Network>(&parsed);
  if (!host) return {};
  for (const config::ClientName& entry : identity_.client_map) {
    if (std::any_of(entry.clients.begin(), entry.clients.end(), [&](const config::Network& one) {
          return config::contains(one, host->address, v6);
        }))
      return entry.as;
  }
  return {};
}

}  // namespace pgleash::proxy
