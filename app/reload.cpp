#include "app/reload.hpp"

#include "app/load.hpp"

#include <fmt/format.h>

#include <utility>

namespace pgleash::app {

Reload read_again(const config::Config& running, const std::string& file) {
  config::LoadResult loaded = load_checked(file);
  Reload reload;
  reload.faults = std::move(loaded.diagnostics);
  if (!loaded.config) return reload;
  reload.changed = config::changes(running, *loaded.config);
  config::Config merged = config::take_over(running, *loaded.config);
  std::vector<config::Diagnostic> together;
  config::check(merged, loaded.provenance, together);
  if (config::has_errors(together)) {
    for (config::Diagnostic& fault : together) {
      fault.hint = "this needs keys that are taken at a restart only";
      if (fault.position.source.empty()) fault.position.source = file;
    }
    reload.faults = std::move(together);
    return reload;
  }
  reload.config = std::move(merged);
  return reload;
}

std::string in_one_line(const config::Diagnostic& diagnostic) {
  const config::SourcePosition& at = diagnostic.position;
  std::string line = at.source;
  if (at.line != 0) line += fmt::format(":{}:{}", at.line, at.column);
  line += ": " + diagnostic.message;
  if (!diagnostic.hint.empty()) line += " (" + diagnostic.hint + ")";
  return line;
}

}  // namespace pgleash::app
