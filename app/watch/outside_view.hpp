#pragma once

#include "config/config.hpp"
#include "proxy/identity.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/blocking_tree.hpp"
#include "watchdog/evidence.hpp"
#include "watchdog/snapshot.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace pgleash::app {

/// A server seen from outside, with no proxy in the path: samples in, snapshots out whose sessions
/// are all client backends, named as [identity] says, in the shape that rules and the leak detector
/// judge. What PostgreSQL does not tell is unknown, as with any direct session. Pure but for the
/// memory of what each backend was seen to do; one thread.
class OutsideView {
 public:
  OutsideView(std::string server, const config::Identity& identity);

  /// The moment is that of the sample. `fingerprint_from`: statements that run for longer are
  /// fingerprinted, for rules that group by it.
  [[nodiscard]] watchdog::Snapshot snapshot(const watchdog::ActivitySample& sample,
                                            std::optional<Duration> fingerprint_from = {});

 private:
  /// When something began, by the server's clock, and the same by ours as it was first seen: from
  /// sample to sample that would waver by the time an answer takes.
  struct Seen {
    watchdog::ServerTime server;
    Instant ours{};
    void steady(watchdog::ServerTime now, Instant& measured);
  };
  struct Known {
    std::shared_ptr<const proxy::SessionIdentity> who;
    Seen state, request, transaction;
    bool listening = false;
    std::uint64_t seen = 0;
  };
  void remember(watchdog::SessionEntry& entry, const watchdog::ActivityRow& row);

  std::string server_;
  proxy::ApplicationNames names_;
  watchdog::BlockingTree blocking_;
  watchdog::FingerprintCache fingerprints_;
  std::unordered_map<std::uint64_t, Known> known_;
  std::uint64_t round_ = 0;
};

}  // namespace pgleash::app
