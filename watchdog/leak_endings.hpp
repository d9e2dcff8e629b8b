#pragma once

#include "watchdog/leak_status.hpp"
#include "watchdog/session_evidence.hpp"

#include <cstddef>
#include <map>
#include <string>

namespace pgleash::watchdog {

/// Which statements the suspects of a leak ended in, and what the transactions began with that they
/// left open: puts the most frequent ones into its report. Pure.
class LeakEndings {
 public:
  /// The report outlives it, and has its suspects already.
  explicit LeakEndings(LeakReport& report) : report_(report) {}

  /// Of one of report.oldest.
  void add(const SessionEvidence& suspect);

 private:
  LeakReport& report_;
  std::map<std::string, std::size_t> last_;  ///< suspects by fingerprint
  std::map<std::string, std::size_t> first_;
};

}  // namespace pgleash::watchdog
