#include "config/names.hpp"

#include <algorithm>

namespace pgleash::config {

namespace {

bool is_lower_or_digit(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_upper(char c) noexcept {
  return c >= 'A' && c <= 'Z';
}
bool is_printable_ascii(char c) noexcept {
  return c >= ' ' && c <= '~';
}
bool is_control(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
}

}  // namespace

Parsed<std::string> parse_name(std::string_view text) {
  const bool good = !text.empty() && text.size() <= 40 && std::ranges::all_of(text, [](char c) {
    return is_lower_or_digit(c) || c == '_' || c == '-';
  });
  if (!good)
    return Fault{in_quotes(text) + " cannot be a name here",
                 "a name is 1 to 40 of a-z, 0-9, _ and -"};
  return std::string(text);
}

Parsed<std::string> parse_instance_name(std::string_view text) {
  const bool good = !text.empty() && text.size() <= 63 && std::ranges::all_of(text, [](char c) {
    return is_lower_or_digit(c) || is_upper(c) || c == '.' || c == '_' || c == '-';
  });
  if (!good)
    return Fault{in_quotes(text) + " cannot be an instance's name",
                 "1 to 63 letters, digits, '.', '_' and '-', or \"hostname\""};
  return std::string(text);
}

Parsed<std::string> parse_application(std::string_view text) {
  if (text == "off") return std::string{};
  if (text.empty() || text.size() > 63 || !std::ranges::all_of(text, is_printable_ascii)) {
    return Fault{in_quotes(text) + " cannot be an application_name",
                 "1 to 63 printable ASCII characters, or \"off\""};
  }
  return std::string(text);
}

Parsed<std::string> parse_application_label(std::string_view text) {
  if (text.empty() || text.size() > 63 || !std::ranges::all_of(text, is_printable_ascii))
    return Fault{in_quotes(text) + " cannot name an application",
                 "1 to 63 printable ASCII characters"};
  return std::string(text);
}

Parsed<std::string> parse_identifier(std::string_view text) {
  if (text.empty() || text.size() > 63 || std::ranges::any_of(text, is_control)) {
    return Fault{in_quotes(text) + " cannot be a name in PostgreSQL",
                 "1 to 63 bytes, no control characters"};
  }
  return std::string(text);
}

Parsed<std::string> parse_sqlstate(std::string_view text) {
  if (text == "native") return std::string{};
  const bool good = text.size() == 5 && std::ranges::all_of(text, [](char c) {
                      return is_upper(c) || (c >= '0' && c <= '9');
                    });
  if (!good)
    return Fault{in_quotes(text) + " is not an SQLSTATE",
                 "five of 0-9 and A-Z, as \"57P05\", or \"native\""};
  if (text.starts_with("00") || text.starts_with("01") || text.starts_with("02")) {
    return Fault{in_quotes(text) + " does not mean an error",
                 "classes 00, 01 and 02 are success and warnings"};
  }
  return std::string(text);
}

Parsed<std::string> parse_marker(std::string_view text) {
  const bool good =
      text.size() >= 4 && text.size() <= 63 && std::ranges::all_of(text, [](char c) {
        return is_lower_or_digit(c) || is_upper(c) || c == ':' || c == '.' || c == '_' || c == '-';
      });
  if (!good || text.find("--") != std::string_view::npos)
    return Fault{in_quotes(text) + " cannot be a marker",
                 "4 to 63 letters, digits, ':', '.', '_' and '-', as \"pgleash:keep\""};
  return std::string(text);
}

Parsed<std::string> parse_hint(std::string_view text) {
  if (text.size() > 500) return Fault{"the hint is too long", "500 bytes at most"};
  if (std::ranges::any_of(text, is_control))
    return Fault{"the hint holds a control character", "write it as one line"};
  return std::string(text);
}

}  // namespace pgleash::config
