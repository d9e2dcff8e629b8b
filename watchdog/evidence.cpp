#include "watchdog/evidence.hpp"

#include "config/client_encoding.hpp"

#include <fmt/format.h>
#include <pg_query.h>

#include <memory>
#include <optional>

namespace pgleash::watchdog {
namespace {

constexpr std::size_t max_tags = 16;
constexpr std::size_t max_tag_bytes = 256;

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool begins_word(char c) noexcept {
  const auto letter = static_cast<unsigned char>(static_cast<unsigned char>(c) | 0x20U);
  return (letter >= 'a' && letter <= 'z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool in_word(char c) noexcept {
  return begins_word(c) || is_digit(c) || c == '$';
}
bool is_blank(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

enum class Token : std::uint8_t { blank, literal, word, comma, other };

/// Cuts a statement into tokens as PostgreSQL's scanner does, as far as it matters where literals
/// and comments begin and end (manual: "Lexical Structure").
class Scanner {
 public:
  explicit Scanner(std::string_view text) noexcept : text_(text) {}

  [[nodiscard]] bool done() const noexcept { return at_ == text_.size(); }
  /// True once it is unknown where a quoted token ends: what follows may be its content.
  [[nodiscard]] bool lost() const noexcept { return lost_; }

  Token next(std::string_view& token) {
    const std::size_t begin = at_;
    const Token kind = scan();
    token = text_.substr(begin, at_ - begin);
    return kind;
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead = 0) const noexcept {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] bool here(std::string_view what) const noexcept {
    return text_.substr(at_).starts_with(what);
  }
  void skip_past(std::string_view what) noexcept {
    const auto found = text_.find(what, at_);
    at_ = found == std::string_view::npos ? text_.size() : found + what.size();
  }

  Token scan() {
    const char c = peek();
    if (is_blank(c)) return blanks();
    if (here("--")) return skip_past("\n"), Token::blank;
    if (here("/*")) return comment();
    if (c == '\'') return quoted('\'', false);
    if (c == '"') return quoted('"', false), Token::word;
    if (c == '$') return dollar();
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
    if (begins_word(c)) return word();
    ++at_;
    return c == ',' ? Token::comma : Token::other;
  }
  Token blanks() noexcept {
    while (!done() && is_blank(peek())) ++at_;
    return Token::blank;
  }
  Token comment() noexcept {
    std::size_t depth = 0;
    do {
      const bool opens = here("/*");
      const bool closes = here("*/");
      if (opens) ++depth;
      if (closes) --depth;
      at_ += opens || closes ? 2 : 1;
    } while (depth > 0 && !done());
    return Token::blank;
  }
  Token quoted(char quote, bool escapes) noexcept {
    for (++at_; !done(); ++at_) {
      if (escapes && peek() == '\\') {
        if (++at_ == text_.size()) break;
      } else if (peek() == quote) {
        if (peek(1) == quote) {
          ++at_;
          continue;
        }
        // With standard_conforming_strings off this quote is content.
        if (quote == '\'' && !escapes && text_[at_ - 1] == '\\') break;
        ++at_;
        return Token::literal;
      }
    }
    at_ = text_.size();
    lost_ = true;
    return Token::literal;
  }
  Token dollar() noexcept {
    std::size_t end = at_ + 1;
    if (is_digit(peek(1))) {  // a parameter
      while (end < text_.size() && is_digit(text_[end])) ++end;
      at_ = end;
      return Token::word;
    }
    while (end < text_.size() && text_[end] != '$' && in_word(text_[end])) ++end;
    if (end == text_.size() || text_[end] != '$') {
      at_ = end == text_.size() ? end : at_ + 1;  // cut off, it may have been a tag
      return Token::other;
    }
    const std::string_view tag = text_.substr(at_, end + 1 - at_);
    at_ += tag.size();
    lost_ = text_.find(tag, at_) == std::string_view::npos;
    skip_past(tag);
    return Token::literal;
  }
  Token number() noexcept {
    for (; !done() && (in_word(peek()) || peek() == '.'); ++at_) {
      const bool exponent =
          (peek() | 0x20) == 'e' && (peek(1) == '+' || peek(1) == '-') && is_digit(peek(2));
      if (exponent) ++at_;
    }
    return Token::literal;
  }
  Token word() noexcept {
    const std::size_t begin = at_;
    while (!done() && in_word(peek())) ++at_;
    const std::size_t length = at_ - begin;
    const auto first = static_cast<char>(text_[begin] | 0x20);
    if (peek() == '\'' && length == 1) {
      if (first == 'e') return quoted('\'', true);
      if (first == 'b' || first == 'x' || first == 'n') return quoted('\'', false);
    }
    if (first == 'u' && length == 1 && peek() == '&' && (peek(1) == '\'' || peek(1) == '"')) {
      ++at_;
      return peek() == '"' ? (quoted('"', false), Token::word) : quoted('\'', false);
    }
    return Token::word;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool lost_ = false;
};

/// Appends tokens with blanks folded, and lists of values shortened to one.
class Redacted {
 public:
  void add(Token kind, std::string_view token) {
    if (kind == Token::blank) {
      blank_ = !text_.empty();
      return;
    }
    if (kind == Token::comma) {
      blank_ = false;
      text_ += ',';
      blank_ = true;
      return;
    }
    if (std::exchange(blank_, false)) text_ += ' ';
    text_ += kind == Token::literal ? "?" : token;
    shorten("?, ?", 3);
    shorten("(?), (?)", 5);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void shorten(std::string_view repeated, std::size_t surplus) {
    if (text_.ends_with(repeated)) text_.resize(text_.size() - surplus);
  }
  std::string text_;
  bool blank_ = false;
};

std::string redact(std::string_view text, bool truncated) {
  Scanner scanner{text};
  Redacted redacted;
  while (!scanner.done()) {
    std::string_view token;
    const Token kind = scanner.next(token);
    if (truncated && scanner.done()) break;  // half a token, perhaps half a literal
    if (scanner.lost()) {
      redacted.add(Token::literal, token);  // a name without an end may be anything, too
      break;
    }
    redacted.add(kind, token);
  }
  return redacted.take();
}

std::string fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    hash = (hash ^ static_cast<unsigned char>(upper ? c | 0x20 : c)) * 0x100000001b3U;
  }
  return fmt::format("{:016x}", hash);
}

std::optional<Fingerprint> parsed(const std::string& text) {
  const PgQueryFingerprintResult print = pg_query_fingerprint(text.c_str());
  std::optional<Fingerprint> result;
  if (!print.error) {
    const PgQueryNormalizeResult normal = pg_query_normalize(text.c_str());
    // It leaves comments, and the literals of many utility statements.
    if (!normal.error)
      result = {print.fingerprint_str, redact(normal.normalized_query, false), false};
    pg_query_free_normalize_result(normal);
  }
  pg_query_free_fingerprint_result(print);
  return result;
}

/// The content of the comment that ends the text; empty when there is none.
std::string_view trailing_comment(std::string_view text) noexcept {
  while (!text.empty() && (is_blank(text.back()) || text.back() == ';')) text.remove_suffix(1);
  if (!text.ends_with("*/")) return {};
  text.remove_suffix(2);
  const auto begin = text.rfind("/*");
  return begin == std::string_view::npos ? std::string_view{} : text.substr(begin + 2);
}

int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  const auto letter = static_cast<char>(c | 0x20);
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

std::string url_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size() && decoded.size() < max_tag_bytes; ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low >= 0) {
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

void trim(std::string_view& text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
}

/// Takes `key='value'` off the front; false when it is not one.
bool take_tag(std::string_view& rest, std::pair<std::string, std::string>& tag) {
  const auto equals = rest.find('=');
  if (equals == std::string_view::npos) return false;
  std::string_view key = rest.substr(0, equals);
  trim(key);
  rest.remove_prefix(equals + 1);
  trim(rest);
  if (key.empty() || !rest.starts_with('\'')) return false;
  std::string value;
  std::size_t i = 1;
  for (; i < rest.size() && rest[i] != '\''; ++i) {
    if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
    value += rest[i];
  }
  if (i == rest.size()) return false;
  rest.remove_prefix(i + 1);
  trim(rest);
  tag = {url_decoded(key), url_decoded(value)};
  return true;
}

}  // namespace

Fingerprint fingerprint(std::string_view text, bool truncated) {
  if (text.empty()) return {};
  const bool may_parse = !truncated && text.size() <= max_parsed_text &&
                         text.find('\0') == std::string_view::npos && config::is_utf8(text);
  if (may_parse) {
    if (auto result = parsed(std::string{text})) return *std::move(result);
  }
  Fingerprint result;
  result.lexical = true;
  result.text = redact(text, truncated);
  result.hash = fnv1a(result.text);
  return result;
}

std::vector<std::pair<std::string, std::string>> sqlcommenter_tags(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> tags;
  std::string_view rest = trailing_comment(text);
  std::pair<std::string, std::string> tag;
  while (tags.size() < max_tags && take_tag(rest, tag)) {
    tags.push_back(std::move(tag));
    if (rest.empty()) return tags;
    if (!rest.starts_with(',')) return {};
    rest.remove_prefix(1);
  }
  return tags.size() == max_tags ? tags : std::vector<std::pair<std::string, std::string>>{};
}

FingerprintCache::FingerprintCache(std::size_t max_entries, std::size_t max_bytes)
    : max_entries_(max_entries), max_bytes_(max_bytes) {}

const Fingerprint& FingerprintCache::of(std::string_view text, bool truncated) {
  std::string key{text};
  key += truncated ? '+' : '.';
  if (const auto known = index_.find(key); known != index_.end()) {
    used_.splice(used_.begin(), used_, known->second);
    return known->second->value;
  }
  used_.push_front({std::move(key), fingerprint(text, truncated)});
  index_.emplace(used_.front().key, used_.begin());
  bytes_ += used_.front().size();
  // The newest stays, whatever its size: the caller is about to read it.
  while (used_.size() > 1 && (used_.size() > max_entries_ || bytes_ > max_bytes_)) {
    bytes_ -= used_.back().size();
    index_.erase(used_.back().key);
    used_.pop_back();
  }
  return used_.front().value;
}

}  // namespace pgleash::watchdog
