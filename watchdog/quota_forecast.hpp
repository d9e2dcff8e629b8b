#pragma once

#include "config/config.hpp"
#include "watchdog/forecast.hpp"
#include "watchdog/snapshot.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// When leaks will have used up what a [[quota]] allows to one that leaks.
struct QuotaForecast {
  std::string quota;  ///< its name
  config::QuotaKey key{};
  std::string holder;          ///< the application, user, database or client address
  std::uint32_t sessions = 0;  ///< that it has now
  std::uint32_t limit = 0;
  Exhaustion end;
  bool operator==(const QuotaForecast&) const = default;
};

/// A session that was lost.
struct LostSession {
  const proxy::SessionIdentity* who = nullptr;
  Instant lost{};  ///< last used
  Duration
      unseen{};  ///< how long ago a session of its leak must have been used to be known as lost
};

/// Foretells for each quota that limits sessions when its holders that leak will be refused. Keeps
/// the use of a holder from when its leak was detected until it is over: before that nobody asks,
/// and a ring for each of thousands of addresses is not worth having. Pure but for its memory.
class QuotaForecasts {
 public:
  /// Holders that are told apart; who comes later has no forecast.
  static constexpr std::size_t max_holders = 200;
  /// Sessions that count under the quotas, of all servers; nothing: nobody counts them.
  using SessionsOf =
      std::function<std::optional<std::uint32_t>(config::QuotaKey, const std::string& holder)>;

  /// Without `sessions_of`, or where it says nothing, those of the snapshot count.
  void count_by(SessionsOf sessions_of) { sessions_of_ = std::move(sessions_of); }
  void configure(const std::vector<config::Quota>& quotas);
  /// Those that limit sessions.
  [[nodiscard]] const std::vector<config::Quota>& limited() const noexcept { return quotas_; }

  /// On each tick, with all sessions that are lost now: the first to be used up first, those
  /// without an end in sight last.
  [[nodiscard]] std::vector<QuotaForecast> update(const Snapshot& snapshot,
                                                  std::span<const LostSession> lost,
                                                  Duration horizon);

 private:
  using Holder = std::pair<config::QuotaKey, std::string>;
  struct Losses {
    std::vector<Instant> at;
    Duration unseen{};
  };
  [[nodiscard]] std::map<Holder, Losses> by_holder(std::span<const LostSession> lost) const;
  [[nodiscard]] std::uint32_t sessions_of(const Holder& holder, const Snapshot& snapshot) const;

  std::vector<config::Quota> quotas_;  ///< that limit sessions
  SessionsOf sessions_of_;
  std::map<Holder, ExhaustionForecast> use_;
};

}  // namespace pgleash::watchdog
