#pragma once

#include <cstdint>
#include <optional>

namespace pgleash::metrics {

/// What this process takes of its host. Absent where the system does not tell.
struct ProcessUsage {
  double cpu_seconds = 0;
  std::optional<std::uint64_t> resident_bytes;
  std::optional<std::uint64_t> open_fds;
  std::optional<std::uint64_t> max_fds;  ///< the soft limit
};

/// Asks the kernel: a handful of system calls, however many descriptors there are (Linux 6.2 on;
/// before that the descriptors are counted one by one).
[[nodiscard]] ProcessUsage read_process_usage();

}  // namespace pgleash::metrics
