#pragma once

#include "config/fault.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::config {

using LibpqWords = std::vector<std::pair<std::string, std::string>>;

/// Splits "word=value word='quoted value'"; a fault's hint shows `example`. Source: "libpq",
/// Connection Strings, Keyword/Value.
[[nodiscard]] Parsed<LibpqWords> parse_libpq_words(std::string_view text, std::string_view example);
/// Splits what stands behind the '?' of a URL, "word=value&word=value", %-codes resolved. Source:
/// "libpq", Connection Strings, URIs.
[[nodiscard]] Parsed<LibpqWords> parse_url_words(std::string_view text, std::string_view example);

}  // namespace pgleash::config
