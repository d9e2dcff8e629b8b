#include "watchdog/audit_sink.hpp"

#include "watchdog/audit_chain.hpp"
#include "watchdog/clock.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace pgleash::watchdog {
namespace {

constexpr int stuck_after = 1000;  // milliseconds for a standard output that takes nothing

off_t size_of(int fd) {
  struct stat facts {};
  return ::fstat(fd, &facts) == 0 ? facts.st_size : -1;
}

/// A new file's name must survive a crash as well as its contents.
void sync_directory_of(const std::string& file) {
  const auto slash = file.rfind('/');
  const auto directory = slash == std::string::npos
                             ? std::string{"."}
                             : file.substr(0, std::max<std::size_t>(slash, 1));
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

int open_file(const std::string& file, std::string& problem) {
  const int fd =
      ::open(file.c_str(),
             O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
  if (fd < 0) {
    problem = fmt::format("cannot open \"{}\": {}", file,
                          errno == ELOOP ? "it is a symbolic link" : std::strerror(errno));
    return -1;
  }
  struct stat facts {};
  if (::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    problem = fmt::format("\"{}\" is not a regular file", file);
  } else if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    problem =
        fmt::format("another process writes to \"{}\": two writers would break its chain", file);
  } else {
    sync_directory_of(file);
    return fd;
  }
  ::close(fd);
  return -1;
}

/// The last line and the one before it, without their ends. Reads backwards, as the file may be
/// large.
struct Tail {
  std::string last;      ///< not finished when `torn`
  std::string previous;  ///< only when `torn`
  bool torn = false;
  bool readable = true;
};

Tail read_tail(int fd) {
  constexpr off_t chunk = 64 * 1024;
  Tail tail;
  std::string end;
  auto at = size_of(fd);
  const auto enough = [&end, &tail] {
    tail.torn = !end.empty() && end.back() != '\n';
    return std::ranges::count(end, '\n') >= 2;
  };
  while (at > 0 && !enough()) {
    const auto from = std::max<off_t>(0, at - chunk);
    std::string piece(static_cast<std::size_t>(at - from), '\0');
    if (::pread(fd, piece.data(), piece.size(), from) != static_cast<ssize_t>(piece.size())) {
      tail.readable = false;
      return tail;
    }
    end.insert(0, piece);
    at = from;
  }
  (void)enough();
  const auto take_line = [&end] {
    const auto newline = end.rfind('\n');
    auto line = newline == std::string::npos ? end : end.substr(newline + 1);
    end.resize(newline == std::string::npos ? 0 : newline);
    return line;
  };
  if (!tail.torn && !end.empty()) end.pop_back();
  tail.last = take_line();
  if (tail.torn) tail.previous = take_line();
  return tail;
}

}  // namespace

std::unique_ptr<AuditSink> AuditSink::open(const config::Audit& settings, std::string& problem) {
  if (settings.sink == config::AuditSink::standard_output) {
    return std::unique_ptr<AuditSink>{new AuditSink{settings, STDOUT_FILENO}};
  }
  const int fd = open_file(settings.file, problem);
  if (fd < 0) return nullptr;
  std::unique_ptr<AuditSink> sink{new AuditSink{settings, fd}};
  if (!sink->take_up()) {
    problem = fmt::format("cannot continue \"{}\": {}", settings.file, std::strerror(errno));
    return nullptr;
  }
  return sink;
}

AuditSink::AuditSink(const config::Audit& settings, int fd)
    : settings_(settings), policy_(settings.statement_text), fd_(fd), last_(chain_start) {}

AuditSink::~AuditSink() {
  if (is_file()) ::close(fd_);
}

/// Finds the end of the chain in what the file has; an empty file goes on with the chain we had.
bool AuditSink::take_up() {
  const auto tail = read_tail(fd_);
  if (!tail.readable) return false;
  if (tail.torn) return repair();
  if (!tail.last.empty()) last_ = sha256(tail.last);
  return true;
}

/// Ends the torn line and accounts for it.
bool AuditSink::repair() {
  if (!is_file()) {
    torn_ = !write_all("\n");
    return !torn_;
  }
  const auto tail = read_tail(fd_);
  if (!tail.readable) return false;
  if (!tail.torn) {
    torn_ = false;
    return true;
  }
  const auto resumes = tail.previous.empty() ? std::string{chain_start} : sha256(tail.previous);
  const auto line =
      fmt::format(R"({{"ts":"{}","event":"chain.repaired","prev":"{}","resumes":"{}"}})",
                  iso8601(wall_now()), sha256(tail.last), resumes);
  if (!write_synced("\n" + line + "\n")) return false;
  last_ = sha256(line);
  torn_ = false;
  return true;
}

bool AuditSink::append(const std::vector<const AuditRecord*>& records) {
  if (torn_ && !repair()) return false;
  std::string lines;
  auto last = last_;
  for (const auto* record : records) {
    const auto line = to_line(*record, policy_.load(), last);
    last = sha256(line);
    lines += line;
    lines += '\n';
  }
  if (!write_synced(lines)) return false;
  last_ = std::move(last);
  return true;
}

bool AuditSink::write_synced(std::string_view bytes) {
  if (!is_file()) {
    torn_ = !write_all(bytes);
    return !torn_;
  }
  const auto before = size_of(fd_);
  // A write that the disk did not confirm is no record either, so it is taken back like a short
  // one.
  if (write_all(bytes) && (!settings_.fsync_each || ::fdatasync(fd_) == 0)) return true;
  // Fails on a file with the append-only attribute: then the torn line stays, and is accounted for
  // when the disk is back.
  if (before < 0 || ::ftruncate(fd_, before) != 0) torn_ = true;
  return false;
}

bool AuditSink::write_all(std::string_view bytes) const {
  while (!bytes.empty()) {
    const auto written = ::write(fd_, bytes.data(), bytes.size());
    if (written > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (written < 0 &&
               errno == EAGAIN) {  // a standard output that somebody made non-blocking
      pollfd ready{fd_, POLLOUT, 0};
      if (::poll(&ready, 1, stuck_after) <= 0) return false;
    } else if (written == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool AuditSink::reopen() {
  if (!is_file()) return true;
  struct stat ours {};
  struct stat named {};
  if (::fstat(fd_, &ours) == 0 && ::lstat(settings_.file.c_str(), &named) == 0 &&
      ours.st_dev == named.st_dev && ours.st_ino == named.st_ino) {
    return true;  // nobody rotated
  }
  std::string problem;
  const int fresh = open_file(settings_.file, problem);
  if (fresh < 0) return false;
  const int old = std::exchange(fd_, fresh);
  const bool was_torn = std::exchange(torn_, false);
  bool taken_up = false;
  try {
    taken_up = take_up();
  } catch (const std::bad_alloc&) {  // the old one stays in use
  }
  if (!taken_up) {
    ::close(std::exchange(fd_, old));
    torn_ = was_torn;
    return false;
  }
  ::close(old);
  return true;
}

}  // namespace pgleash::watchdog
