#include "config/loader.hpp"

#include "config/check.hpp"
#include "config/defaults.hpp"
#include "config/document.hpp"
#include "config/reader.hpp"
#include "config/schema.hpp"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace pgleash::config {

namespace {

LoadResult unloadable(Diagnostic diagnostic) {
  LoadResult result;
  result.diagnostics.push_back(std::move(diagnostic));
  return result;
}

/// More than parse_document() takes: what is larger is not read to its end, and refused there.
constexpr std::size_t most_bytes = 2U << 20U;
/// A pipe may be one, as in `--config <(…)`, but a reload does not stand still for it.
constexpr std::chrono::seconds patience{5};

/// Empty, or why not.
std::string read_to_the_end(int fd, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::vector<char> part(64U << 10U);
  for (;;) {
    const ssize_t size = ::read(fd, part.data(), part.size());
    if (size == 0) return {};
    if (size > 0) {
      text.append(part.data(), static_cast<std::size_t>(size));
      if (text.size() > most_bytes) return {};
      continue;
    }
    if (errno == EAGAIN) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) return "it does not end: waited 5 s for whoever writes it";
      pollfd wait{fd, POLLIN, 0};
      (void)::poll(&wait, 1, static_cast<int>(left.count()));
    } else if (errno != EINTR) {
      return "cannot read the file to its end: " + std::generic_category().message(errno);
    }
  }
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
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) {
    return unloadable({Severity::error,
                       {path},
                       "cannot open: " + std::generic_category().message(errno),
                       "name the file with --config, or run without one: pgleash run --server "
                       "postgres://host:port",
                       {}});
  }
  std::string text;
  const std::string problem = read_to_the_end(fd, text);
  ::close(fd);
  if (!problem.empty()) return unloadable({Severity::error, {path}, problem, {}, {}});
  return load_text(text, path);
}

}  // namespace pgleash::config
