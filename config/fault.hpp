#pragma once

#include <string>
#include <string_view>
#include <variant>

namespace pgleash::config {

/// What is wrong with a text and what to write instead; whoever knows where it stands makes a
/// `Diagnostic` of it.
struct Fault {
  std::string message;
  std::string hint;
};

/// A value, or why there is none.
template <typename T>
using Parsed = std::variant<T, Fault>;

/// How a text becomes a value of the configuration.
template <typename T>
using Parse = Parsed<T> (*)(std::string_view);

/// The text in double quotes, cut when it is too long for a message.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace pgleash::config
