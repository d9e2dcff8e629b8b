#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::config {

/// Splits libpq's "word=value word='quoted value'" (manual, "Connection Strings", Keyword/Value).
[[nodiscard]] Parsed<std::vector<std::pair<std::string, std::string>>> parse_libpq_words(
    std::string_view text);

/// The monitor connection of `--monitor`: user, dbname and password_file, or "none". Faults never
/// repeat a password.
[[nodiscard]] Monitor read_monitor_words(std::string_view text, std::vector<Fault>& faults);

}  // namespace pgleash::config
