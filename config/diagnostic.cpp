#include "config/diagnostic.hpp"

#include <algorithm>
#include <string_view>

namespace pgleash::config {

namespace {

struct Palette {
  std::string_view bold, error, warning, mark, reset;
};
constexpr Palette plain{"", "", "", "", ""};
constexpr Palette coloured{"\x1b[1m", "\x1b[1;31m", "\x1b[1;35m", "\x1b[1;32m", "\x1b[0m"};

/// How many bytes the UTF-8 character at the front has; 0 when it is none, or a control character.
std::size_t printable_length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  if (byte(0) < 0x80) return (byte(0) >= 0x20 && byte(0) != 0x7F) || byte(0) == '\t' ? 1 : 0;
  const std::size_t length = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  }
  return byte(0) == 0xC2 && byte(1) < 0xA0 ? 0 : length;  // U+0080 to U+009F steer terminals too
}

/// Keys and values come from a file that anybody may have written: nothing of them may steer the
/// terminal.
std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = printable_length(text);
    if (length == 0) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

/// White space as wide as the text before `column`, tabs kept so that the caret stands right
/// however wide they are.
std::string up_to(std::string_view line, std::uint32_t column) {
  std::string padding;
  std::uint32_t at = 1;
  for (std::size_t i = 0; i < line.size() && at < column; ++i) {
    if ((static_cast<unsigned char>(line[i]) & 0xC0U) == 0x80U)
      continue;  // inside a UTF-8 character
    padding += line[i] == '\t' ? '\t' : ' ';
    ++at;
  }
  if (at < column) padding += ' ';  // just past the end, where something is missing
  return padding;
}

std::string place_of(const SourcePosition& position) {
  std::string place = printable(position.source);
  if (position.line > 0) {
    place += ':' + std::to_string(position.line);
    if (position.column > 0) place += ':' + std::to_string(position.column);
  }
  return place.empty() ? place : place + ": ";
}

}  // namespace

std::string render(const Diagnostic& diagnostic, bool colour) {
  const Palette& paint = colour ? coloured : plain;
  const bool error = diagnostic.severity == Severity::error;
  std::string text;
  text += paint.bold;
  text += place_of(diagnostic.position);
  text += error ? paint.error : paint.warning;
  text += error ? "error: " : "warning: ";
  text += paint.reset;
  text += paint.bold;
  text += printable(diagnostic.message);
  text += paint.reset;
  text += '\n';
  const std::string number =
      diagnostic.position.line > 0 ? std::to_string(diagnostic.position.line) : "";
  const std::string gutter(std::max<std::size_t>(number.size(), 4), ' ');
  if (!diagnostic.excerpt.empty()) {
    const std::string line = printable(diagnostic.excerpt);
    text += ' ' + gutter.substr(number.size()) + number + " | " + line + '\n';
    if (diagnostic.position.column > 0) {
      text += ' ' + gutter + " | " + up_to(line, diagnostic.position.column);
      text += paint.mark;
      text += '^';
      text += paint.reset;
      text += '\n';
    }
  }
  if (!diagnostic.hint.empty()) {
    text += ' ' + gutter + " = ";
    text += printable(diagnostic.hint);
    text += '\n';
  }
  return text;
}

bool has_errors(const std::vector<Diagnostic>& diagnostics) noexcept {
  return std::ranges::any_of(diagnostics, [](const Diagnostic& diagnostic) {
    return diagnostic.severity == Severity::error;
  });
}

}  // namespace pgleash::config
