#pragma once

#include "config/config.hpp"
#include "protocol/types.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// Which of the limits holds a kill back.
enum class PaceScope : std::uint8_t { global, application, rule };
inline constexpr std::size_t pace_scopes = 3;
[[nodiscard]] std::string_view name(PaceScope scope) noexcept;

/// How fast sessions may be ended: so many a minute, of all, of one application, by one rule.
/// Pure; control thread; one per server.
///
/// Evenly spread and not by the minute: of N a minute one may go each 60 s / N, and what was not
/// used is saved up to a twentieth of a minute's worth (N / 20, at least one). So a burst is never
/// more than that, and no minute sees more than N + N / 20 (or N + 1).
class KillPace {
 public:
  /// What is saved up is kept as far as the new limits allow.
  void configure(const config::Pace& pace) noexcept { pace_ = pace; }

  /// Takes one from all three, or nothing, and says which one was empty (the widest first).
  [[nodiscard]] std::optional<PaceScope> take(std::string_view rule, std::string_view application,
                                              Instant now);
  /// Gives back what was taken and not used.
  void give_back(std::string_view rule, std::string_view application);
  /// Forgets buckets that are full again: call now and then.
  void forget_full(Instant now);
  [[nodiscard]] std::size_t size() const noexcept { return applications_.size() + rules_.size(); }

 private:
  /// What is left, in kills; grows with time.
  struct Bucket {
    double left = 0;
    Instant at{};
    bool fresh = true;  ///< full, whatever that is
  };
  using Buckets = std::map<std::string, Bucket, std::less<>>;

  static double burst(std::uint32_t per_minute) noexcept;
  static void fill(Bucket& bucket, std::uint32_t per_minute, Instant now) noexcept;
  static Bucket& of(Buckets& buckets, std::string_view key);

  config::Pace pace_;
  Bucket global_;
  Buckets applications_;
  Buckets rules_;
};

}  // namespace pgleash::watchdog
