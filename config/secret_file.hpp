#pragma once

#include "config/fault.hpp"

#include <optional>
#include <string>

namespace pgleash::config {

/// Why a file cannot be trusted with a secret: absent, no plain file, empty, or open to everybody
/// on the machine.
[[nodiscard]] std::optional<Fault> secret_file_fault(const std::string& path);

/// Why a file that is no secret cannot be read: absent, no plain file, empty, not ours to read.
[[nodiscard]] std::optional<Fault> readable_file_fault(const std::string& path);

}  // namespace pgleash::config
