#pragma once

#include "protocol/types.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::proxy {

/// Says of a line that somebody else decides how often it is written whether to write it: the first
/// `most` of a kind within `window`, and then how many were left out. A kind is a text of ours, of
/// which there are few. One thread, or under a lock.
class FloodCount {
 public:
  static constexpr std::uint32_t most = 20;
  static constexpr Duration window = std::chrono::seconds{10};

  struct LeftOut {
    std::string kind;
    std::uint64_t count = 0;
    Duration within{};  ///< since the first line of the window
  };

  [[nodiscard]] bool admit(const std::string& kind, Instant now) {
    Window& at = windows_[kind];
    if (!at.since || now - *at.since >= window) {
      if (at.left_out > 0) ended_.push_back({kind, at.left_out, now - *at.since});
      at = {now, 0, 0};
    }
    if (at.written < most) {
      ++at.written;
      return true;
    }
    ++at.left_out;
    return false;
  }

  /// What was left out in windows that are over by now; with `all`, in those that are not as well.
  /// Each is told of once.
  [[nodiscard]] std::vector<LeftOut> left_out(Instant now, bool all = false) {
    std::vector<LeftOut> told = std::move(ended_);
    ended_.clear();
    for (auto one = windows_.begin(); one != windows_.end();) {
      const Duration age = now - *one->second.since;
      if (!all && age < window) {
        ++one;
        continue;
      }
      if (one->second.left_out > 0) told.push_back({one->first, one->second.left_out, age});
      one = windows_.erase(one);
    }
    return told;
  }

 private:
  struct Window {
    std::optional<Instant> since;
    std::uint32_t written = 0;
    std::uint64_t left_out = 0;
  };
  std::map<std::string, Window> windows_;
  std::vector<LeftOut> ended_;
};

}  // namespace pgleash::proxy
