#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <string_view>
#include <vector>

namespace pgleash::config {

/// The monitor connection of `--monitor`: user, dbname and password_file, or "none". Faults never
/// repeat a password.
[[nodiscard]] Monitor read_monitor_words(std::string_view text, std::vector<Fault>& faults);

}  // namespace pgleash::config
