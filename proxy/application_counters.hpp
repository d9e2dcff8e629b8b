#pragma once

#include "proxy/count.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

namespace pgleash::proxy {

/// What one application's sessions have cost so far, those that ended included.
struct ApplicationCounts {
  std::string name;
  Count sent_bytes;
  Count idle_in_transaction_microseconds;
  Count stalled_microseconds;
};

/// Counters by application of one worker for one server. The worker adds, any thread reads: what is
/// here once stays, and its place does not change. A name takes a place for good, so the number is
/// bounded: those that come too late share the last place, `other`.
class ApplicationCounters {
 public:
  static constexpr std::size_t max_names = 500;
  static constexpr std::string_view other = "other";

  /// On the worker's thread, once a login: allocates for a new name.
  [[nodiscard]] ApplicationCounts& of(std::string_view name);

  /// From any thread: what there is now.
  [[nodiscard]] std::span<const std::unique_ptr<ApplicationCounts>> all() const noexcept {
    return {places_.data(), size_.load(std::memory_order_acquire)};
  }

 private:
  ApplicationCounts& add(std::string_view name);

  std::array<std::unique_ptr<ApplicationCounts>, max_names + 1> places_;
  std::atomic<std::size_t> size_{0};
  std::unordered_map<std::string_view, ApplicationCounts*> by_name_;  ///< the worker's
};

}  // namespace pgleash::proxy
