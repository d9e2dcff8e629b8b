#pragma once

#include "config/fault.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::config {

struct PatternFault {
  Fault fault;
  std::size_t offset = 0;  ///< byte of the pattern where the faulty piece begins
};

/// What RE2 has against a pattern. Patterns are matched against the whole name, so none needs ^ or
/// $.
[[nodiscard]] std::optional<PatternFault> pattern_fault(std::string_view text);

}  // namespace pgleash::config
