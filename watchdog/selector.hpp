#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/name_patterns.hpp"
#include "config/networks.hpp"
#include "config/pattern.hpp"
#include "proxy/session_view.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::watchdog {

/// The patterns of one list; faulty ones are reported with their positions.
class Patterns {
 public:
  void add(const std::string& text, const config::SourcePosition& position,
           std::vector<config::Diagnostic>& diagnostics) {
    const std::optional<std::string> fault = patterns_.add(text);
    if (!fault) return;
    const auto found = config::pattern_fault(text);
    diagnostics.push_back({config::Severity::error,
                           position,
                           "pattern '" + text + "': " + *fault,
                           found ? found->fault.hint : std::string{},
                           {}});
  }
  [[nodiscard]] bool match(std::string_view name) const { return patterns_.match(name); }
  [[nodiscard]] bool empty() const noexcept { return patterns_.empty(); }

 private:
  config::NamePatterns patterns_;
};

using config::Networks;

/// A rule's `match` or `except`, compiled: keys are AND, the values of one are OR. A key that was
/// given and matches nobody selects nobody.
class Selector {
 public:
  Selector(const config::Match& match, std::vector<config::Diagnostic>& diagnostics)
      : clients_(match.clients), empty_(match.empty()) {
    for (const auto& p : match.applications) applications_.add(p.text, p.position, diagnostics);
    for (const auto& p : match.users) users_.add(p.text, p.position, diagnostics);
    for (const auto& p : match.databases) databases_.add(p.text, p.position, diagnostics);
  }
  /// True of everybody when no key was given.
  [[nodiscard]] bool selects(const proxy::SessionIdentity& who) const {
    return (applications_.empty() || applications_.match(who.application)) &&
           (users_.empty() || users_.match(who.user)) &&
           (databases_.empty() || databases_.match(who.database)) &&
           (clients_.empty() || clients_.contain(who.client.address));
  }
  /// The first key that does not match; empty when all do.
  [[nodiscard]] std::string_view mismatch(const proxy::SessionIdentity& who) const {
    if (!applications_.empty() && !applications_.match(who.application)) return "applications";
    if (!users_.empty() && !users_.match(who.user)) return "users";
    if (!databases_.empty() && !databases_.match(who.database)) return "databases";
    if (!clients_.empty() && !clients_.contain(who.client.address)) return "clients";
    return {};
  }
  [[nodiscard]] bool empty() const noexcept { return empty_; }

 private:
  Patterns applications_;
  Patterns users_;
  Patterns databases_;
  Networks clients_;
  bool empty_;
};

}  // namespace pgleash::watchdog
