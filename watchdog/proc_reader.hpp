#pragma once

#include "watchdog/cost.hpp"
#include "watchdog/proc_text.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace pgleash::watchdog {

/// Reads processes of this host from /proc. Each call is a few system calls and some 10 µs: the
/// kernel makes these texts up, no disk is asked. Any thread.
///
/// A pid says nothing about whose process it is: compare title and age before a reading is
/// believed.
class ProcReader {
 public:
  /// `root`: another folder, for tests.
  explicit ProcReader(std::string root = "/proc");

  /// Which process it is.
  struct Identity {
    std::uint64_t start_ticks = 0;
    Duration age{};       ///< since its start, by this host's clock that runs in suspend too
    std::string cmdline;  ///< its title; at most 4 KiB
  };
  [[nodiscard]] std::optional<Identity> identify(protocol::BackendPid pid) const;

  struct Result {
    ProcessReading reading;
    bool denied = false;  ///< `io` was asked for, and the kernel does not show it to us
  };
  /// Nothing when there is no such process, or it is one that started at another time.
  [[nodiscard]] std::optional<Result> read(protocol::BackendPid pid, std::uint64_t start_ticks,
                                           bool io) const;

 private:
  [[nodiscard]] bool text(protocol::BackendPid pid, const char* file, std::string& into) const;
  [[nodiscard]] std::optional<ProcStat> stat(protocol::BackendPid pid) const;

  std::string root_;
  std::uint64_t ticks_per_second_;
};

}  // namespace pgleash::watchdog
