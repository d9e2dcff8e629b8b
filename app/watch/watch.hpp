#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace pgleash::app {

/// `pgleash watch`: what an operator asks for.
struct WatchOptions {
  std::string server;  ///< a connection string as psql takes it; empty: libpq's environment
  std::string config;  ///< rules, [leak], [identity] and [protect] of this file; empty: defaults
  std::string interval = "2s";
  std::string http;  ///< address of the same pages that `run` has; empty: none
  bool json = false;
  bool once = false;
  bool literals = false;  ///< show statements as they are
};

/// Looks at a server without being in its path: a table on a terminal, blocks of text elsewhere.
/// Read-only: it samples the views, and there is no code here that could end or change anything.
/// Returns the exit status: 0, or 2 when it could not begin (with `once`: could not look).
[[nodiscard]] int watch(const WatchOptions& options);

}  // namespace pgleash::app
