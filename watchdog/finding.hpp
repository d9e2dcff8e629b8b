#pragma once

#include "config/config.hpp"
#include "proxy/kill_order.hpp"

#include <cstddef>
#include <cstdint>

namespace pgleash::watchdog {

/// What a rule that looks at more than one session at a time says of one of them.
struct Finding {
  std::size_t session = 0;  ///< index into Snapshot::sessions
  Duration age{};           ///< what the rule's limit and warn are held against
  config::Action action = config::Action::observe;
  proxy::JudgedCounter counter = proxy::JudgedCounter::request;
  bool waits_for_client = false;  ///< judged because it does: ended only while it still does
  std::uint32_t others = 0;       ///< sessions it blocks, or statements like its own
};

}  // namespace pgleash::watchdog
