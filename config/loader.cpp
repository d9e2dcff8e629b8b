#include "config/loader.hpp"

#include "config/check.hpp"
#include "config/defaults.hpp"
#include "config/document.hpp"
#include "config/reader.hpp"
#include "config/schema.hpp"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

namespace pgleash::config {

namespace {

LoadResult unloadable(Diagnostic diagnostic) {
  LoadResult result;
  result.diagnostics.push_back(std::move(diagnostic));
  return result;
}

}  // namespace

LoadResult load_text(std::string_view text, const std::string& source) {
  Reading reading{source, text};
  reading.folder = std::filesystem::path(source).parent_path();
  auto document = parse_document(text);
  if (auto* fault = std::get_if<SyntaxFault>(&document)) {
    reading.faults.add(Severity::error, fault->place, std::move(fault->fault));
    return {std::nullopt, reading.faults.take(), {}};
  }
  const Value& root = std::get<Value>(document);
  Config config;
  Section section{reading, &root, "", Place{}};
  read_document(section, config);
  complete(config);

  std::vector<Diagnostic> found;
  check(config, reading.provenance, reading.unreadable, found);
  for (Diagnostic& diagnostic : found) {
    if (diagnostic.position.source.empty()) diagnostic.position.source = source;
  }
  reading.faults.add(std::move(found));

  LoadResult result;
  result.diagnostics = reading.faults.take();
  result.provenance = std::move(reading.provenance);
  if (!has_errors(result.diagnostics)) result.config = std::move(config);
  return result;
}

LoadResult load_file(const std::string& path) {
  std::error_code no_throw;
  if (std::filesystem::is_directory(path, no_throw)) {
    return unloadable(
        {Severity::error, {path}, "this is a directory, not a configuration file", {}, {}});
  }
  std::ifstream file{path, std::ios::binary};
  if (!file) {
    return unloadable({Severity::error,
                       {path},
                       "cannot open: " + std::generic_category().message(errno),
                       "name the file with --config, or run without one: pgleash run --server "
                       "postgres://host:port",
                       {}});
  }
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  if (file.bad())
    return unloadable({Severity::error, {path}, "cannot read the file to its end", {}, {}});
  return load_text(text, path);
}

}  // namespace pgleash::config
