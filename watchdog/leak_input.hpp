#pragma once

#include "protocol/types.hpp"

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// Whose sessions are judged together: those of one code base, most likely.
struct LeakGroup {
  std::string database;
  std::string user;
  std::string application;
  auto operator<=>(const LeakGroup&) const = default;
};

/// A session as it comes to be known. Where it was seen does not matter: by the proxy, or in
/// pg_stat_activity.
struct LeakSession {
  std::uint64_t id = 0;  ///< the caller's own name for it
  std::string_view database;
  std::string_view user;
  std::string_view application;
  std::string_view client_address;  ///< empty: a Unix socket
  Instant last_used{};              ///< since when it waits for its client; now when it works
};

/// How the server stands. `limit` zero: not known (no monitor).
struct SlotUse {
  std::uint32_t used = 0;   ///< client backends, ours and direct ones
  std::uint32_t limit = 0;  ///< slots that a session of no privilege can have
};

}  // namespace pgleash::watchdog
