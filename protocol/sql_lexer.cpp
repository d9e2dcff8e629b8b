#include "protocol/sql_lexer.hpp"

#include <algorithm>

namespace pgleash::protocol {
namespace {

bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}
bool continues_name(char c) noexcept {
  return starts_name(c) || is_digit(c) || c == '$';
}
char to_upper(char c) noexcept {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

}  // namespace

bool SqlToken::spells(std::string_view keyword) const noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (to_upper(text[i]) != keyword[i]) return false;
  }
  return true;
}

bool SqlLexer::last_statement() const noexcept {
  const std::size_t semicolon = left_.find(';');
  return semicolon == std::string_view::npos ||
         std::ranges::all_of(left_.substr(semicolon + 1), is_space);
}

SqlToken SqlLexer::next() noexcept {
  while (!left_.empty()) {
    const char c = left_.front();
    if (is_space(c)) {
      skip(1);
    } else if (left_.starts_with("--")) {
      skip_comment(left_.find_first_of("\r\n"));
    } else if (left_.starts_with("/*")) {
      skip_block_comment();
    } else if (c == '\'' || c == '"') {
      skip_quoted(c, false);
    } else if (c == '$' && skip_dollar_quoted()) {
      continue;
    } else if (starts_name(c)) {
      return word();
    } else {
      const SqlToken symbol{.kind = SqlToken::Kind::symbol, .text = left_.substr(0, 1)};
      skip(1);
      // A number's letters (1e5, 0x1F) and a parameter's digits ($1) begin no word.
      if (is_digit(c) || c == '$') {
        while (!left_.empty() && continues_name(left_.front()) && left_.front() != '$') skip(1);
      }
      return symbol;
    }
  }
  return {};
}

SqlToken SqlLexer::word() noexcept {
  std::size_t size = 1;
  while (size < left_.size() && continues_name(left_[size])) ++size;
  const SqlToken token{.kind = SqlToken::Kind::word, .text = left_.substr(0, size)};
  skip(size);
  if (size == 1 && !left_.empty() && left_.front() == '\'' && to_upper(token.text.front()) == 'E') {
    skip_quoted('\'', true);
  }
  return token;
}

void SqlLexer::skip_behind(std::string_view closing, std::size_t from) noexcept {
  const std::size_t found = left_.find(closing, from);
  skip(found == std::string_view::npos ? left_.size() : found + closing.size());
}

/// A doubled quote stands for itself and goes on; this matters in E'…', where a second piece would
/// lose its escapes.
void SqlLexer::skip_quoted(char quote, bool escapes) noexcept {
  std::size_t at = 1;
  while (at < left_.size()) {
    if (escapes && left_[at] == '\\') {
      at += 2;
    } else if (left_[at] != quote) {
      ++at;
    } else if (at + 1 < left_.size() && left_[at + 1] == quote) {
      at += 2;
    } else {
      break;
    }
  }
  skip(at + 1);
}

void SqlLexer::skip_block_comment() noexcept {
  int depth = 0;
  std::size_t at = 0;
  while (at < left_.size()) {
    const std::string_view here = left_.substr(at);
    if (here.starts_with("/*")) {
      ++depth;
      at += 2;
    } else if (here.starts_with("*/")) {
      at += 2;
      if (--depth == 0) break;
    } else {
      ++at;
    }
  }
  skip_comment(at);
}

void SqlLexer::skip_comment(std::size_t count) noexcept {
  const std::string_view comment = left_.substr(0, count);
  skip(count);
  if (marked_ || marker_.empty()) return;
  const auto part_of_word = [comment](std::size_t at) {
    return at < comment.size() &&
           (continues_name(comment[at]) || comment[at] == ':' || comment[at] == '.');
  };
  for (std::size_t at = comment.find(marker_); at != std::string_view::npos;
       at = comment.find(marker_, at + 1)) {
    if (at > 0 && part_of_word(at - 1)) continue;
    const std::size_t behind = at + marker_.size();
    // "pgleash:keep-not" is another word; "--" and a full stop end a sentence.
    const bool hyphenated = behind + 1 < comment.size() && comment[behind] == '-' &&
                            continues_name(comment[behind + 1]);
    const bool full_stop =
        behind < comment.size() && comment[behind] == '.' && !part_of_word(behind + 1);
    if (hyphenated || (part_of_word(behind) && !full_stop)) continue;
    marked_ = true;
    return;
  }
}

/// False when the dollar does not open a quoted piece.
bool SqlLexer::skip_dollar_quoted() noexcept {
  std::size_t tag = 1;
  if (tag < left_.size() && is_digit(left_[tag])) return false;
  while (tag < left_.size() && left_[tag] != '$' && continues_name(left_[tag])) ++tag;
  if (tag >= left_.size() || left_[tag] != '$') return false;
  const std::string_view delimiter = left_.substr(0, tag + 1);
  skip_behind(delimiter, delimiter.size());
  return true;
}

}  // namespace pgleash::protocol
