#pragma once

#include "config/config.hpp"
#include "config/document.hpp"
#include "config/fault.hpp"
#include "config/faults.hpp"
#include "config/loader.hpp"
#include "config/words.hpp"

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pgleash::config {

/// What one reading of a document gathers beside the values.
struct Reading {
  explicit Reading(std::string source, std::string_view text) : faults(std::move(source), text) {}

  Faults faults;
  Provenance provenance;  ///< "rule[0].limit": where it was given
  std::set<std::string>
      unreadable;  ///< paths given wrongly, or missing: nothing can be said of their values
  std::set<std::string> known;   ///< "rule[].limit": every key that was asked for, given or not
  std::filesystem::path folder;  ///< relative paths start here
};

/// What a duration may be, beyond the rules for all of them.
struct DurationRange {
  Duration min = std::chrono::milliseconds{25};
  Duration max = Duration::max();
  bool may_be_off = false;  ///< "off" is zero
  std::string_view off_word = "off";
};

enum class WhenEmpty : std::uint8_t { allowed, faulty };
/// Whether a text that may be a secret may be written into the file itself.
enum class MayStandHere : std::uint8_t { no, yes };
enum class PatternMay : std::uint8_t { be_empty, not_be_empty };

/// Reads the keys of one section. Each call names a key and the variable it fills: a key that is
/// absent leaves the variable with its default, a faulty one is reported and leaves it too.
/// `finish` reports the keys nobody asked for. A section that is absent from the file is read all
/// the same: so a schema can be walked without a file.
class Section {
 public:
  /// `table` may be null.
  Section(Reading& reading, const Value* table, std::string path, Place place)
      : reading_(&reading), table_(table), path_(std::move(path)), place_(place) {}

  [[nodiscard]] bool has(std::string_view key) const noexcept {
    return table_ != nullptr && table_->find(key) != nullptr;
  }
  [[nodiscard]] SourcePosition position() const {
    return table_ == nullptr ? SourcePosition{} : reading_->faults.at(place_);
  }
  /// Reports those that are missing; nothing when the whole section is.
  void require(
      std::initializer_list<std::pair<std::string_view, std::string_view>> keys_and_examples);

  void boolean(std::string_view key, bool& target);
  template <std::unsigned_integral Number>
  void number(std::string_view key, Number& target, Number min, Number max,
              std::string_view word_for_zero = {}) {
    if (const auto read = integer(key, min, max, word_for_zero))
      target = static_cast<Number>(*read);
  }
  void duration(std::string_view key, Duration& target, DurationRange range = {});
  /// A duration, or "off", or whatever the word for none is here.
  void limit(std::string_view key, OptionalDuration& target, std::string_view off_word = "off");
  /// "20%": whole, from 1% to 100%.
  void percent(std::string_view key, Percent& target);
  /// What a rule of that kind measures, in the kind's unit. Nothing is said when the kind itself
  /// could not be read.
  void measure(std::string_view key, std::optional<std::uint64_t>& target, RuleKind kind);
  template <typename Choice, std::size_t Count>
  void word(std::string_view key, Choice& target, const std::array<Word<Choice>, Count>& words) {
    std::array<std::string_view, Count> texts;
    for (std::size_t i = 0; i < Count; ++i) texts[i] = words[i].text;
    if (const auto index = choice(key, texts)) target = words[*index].value;
  }
  /// A string that `parse` understands.
  template <typename T>
  void text(std::string_view key, T& target, Parse<T> parse) {
    if (const Value* value = string(key)) accept(key, *value, parse(value->text), target);
  }
  /// The path of a file, taken from the folder of the configuration.
  void file(std::string_view key, std::string& target);
  /// The same, or one of these words.
  void file_or_word(std::string_view key, std::string& target,
                    std::initializer_list<std::string_view> words);
  /// The same for a file that must be there, or this word.
  void readable_file(std::string_view key, std::string& target, std::string_view word = {});
  /// The same for a file that holds a secret: it must be there, and not be everybody's to read.
  /// `check` is asked about its first line, which is then forgotten.
  void secret_file(std::string_view key, std::string& target,
                   std::optional<Fault> (*check)(std::string_view) = nullptr);
  /// { env = "NAME" } or { file = "path" }; `check` is asked about what is there now, which is then
  /// forgotten.
  void secret(std::string_view key, SecretSource& target, MayStandHere may,
              std::optional<Fault> (*check)(std::string_view));
  template <typename T>
  void texts(std::string_view key, std::vector<T>& target, WhenEmpty when_empty, Parse<T> parse) {
    strings(
        key, when_empty, [&] { target.clear(); },
        [&](const std::string& item_key, const Value& item) {
          T parsed{};
          if (accept(item_key, item, parse(item.text), parsed)) target.push_back(std::move(parsed));
        });
  }
  void pattern(std::string_view key, std::string& target, PatternMay may);
  void patterns(std::string_view key, std::vector<Pattern>& target, WhenEmpty when_empty,
                PatternMay may);

  /// A section within; absent ones are read too. Where `word` is given, the key may be that string
  /// instead of a section: true then, and nothing is read.
  template <typename T, typename Read>
  bool section(std::string_view key, T& target, Read read, std::string_view word = {}) {
    return read_section(key, word, [&](Section& within) { read(within, target); });
  }
  /// Each [[key]]; `read` gets a fresh item.
  template <typename T, typename Read>
  void each(std::string_view key, std::vector<T>& target, Read read) {
    read_each(key, [&](Section& within, bool is_there) {
      T item{};
      read(within, item);
      if (is_there) target.push_back(std::move(item));
    });
  }

  void finish();

 private:
  [[nodiscard]] std::string path_of(std::string_view key) const;
  const Value* given(std::string_view key);
  const Value* string(std::string_view key);
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key, std::uint64_t min,
                                                    std::uint64_t max,
                                                    std::string_view word_for_zero);
  [[nodiscard]] std::optional<std::size_t> choice(std::string_view key,
                                                  std::span<const std::string_view> words);
  [[nodiscard]] std::optional<Duration> duration_of(std::string_view key, const Value& value,
                                                    const DurationRange& range);
  void strings(std::string_view key, WhenEmpty when_empty, const std::function<void()>& begin,
               const std::function<void(const std::string&, const Value&)>& item);
  [[nodiscard]] bool check_pattern(std::string_view key, const Value& value, PatternMay may);
  bool read_section(std::string_view key, std::string_view word,
                    const std::function<void(Section&)>& read);
  void read_each(std::string_view key, const std::function<void(Section&, bool)>& read);

  template <typename T>
  bool accept(std::string_view key, const Value& value, Parsed<T> parsed, T& target) {
    if (auto* fault = std::get_if<Fault>(&parsed)) {
      fail(key, value.place, std::move(*fault));
      return false;
    }
    target = std::move(std::get<T>(parsed));
    return true;
  }
  void fail(std::string_view key, Place place, Fault fault);
  void fail_type(std::string_view key, const Value& value, std::string_view wanted,
                 std::string hint);
  void report_unknown(const Entry& entry);

  Reading* reading_;
  const Value* table_;
  std::string path_;
  Place place_;
  std::vector<std::string> asked_;
};

/// The path without the numbers of list items, "rule[].limit": the same for every [[rule]].
[[nodiscard]] std::string without_indexes(std::string_view path);
/// "[[rule]]" for "rule[2]", "[rule.match]" for "rule[2].match", "the top of the file" for "".
[[nodiscard]] std::string title_of(std::string_view path);

}  // namespace pgleash::config
