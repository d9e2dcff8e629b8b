#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::config {

/// Where each key that was given came from, by its path: "rule[0].limit", "server[0].monitor.user".
/// Keys that are not here have their default. Who overrides a key afterwards enters its own origin:
/// `{"--workers"}`.
using Provenance = std::map<std::string, SourcePosition>;

/// What a load gave: a configuration only when there is no error, and every fault found, not the
/// first one.
struct LoadResult {
  std::optional<Config> config;
  std::vector<Diagnostic> diagnostics;  ///< in file order
  Provenance provenance;
};

/// Reads and checks a file. Relative paths in it are taken from the file's folder. Never throws for
/// what a user wrote.
[[nodiscard]] LoadResult load_file(const std::string& path);
/// The same for text that is already here; `source` names it in diagnostics.
[[nodiscard]] LoadResult load_text(std::string_view text, const std::string& source);

/// What `pgleash run` takes without a file.
struct CommandLine {
  /// postgres://host:port, host:port, or a Unix socket directory; with libpq's words for TLS
  std::string server = {};
  std::vector<std::string> listen =
      {};  ///< host:port, or a Unix socket directory; default 127.0.0.1:6432
  std::optional<std::string> monitor =
      {};  ///< libpq words: user=… dbname=… password_file=…; absent: "none"
  std::optional<std::string> http = {};     ///< of /metrics: host:port; "off"
  std::optional<std::string> status = {};   ///< of the status page: the same
  std::optional<std::string> workers = {};  ///< a number, or "auto"
};
[[nodiscard]] LoadResult from_command_line(const CommandLine& line);

/// Faults that only show when all sections are seen together (an action that cannot work in its
/// kind, a listener's unknown server, enforce without audit). load_* calls it; a command line that
/// overrides keys calls it again. With a provenance the faults carry positions.
void check(const Config& config, std::vector<Diagnostic>& diagnostics);
void check(const Config& config, const Provenance& provenance,
           std::vector<Diagnostic>& diagnostics);

/// The configuration as it is in force, as TOML that loads back to the same; no secrets, since none
/// is ever inside.
[[nodiscard]] std::string effective_toml(const Config& config);
/// The same key by key: "rule[0].limit" and its value as TOML.
[[nodiscard]] std::map<std::string, std::string> effective_values(const Config& config);
/// The same with a comment behind each key that tells where it came from. Empty when there is no
/// configuration.
[[nodiscard]] std::string effective_toml(const LoadResult& loaded);

}  // namespace pgleash::config
