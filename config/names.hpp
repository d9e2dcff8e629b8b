#pragma once

#include "config/fault.hpp"

#include <string>
#include <string_view>

/// Which characters each sort of name may have.
namespace pgleash::config {

/// Of a listener, server or rule: these become labels of metrics and words of the console.
[[nodiscard]] Parsed<std::string> parse_name(std::string_view text);
/// Of this instance: what a host may be called.
[[nodiscard]] Parsed<std::string> parse_instance_name(std::string_view text);
/// An application_name, or "off" for none. The server cuts longer ones silently, and shows other
/// characters as '?'.
[[nodiscard]] Parsed<std::string> parse_application(std::string_view text);
/// What sessions are to be called: an application_name without the word "off".
[[nodiscard]] Parsed<std::string> parse_application_label(std::string_view text);
/// Of a role or database: taken as it is, so only what the server could never hold is refused.
[[nodiscard]] Parsed<std::string> parse_identifier(std::string_view text);
/// Five characters, or "native" for none of our own.
[[nodiscard]] Parsed<std::string> parse_sqlstate(std::string_view text);
/// One line that goes into the client's error message and the audit line.
/// A word that stands in a comment of an SQL text.
[[nodiscard]] Parsed<std::string> parse_marker(std::string_view text);
[[nodiscard]] Parsed<std::string> parse_hint(std::string_view text);

}  // namespace pgleash::config
