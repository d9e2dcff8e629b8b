#pragma once

#include "proxy/session_view.hpp"
#include "watchdog/forecast.hpp"
#include "watchdog/leak_detector.hpp"
#include "watchdog/quota_forecast.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// A session that a leaking application does not use any more.
struct LeakSuspect {
  proxy::SessionId session{};
  std::shared_ptr<const proxy::SessionIdentity> who;
  Duration unused{};  ///< since its last statement was done, or since its client stopped within one
  std::uint64_t bytes_to_server = 0;  ///< since it logged in; 0 both: it does not come through us
  std::uint64_t bytes_to_client = 0;
};

/// A leak, for whoever has to find the line of code.
struct LeakReport {
  static constexpr std::size_t most_suspects = 20;

  Leak leak;
  Exhaustion forecast;                  ///< of the server's slots
  std::optional<QuotaForecast> quota;   ///< of those it uses up, the one that is used up first
  Duration stands{};                    ///< since it was detected
  std::vector<std::uint64_t> suspects;  ///< all of them, by session
  std::vector<LeakSuspect> oldest;  ///< suspects, the longest unused first; at most most_suspects
  std::vector<std::pair<std::string, std::uint32_t>> addresses;  ///< and suspects, most first

  // Of `oldest`, from the session's own worker: what their last statements were.
  std::string statement;  ///< the most frequent one, without its values
  std::string statement_fingerprint;
  double same_statement = 0;  ///< share of `oldest` whose last statement it was
  /// The most frequent one that an open transaction of theirs began with, BEGIN aside.
  std::string first_statement;
  std::string first_statement_fingerprint;
  std::vector<std::pair<std::string, std::string>> tags;  ///< sqlcommenter's, of one of them
};

/// Whether the leak uses up what that quota allows to its holder.
[[nodiscard]] bool uses_up(const LeakReport& report, const QuotaForecast& quota);

/// What metrics and pages show of leaks. A value.
struct LeakStatus {
  struct Application {
    std::uint64_t suspects = 0;
    std::uint64_t floor = 0;
    double growth = 0;  ///< sessions per second
  };
  std::vector<Leak> standing;
  std::map<std::string, Application> applications;  ///< those that have sessions
  /// By application, bounded by the writer.
  std::map<std::string, std::uint64_t> detected_total;
  std::map<std::string, std::uint64_t> cleared_total;
  bool limit_known = false;         ///< of the server's slots
  Exhaustion forecast;              ///< nothing: no end in sight
  std::vector<std::string> quotas;  ///< that limit sessions, by name
  /// Of those whose holders leak; the first to be used up first.
  std::vector<QuotaForecast> quota_forecasts;
  /// Of those that stand, as they were when they were detected, with their evidence.
  std::vector<std::shared_ptr<const LeakReport>> reports;
};

}  // namespace pgleash::watchdog
