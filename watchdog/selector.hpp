#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/network.hpp"
#include "config/pattern.hpp"
#include "proxy/session_view.hpp"
#include "watchdog/client_encoding.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pgleash::watchdog {

/// A list of patterns, each against the whole name; linear in the name's length whatever the
/// pattern.
class Patterns {
 public:
  void add(const std::string& text, const config::SourcePosition& position,
           std::vector<config::Diagnostic>& diagnostics) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);  // a newline in a name must not slip past `except = '.*'`
    auto pattern = std::make_unique<RE2>(text, options);
    if (!pattern->ok()) {
      const auto found = config::pattern_fault(text);
      diagnostics.push_back({config::Severity::error,
                             position,
                             "pattern '" + text + "': " + pattern->error(),
                             found ? found->fault.hint : std::string{},
                             {}});
      return;
    }
    patterns_.push_back(std::move(pattern));
  }
  [[nodiscard]] bool match(std::string_view name) const {
    if (patterns_.empty()) return false;
    std::string decoded;
    if (!is_utf8(name)) name = decoded = from_latin1(name);
    const re2::StringPiece text{name.data(), name.size()};
    for (const auto& pattern : patterns_) {
      if (RE2::FullMatch(text, *pattern)) return true;
    }
    return false;
  }
  [[nodiscard]] bool empty() const noexcept { return patterns_.empty(); }

 private:
  // RE2's dot matches no byte that is not UTF-8, so that an `except` would miss.
  static std::string from_latin1(std::string_view text) {
    std::string utf8;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x80) utf8 += static_cast<char>(0xC0U | (byte >> 6U));
      utf8 += byte >= 0x80 ? static_cast<char>(0x80U | (byte & 0x3FU)) : c;
    }
    return utf8;
  }

  std::vector<std::unique_ptr<RE2>> patterns_;
};

/// CIDR networks against a client's address as text. A Unix-socket client has none and is in no
/// network.
class Networks {
 public:
  Networks() = default;
  explicit Networks(std::vector<config::Network> networks) : networks_(std::move(networks)) {}

  [[nodiscard]] bool contain(std::string_view address) const {
    if (networks_.empty() || address.empty()) return false;
    address = address.substr(0, address.find('%'));  // the zone of a link-local address
    constexpr std::string_view mapped = "::ffff:";
    if (address.starts_with(mapped) && address.find('.') != std::string_view::npos) {
      address.remove_prefix(mapped.size());
    }
    const bool v6 = address.find(':') != std::string_view::npos;
    // An address is the narrowest network around itself.
    const auto parsed = config::parse_network(std::string{address} + (v6 ? "/128" : "/32"));
    const auto* host = std::get_if<config::Network>(&parsed);
    return host &&
           std::any_of(networks_.begin(), networks_.end(), [&](const config::Network& network) {
             return config::contains(network, host->address, v6);
           });
  }
  [[nodiscard]] bool empty() const noexcept { return networks_.empty(); }

 private:
  std::vector<config::Network> networks_;
};

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
