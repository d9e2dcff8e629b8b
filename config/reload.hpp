#pragma once

#include "config/config.hpp"

#include <string>
#include <string_view>
#include <vector>

/// What a changed file means for a program that runs: which keys changed, which of them it can take
/// at once, and which have to wait for a restart.
namespace pgleash::config {

/// One key that differs. Items of lists go by their names, so that a rule that moved is no other
/// one: "rule.idle-web.limit"; "rule" alone is the order of the rules.
struct ChangedKey {
  std::string key;
  std::string before;  ///< as TOML; empty: was not there. Never a secret: none is in a Config
  std::string after;   ///< empty: is not there any more
  bool needs_restart = false;
};

/// Rules, enforcement, protect, identity, the TLS of listeners and servers (for sessions to come),
/// audit.statement_text, metrics.max_applications and the times of a drain are taken at once; all
/// others wait for a restart: they are about sockets, threads and files that are open.
[[nodiscard]] bool needs_restart(std::string_view key) noexcept;
/// In the order of the keys.
[[nodiscard]] std::vector<ChangedKey> changes(const Config& before, const Config& after);
/// What is in force after a reload: of `fresh` the keys that need no restart, the rest of
/// `running`.
[[nodiscard]] Config take_over(const Config& running, const Config& fresh);
/// The same, wherever in the file it stands.
[[nodiscard]] bool same_rule(Rule a, Rule b);

}  // namespace pgleash::config
