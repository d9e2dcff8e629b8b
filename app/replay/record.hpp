#pragma once

#include <string>

namespace pgleash::app {

/// `pgleash record`: what an operator asks for.
struct RecordOptions {
  std::string server;  ///< a connection string as psql takes it; empty: libpq's environment
  std::string config;  ///< for its [identity]; and its server, when none is given
  std::string output;
  std::string interval = "10s";
  std::string max_size = "64MiB";
  unsigned keep = 8;
};

/// Records a server from outside until SIGINT or SIGTERM; read-only. Exit status 0, or 2 when it
/// could not begin.
[[nodiscard]] int record(const RecordOptions& options);

}  // namespace pgleash::app
