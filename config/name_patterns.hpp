#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::config {

/// A list of patterns, each against the whole name; linear in the name's length whatever the
/// pattern. Names come in the client's encoding, and with any byte in them: none may slip past
/// '.*'. Any thread may ask once all are added.
class NamePatterns {
 public:
  NamePatterns();
  ~NamePatterns();
  NamePatterns(NamePatterns&&) noexcept;
  NamePatterns& operator=(NamePatterns&&) noexcept;

  /// What RE2 has against the pattern, which then is not added.
  [[nodiscard]] std::optional<std::string> add(const std::string& text);
  [[nodiscard]] bool match(std::string_view name) const;
  [[nodiscard]] bool empty() const noexcept;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace pgleash::config
