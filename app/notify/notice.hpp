#pragma once

#include "watchdog/fuse_box.hpp"
#include "watchdog/leak_status.hpp"
#include "watchdog/terminator.hpp"
#include "watchdog/verdict.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

/// What a webhook says: JSON by deploy/webhook.schema.json, without statement texts, literals or
/// tags. Pure.
namespace pgleash::notify {

/// What each notice begins with.
struct Preamble {
  std::string id;
  std::string_view instance;
  std::string_view server;
  std::chrono::system_clock::time_point when{};
};

/// Which event the end of a verdict is; none: nobody was to be ended, or nothing was there to end.
[[nodiscard]] std::optional<config::WebhookEvent> event_of(watchdog::Outcome outcome) noexcept;

[[nodiscard]] std::string finished(const Preamble& preamble, config::WebhookEvent event,
                                   const watchdog::Verdict& verdict,
                                   const watchdog::TerminationRecord& record);
[[nodiscard]] std::string fuse(const Preamble& preamble, const watchdog::OpenFuse& open);
[[nodiscard]] std::string leak(const Preamble& preamble, std::string_view change,
                               const watchdog::LeakReport& report);

}  // namespace pgleash::notify
