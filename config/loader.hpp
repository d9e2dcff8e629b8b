#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "config/diagnostic.hpp"

namespace pgleash::config {

/// What a load gave: a configuration only when there is no error, and every fault found, not the first one.
struct LoadResult {
  std::optional<Config> config;
  std::vector<Diagnostic> diagnostics;  ///< in file order
};

/// Reads and checks a file. Relative paths in it are taken from the file's folder. Never throws for what a user wrote.
[[nodiscard]] LoadResult load_file(const std::string& path);
/// The same for text that is already here; `source` names it in diagnostics.
[[nodiscard]] LoadResult load_text(std::string_view text, const std::string& source);

/// What `pgleash run` takes without a file.
struct CommandLine {
  std::string server;                  ///< postgres://host:port, host:port, or a Unix socket directory
  std::vector<std::string> listen;     ///< host:port, or a Unix socket directory; default 127.0.0.1:6432
  std::optional<std::string> monitor;  ///< libpq words: user=… dbname=… password_file=…; absent: "none"
  std::optional<std::string> http;     ///< host:port; "off"
};
[[nodiscard]] LoadResult from_command_line(const CommandLine& line);

/// Faults that only show when all sections are seen together (an action that cannot work in its kind, a listener's
/// unknown server, enforce without audit). load_* calls it; a command line that overrides keys calls it again.
void check(const Config& config, std::vector<Diagnostic>& diagnostics);

/// The configuration as it is in force, as TOML, each key with where it came from.
[[nodiscard]] std::string effective_toml(const Config& config);

}  // namespace pgleash::config
