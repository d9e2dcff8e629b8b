#include "app/console/token.hpp"

#include "watchdog/utf8.hpp"

#include <array>
#include <cctype>
#include <optional>

namespace pgleash::console {
namespace {

bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool begins_word(char c) noexcept {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool continues_word(char c) noexcept {
  return begins_word(c) || is_digit(c) || c == '$';
}
char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Outcome<std::vector<Token>> all() {
    std::vector<Token> tokens;
    do {
      if (auto fault = skip()) return *std::move(fault);
      Token token;
      token.offset = at_;
      count_to(at_);
      token.position = position_;
      if (auto fault = read(token)) return *std::move(fault);
      token.end = at_;
      tokens.push_back(std::move(token));
    } while (tokens.back().kind != Token::Kind::end);
    return tokens;
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead = 0) const noexcept {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] bool done() const noexcept { return at_ >= text_.size(); }
  /// Characters up to that byte.
  void count_to(std::size_t offset) noexcept {
    for (; counted_ < offset; ++counted_)
      if ((static_cast<unsigned char>(text_[counted_]) & 0xC0U) != 0x80U) ++position_;
  }
  SqlError unterminated(std::string_view what, std::size_t from) {
    count_to(from);
    return {"42601", "unterminated " + std::string{what}, {}, {}, position_};
  }

  std::optional<SqlError> skip() {
    for (;;) {
      while (!done() && is_space(peek())) ++at_;
      if (peek() == '-' && peek(1) == '-') {
        while (!done() && peek() != '\n') ++at_;
      } else if (peek() == '/' && peek(1) == '*') {
        const std::size_t from = at_;
        std::size_t depth = 0;
        do {
          if (done()) return unterminated("comment", from);
          const bool opens = peek() == '/' && peek(1) == '*';
          const bool closes = peek() == '*' && peek(1) == '/';
          if (opens) ++depth;
          if (closes) --depth;
          at_ += opens || closes ? 2 : 1;
        } while (depth > 0);
      } else {
        return std::nullopt;
      }
    }
  }

  std::optional<SqlError> read(Token& token) {
    if (done()) return std::nullopt;
    const char c = peek();
    if (c == '\'') return read_quoted(token, Token::Kind::string, '\'', false);
    if (c == '"') return read_quoted(token, Token::Kind::quoted, '"', false);
    if ((c == 'e' || c == 'E') && peek(1) == '\'') {
      ++at_;
      return read_quoted(token, Token::Kind::string, '\'', true);
    }
    if (c == '$' && is_digit(peek(1))) {
      token.kind = Token::Kind::parameter;
      ++at_;
      while (is_digit(peek())) token.text += text_[at_++];
      return std::nullopt;
    }
    if (c == '$') return read_dollar_quoted(token);
    if (begins_word(c)) {
      token.kind = Token::Kind::word;
      while (!done() && continues_word(peek())) token.text += lower(text_[at_++]);
      return std::nullopt;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      token.kind = Token::Kind::number;
      while (is_digit(peek()) || peek() == '.') token.text += text_[at_++];
      return std::nullopt;
    }
    read_symbol(token);
    return std::nullopt;
  }

  void read_symbol(Token& token) {
    token.kind = Token::Kind::symbol;
    static constexpr std::array<std::string_view, 9> known{
        "!~*", "<>", "!=", "<=", ">=", "~*", "!~", "::", "||"};
    for (const std::string_view one : known) {
      if (!text_.substr(at_).starts_with(one)) continue;
      token.text = one;
      at_ += one.size();
      return;
    }
    token.text = text_[at_++];
  }

  std::optional<SqlError> read_quoted(Token& token, Token::Kind kind, char quote, bool escapes) {
    const std::size_t from = at_++;
    token.kind = kind;
    for (;;) {
      if (done()) return unterminated(quote == '"' ? "quoted name" : "string", from);
      const char c = text_[at_++];
      if (escapes && c == '\\' && !done()) {
        const char next = text_[at_++];
        token.text += next == 'n' ? '\n' : next == 't' ? '\t' : next;
      } else if (c != quote) {
        token.text += c;
      } else if (peek() == quote) {
        token.text += quote;
        ++at_;
      } else {
        return std::nullopt;
      }
    }
  }

  std::optional<SqlError> read_dollar_quoted(Token& token) {
    const std::size_t from = at_;
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != '$' && continues_word(text_[end])) ++end;
    if (end >= text_.size() || text_[end] != '$') {
      token.kind = Token::Kind::symbol;
      token.text = text_[at_++];
      return std::nullopt;
    }
    const std::string_view tag = text_.substr(from, end + 1 - from);
    const std::size_t closing = text_.find(tag, end + 1);
    if (closing == std::string_view::npos) return unterminated("dollar-quoted string", from);
    token.kind = Token::Kind::string;
    token.text = text_.substr(end + 1, closing - end - 1);
    at_ = closing + tag.size();
    return std::nullopt;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t counted_ = 0;
  std::size_t position_ = 1;
};

}  // namespace

Outcome<std::vector<Token>> tokens_of(std::string_view text) {
  if (watchdog::valid_utf8(text) != text)
    return SqlError{"22021", "the statement is not valid UTF-8", {}, "SET client_encoding TO UTF8"};
  return Lexer{text}.all();
}

}  // namespace pgleash::console
