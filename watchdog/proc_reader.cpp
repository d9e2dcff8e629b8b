#include "watchdog/proc_reader.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace pgleash::watchdog {
namespace {

constexpr std::size_t longest = 4096;

/// The clock that a process's start time is counted by.
Duration since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

}  // namespace

ProcReader::ProcReader(std::string root)
    : root_(std::move(root)),
      ticks_per_second_(static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)))) {}

/// False: not there, or not to be seen; errno tells.
bool ProcReader::text(protocol::BackendPid pid, const char* file, std::string& into) const {
  const std::string path =
      root_ + '/' + std::to_string(static_cast<std::int32_t>(pid)) + '/' + file;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::array<char, longest> buffer{};
  into.clear();
  ssize_t got = 0;
  while (into.size() < longest && (got = ::read(fd, buffer.data(), buffer.size())) > 0)
    into.append(buffer.data(), static_cast<std::size_t>(got));
  const int error = got < 0 ? errno : 0;
  ::close(fd);
  errno = error;
  return got >= 0;
}

std::optional<ProcStat> ProcReader::stat(protocol::BackendPid pid) const {
  std::string words;
  if (!text(pid, "stat", words)) return std::nullopt;
  const auto stat = parse_proc_stat(words);
  if (!stat || stat->pid != static_cast<std::int32_t>(pid)) return std::nullopt;
  return stat;
}

std::optional<ProcReader::Identity> ProcReader::identify(protocol::BackendPid pid) const {
  const auto seen = stat(pid);
  if (!seen) return std::nullopt;
  Identity identity;
  identity.start_ticks = seen->start_ticks;
  const std::chrono::duration<double> started{static_cast<double>(seen->start_ticks) /
                                              static_cast<double>(ticks_per_second_)};
  identity.age = since_boot() - std::chrono::duration_cast<Duration>(started);
  if (!text(pid, "cmdline", identity.cmdline)) return std::nullopt;
  return identity;
}

std::optional<ProcReader::Result> ProcReader::read(protocol::BackendPid pid,
                                                   std::uint64_t start_ticks, bool io) const {
  Result result;
  ProcessReading& reading = result.reading;
  reading.pid = pid;
  reading.start_ticks = start_ticks;
  std::string words;
  if (text(pid, "status", words)) reading.anonymous = parse_anonymous_memory(words);
  if (io) {
    if (!text(pid, "io", words)) {
      result.denied = errno == EACCES || errno == EPERM;
    } else if (const auto bytes = parse_proc_io(words)) {
      reading.read = bytes->read_bytes;
      reading.written = bytes->write_bytes;
    }
  }
  // Last, so that what was read before is of this very process: its pid was not used again
  // meanwhile.
  const auto seen = stat(pid);
  if (!seen || seen->start_ticks != start_ticks) return std::nullopt;
  const std::uint64_t ticks = seen->user_ticks + seen->system_ticks;
  reading.cpu =
      std::chrono::seconds{ticks / ticks_per_second_} +
      std::chrono::nanoseconds{ticks % ticks_per_second_ * 1'000'000'000 / ticks_per_second_};
  return result;
}

}  // namespace pgleash::watchdog
