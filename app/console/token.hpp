#pragma once

#include "app/console/sql_error.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::console {

/// A piece of a statement, unquoted.
struct Token {
  enum class Kind : std::uint8_t { end, word, quoted, string, number, parameter, symbol };
  Kind kind = Kind::end;
  std::string text;          ///< a word in lower case, the contents of what was quoted
  std::size_t offset = 0;    ///< of its first byte in the text
  std::size_t end = 0;       ///< behind its last byte
  std::size_t position = 1;  ///< of its first character, as errors count
};

/// The tokens of all statements of a text, the last one of kind `end`; comments are dropped.
/// Strings as with standard_conforming_strings = on, E'' and dollar quotes too. Errors: 42601 for a
/// quote that does not end, 22021 for what is no UTF-8. Source: "SQL Syntax", Lexical Structure.
[[nodiscard]] Outcome<std::vector<Token>> tokens_of(std::string_view text);

}  // namespace pgleash::console
