#include "config/pattern.hpp"

#include <re2/re2.h>

#include <algorithm>

namespace pgleash::config {

namespace {

std::string advice(RE2::ErrorCode code, std::string_view text) {
  switch (code) {
    case RE2::ErrorRepeatArgument:
      return text.starts_with('*')
                 ? "this is a regular expression, not a shell pattern: write '." +
                       std::string(text) + "'"
                 : "put what is to be repeated before it, or a backslash to mean the character";
    case RE2::ErrorMissingParen:
    case RE2::ErrorUnexpectedParen:
      return "close what is opened, or write \\( and \\) for the characters";
    case RE2::ErrorMissingBracket:
      return "close the [, or write \\[ for the character";
    case RE2::ErrorTrailingBackslash:
      return "write \\\\ for a backslash";
    case RE2::ErrorPatternTooLarge:
    case RE2::ErrorRepeatSize:
      return "repetitions go up to 1000, nested ones together";
    default:
      return "patterns are RE2 and match the whole name, as in 'checkout-.*'";
  }
}

}  // namespace

std::optional<PatternFault> pattern_fault(std::string_view text) {
  RE2::Options options;
  options.set_log_errors(false);
  const RE2 compiled{re2::StringPiece(text.data(), text.size()), options};
  if (compiled.ok()) return std::nullopt;
  PatternFault found;
  found.fault = {"faulty pattern: " + compiled.error(), advice(compiled.error_code(), text)};
  const std::string& piece = compiled.error_arg();
  const auto at = piece.empty() ? std::string_view::npos : text.find(piece);
  if (at != std::string_view::npos) found.offset = at;
  if (compiled.error_code() == RE2::ErrorTrailingBackslash) found.offset = text.size() - 1;
  return found;
}

}  // namespace pgleash::config
