#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace pgleash::app {

/// How far a long replay is, for a terminal: only when it takes long enough to wonder, and redrawn
/// no oftener than an eye sees. Pure: gives what is to be written; takes time as a parameter.
class ProgressBar {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `total`: bytes to read; with 0, not known, there is no bar.
  ProgressBar(std::uint64_t total, bool terminal, Time begun);

  /// What is to be written when `done` bytes were read; empty: nothing.
  [[nodiscard]] std::string at(std::uint64_t done, Time now);
  /// What takes the bar away; empty when none was drawn.
  [[nodiscard]] std::string removed() const;

 private:
  std::uint64_t total_;
  bool terminal_;
  bool drawn_ = false;
  Time next_;
};

}  // namespace pgleash::app
