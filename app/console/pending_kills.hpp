#pragma once

#include "watchdog/by_hand.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::watchdog {
class Watchdog;
}

namespace pgleash::console {

/// What KILL WHERE showed, until KILL CONFIRM, or until it is too old. A token is good once, for
/// who got it. Pure but for its memory; control thread.
class PendingKills {
 public:
  static constexpr Duration good_for = std::chrono::minutes{2};
  static constexpr std::size_t most = 64;
  static constexpr std::size_t most_sessions = 1000;  ///< of one of them

  struct One {
    watchdog::Watchdog* watchdog = nullptr;  ///< not owned
    watchdog::HandOrder order;
  };
  struct Batch {
    std::string token;
    std::string user;
    std::string server;  ///< that authenticated the user
    Instant until{};
    std::vector<One> orders;
  };

  /// `token` must be one that nobody can guess.
  void add(Batch batch, Instant now);
  /// Nothing: there is none such, it is another user's, or it is too old.
  [[nodiscard]] std::optional<Batch> take(std::string_view token, std::string_view user,
                                          std::string_view server, Instant now);

 private:
  std::deque<Batch> batches_;
};

/// 80 random bits, in characters that survive being read aloud.
[[nodiscard]] std::string fresh_token();

}  // namespace pgleash::console
