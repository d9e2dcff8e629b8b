#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// A statement without its values: statements that differ in literals only have the same one.
struct Fingerprint {
  std::string hash;  ///< 16 hexadecimal digits
  std::string text;  ///< no literal, no comment; whitespace folded
  bool lexical =
      false;  ///< by tokens alone, as the text was cut off, too long, or not what our parser knows
  bool operator==(const Fingerprint&) const = default;
};

/// Longest text that is parsed.
inline constexpr std::size_t max_parsed_text = 8 * 1024;

/// Fingerprints one statement text. Never fails: what libpg_query cannot parse gets a lexical
/// fingerprint; the last token of a truncated text, which may be half a literal, is left out.
/// Control thread: a parse takes some 10 to 100 µs.
[[nodiscard]] Fingerprint fingerprint(std::string_view text, bool truncated);

/// The tags a framework appended in sqlcommenter's format, `/*route='%2Fcart',action='show'*/`,
/// decoded, in their order; none when the text does not end in such a comment. At most 16, each key
/// and value cut at 256 bytes. What the client says of itself, control characters and all:
/// evidence, never authority.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> sqlcommenter_tags(
    std::string_view text);

/// Remembers the fingerprints of the texts seen last. Bounded by entries and bytes of text. One
/// thread.
class FingerprintCache {
 public:
  explicit FingerprintCache(std::size_t max_entries = 1024,
                            std::size_t max_bytes = std::size_t{2} << 20U);
  /// The reference is good until the next call.
  [[nodiscard]] const Fingerprint& of(std::string_view text, bool truncated);
  [[nodiscard]] std::size_t entries() const noexcept { return used_.size(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Entry {
    std::string key;  ///< the text, and whether it was cut off
    Fingerprint value;
    [[nodiscard]] std::size_t size() const noexcept { return key.size() + value.text.size(); }
  };
  std::size_t max_entries_;
  std::size_t max_bytes_;
  std::size_t bytes_ = 0;
  std::list<Entry> used_;  ///< the latest first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;
};

}  // namespace pgleash::watchdog
