#include "config/percent.hpp"

#include <charconv>
#include <string>
#include <system_error>

namespace pgleash::config {

Parsed<Percent> parse_percent(std::string_view text) {
  Percent read;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read.value);
  const std::string_view rest = text.substr(static_cast<std::size_t>(end - text.data()));
  if (error == std::errc{} && rest == "%" && read.value >= 1 && read.value <= 100) return read;
  if (error == std::errc{} && rest.empty()) {
    return Fault{in_quotes(text) + " has no percent sign",
                 "write " + in_quotes(std::string(text) + '%')};
  }
  if (error == std::errc{} && rest == "%")
    return Fault{in_quotes(text) + " is out of range", R"(from "1%" to "100%")"};
  return Fault{in_quotes(text) + " is no percentage",
               R"(write a whole number and a percent sign, such as "20%")"};
}

}  // namespace pgleash::config
