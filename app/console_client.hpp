#pragma once

#include <memory>
#include <optional>

namespace CLI {
class App;
}

namespace pgleash::app {

/// The commands sessions, leaks, explain and kill: thin clients of a running pgleash's console,
/// over libpq. A table on a terminal, tab-separated text in a pipe, JSON with --json.
class ConsoleClient {
 public:
  /// Adds the commands. `cli` outlives the client.
  explicit ConsoleClient(CLI::App& cli);
  ~ConsoleClient();
  ConsoleClient(const ConsoleClient&) = delete;
  ConsoleClient& operator=(const ConsoleClient&) = delete;

  /// After the command line was parsed: carries its command out. Exit status: 0 done; 1 nobody was
  /// ended, or not for sure; 2 the console could not be reached, or said no. Nothing: it is none of
  /// ours.
  [[nodiscard]] std::optional<int> run() const;

 private:
  struct Options;
  std::unique_ptr<Options> options_;
};

}  // namespace pgleash::app
