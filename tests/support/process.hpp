#pragma once

#include "tests/support/temp_dir.hpp"

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace pgleash::test {

/// A program and how to run it.
struct Command {
  std::vector<std::string> argv;         ///< argv[0] is the path, or a name to be found in PATH
  std::vector<std::string> environment;  ///< "NAME=value", beside what we have ourselves
  std::string user;                      ///< to become when we are root; empty: stay
  int death_signal =
      SIGKILL;  ///< what it gets when the thread that started it dies, be it by a crash
};

/// A child process whose output goes to files. Killed and reaped when the object goes.
class Process {
 public:
  explicit Process(Command command);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] bool running();
  void signal(int number) const;
  /// Exit status, or 128 + the signal that ended it; empty when it still runs at the end of
  /// `patience`.
  std::optional<int> wait(std::chrono::nanoseconds patience);
  /// SIGTERM and wait; SIGKILL when that takes longer than `patience`.
  int terminate(std::chrono::nanoseconds patience);
  /// All that it wrote so far.
  [[nodiscard]] std::string out() const;
  [[nodiscard]] std::string err() const;

 private:
  TempDir output_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

struct Finished {
  int status = 0;
  std::string out;
  std::string err;
};
/// Runs it to its end; throws when it takes longer than `patience`.
Finished run(Command command, std::chrono::nanoseconds patience = std::chrono::seconds{30});

}  // namespace pgleash::test
