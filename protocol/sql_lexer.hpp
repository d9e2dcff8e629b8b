#pragma once

#include <cstdint>
#include <string_view>

namespace pgleash::protocol {

/// A keyword or name, or a single character of punctuation. Everything quoted is passed over.
struct SqlToken {
  enum class Kind : std::uint8_t { end, word, symbol };
  Kind kind = Kind::end;
  std::string_view text;

  /// `keyword` in capitals.
  [[nodiscard]] bool is(std::string_view keyword) const noexcept {
    return text.size() == keyword.size() && kind == Kind::word && spells(keyword);
  }

 private:
  [[nodiscard]] bool spells(std::string_view keyword) const noexcept;
};

/// Splits an SQL text into words and symbols. Comments (nested too), '…', E'…', "…" and $tag$…$tag$
/// are skipped; one that does not end takes the rest of the text. Plain strings are read as with
/// standard_conforming_strings = on. Source: "SQL Syntax", Lexical Structure.
class SqlLexer {
 public:
  /// `marker`: a word looked for in the comments that are skipped; empty for none.
  explicit SqlLexer(std::string_view text, std::string_view marker = {}) noexcept
      : left_(text), marker_(marker) {}
  [[nodiscard]] SqlToken next() noexcept;
  /// No other statement can follow, as no semicolon has anything but space behind it, quoted or
  /// not.
  [[nodiscard]] bool last_statement() const noexcept;
  [[nodiscard]] bool comes(std::string_view letters) const noexcept {
    return left_.find(letters) != std::string_view::npos;
  }
  /// True once a comment had the marker in it, standing by itself.
  [[nodiscard]] bool marked() const noexcept { return marked_; }
  [[nodiscard]] bool looks_for_marker() const noexcept { return !marker_.empty() && !marked_; }

 private:
  SqlToken word() noexcept;
  void skip_comment(std::size_t count) noexcept;
  void skip(std::size_t count) noexcept {
    left_.remove_prefix(count < left_.size() ? count : left_.size());
  }
  void skip_behind(std::string_view closing, std::size_t from) noexcept;
  void skip_quoted(char quote, bool escapes) noexcept;
  void skip_block_comment() noexcept;
  bool skip_dollar_quoted() noexcept;

  std::string_view left_;
  std::string_view marker_;
  bool marked_ = false;
};

}  // namespace pgleash::protocol
