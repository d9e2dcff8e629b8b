#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <string>
#include <string_view>

namespace pgleash::config {

/// A secret in memory, overwritten when it goes. Moved, never copied, never logged.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) noexcept : text_(std::move(text)) {}
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }

  [[nodiscard]] std::string_view text() const noexcept { return text_; }

 private:
  void wipe() noexcept;

  std::string text_;
};

/// What the source holds now: the variable's value, or the first line of the file, without its end.
/// A file that is open to everybody on the machine is refused. No fault repeats what was read.
[[nodiscard]] Parsed<Secret> read_secret(const SecretSource& source);

}  // namespace pgleash::config
