#pragma once

#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "config/fault.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::config {

/// Gathers the faults of one text in whatever order they are found, and gives them back in file
/// order, each with its line. A line that holds a secret is shown without it.
class Faults {
 public:
  /// `text` must outlive this.
  Faults(std::string source, std::string_view text);

  void add(Severity severity, Place place, Fault fault);
  void add(std::vector<Diagnostic> diagnostics);

  [[nodiscard]] SourcePosition at(Place place) const { return {source_, place.line, place.column}; }
  /// The line as written, without its end.
  [[nodiscard]] std::string_view line(std::uint32_t number) const noexcept;
  [[nodiscard]] const std::string& source() const noexcept { return source_; }

  [[nodiscard]] std::vector<Diagnostic> take();

 private:
  std::string source_;
  std::vector<std::string_view> lines_;
  std::vector<Diagnostic> found_;
};

/// The line with what follows `password =` and its like replaced.
[[nodiscard]] std::string without_secret(std::string_view line);
/// Whether a key of this name would hold a secret itself, not the name of a file with it.
[[nodiscard]] bool names_secret(std::string_view key);
/// What to say to somebody who writes one.
[[nodiscard]] Fault secret_fault();

}  // namespace pgleash::config
