#pragma once

#include "watchdog/session_evidence.hpp"
#include "watchdog/verdict.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::watchdog {

/// What became of one verdict, for whoever asks what happened lately.
struct RecentAction {
  std::chrono::system_clock::time_point at{};
  Verdict verdict;
  config::Mode mode{};
  Outcome outcome = Outcome::error;
  std::string_view step;  ///< of a literal
  Duration took{};
  std::string why;
  SessionEvidence evidence;  ///< without values; of one that touched nobody it follows: complete()
};

[[nodiscard]] RecentAction action_of(const Verdict& verdict, config::Mode mode, Outcome outcome,
                                     std::string why, std::chrono::system_clock::time_point at);

/// The newest outcomes of one server. Those that touched, or tried to touch, somebody are kept
/// apart, so that thousands of would-acts push none of them out. Pure; control thread.
class RecentActions {
 public:
  static constexpr std::size_t kept = 300;  ///< of either sort

  void add(RecentAction action);
  /// What its session did, which is asked for behind an outcome without an act.
  void complete(const VerdictId& incident, SessionEvidence evidence);
  /// Newest first.
  [[nodiscard]] std::vector<const RecentAction*> newest() const;
  /// Null: it is not known, or not any more.
  [[nodiscard]] const RecentAction* find(std::string_view incident) const;

 private:
  std::deque<RecentAction> acted_;
  std::deque<RecentAction> others_;
};

}  // namespace pgleash::watchdog
