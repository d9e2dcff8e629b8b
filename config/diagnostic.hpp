#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pgleash::config {

/// Where something stands in the configuration file; line 0 when it came from elsewhere (command
/// line, environment, default).
struct SourcePosition {
  std::string source;  ///< file name, or "--option", or "environment NAME"
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  bool operator==(const SourcePosition&) const = default;
};

/// A pattern with the place it was written, so that a compiler of patterns can point at it.
struct Pattern {
  std::string text;
  SourcePosition position;
  bool operator==(const Pattern&) const = default;
};

enum class Severity : std::uint8_t { warning, error };

/// One fault of the configuration: what is wrong, where, and what to do.
struct Diagnostic {
  Severity severity = Severity::error;
  SourcePosition position;
  std::string message;  ///< "unknown key 'limt' in [[rule]]"
  std::string hint;     ///< "did you mean 'limit'?"
  std::string excerpt;  ///< the line of the file; the caret goes under `column`
};

/// Renders `file:line:column: error: message`, the excerpt, a caret and the hint; each line ends
/// with a newline. `colour` for terminals.
[[nodiscard]] std::string render(const Diagnostic& diagnostic, bool colour);
[[nodiscard]] bool has_errors(const std::vector<Diagnostic>& diagnostics) noexcept;

}  // namespace pgleash::config
