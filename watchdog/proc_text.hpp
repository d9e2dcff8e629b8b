#pragma once

#include "protocol/types.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

/// What Linux writes of a process in /proc/PID, decoded. Texts in, values out; anything that is not
/// as proc(5) has it gives nothing. Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5),
/// proc_pid_cmdline(5).
namespace pgleash::watchdog {

/// Of /proc/PID/stat. Times in clock ticks (sysconf(_SC_CLK_TCK) a second).
struct ProcStat {
  std::int32_t pid = 0;
  char state = '?';
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;
  std::uint64_t start_ticks = 0;  ///< since the boot
};
/// The name in parentheses may hold anything, blanks and parentheses too.
[[nodiscard]] std::optional<ProcStat> parse_proc_stat(std::string_view text) noexcept;

/// RssAnon of /proc/PID/status, in bytes: memory of its own, without shared buffers and files.
/// Nothing from kernels before 4.5, and of zombies, which have no memory.
[[nodiscard]] std::optional<std::uint64_t> parse_anonymous_memory(std::string_view status) noexcept;

/// Of /proc/PID/io: bytes fetched from storage, and sent there.
struct ProcIo {
  std::uint64_t read_bytes = 0;
  std::uint64_t write_bytes = 0;
};
[[nodiscard]] std::optional<ProcIo> parse_proc_io(std::string_view text) noexcept;

/// Whether the title of a process is that of the backend of this session:
/// "postgres: [cluster_name: ]user database host(port) activity", in the host's place "[local]"
/// where the port is -1. The host may be a name there (log_hostname); user, database and port must
/// be the same, byte for byte.
[[nodiscard]] bool title_names_session(std::string_view cmdline, std::string_view user,
                                       std::string_view database, std::int32_t port) noexcept;
/// "postgres: [cluster_name: ]parallel worker for PID 4711".
[[nodiscard]] bool title_names_worker(std::string_view cmdline,
                                      protocol::BackendPid leader) noexcept;

}  // namespace pgleash::watchdog
