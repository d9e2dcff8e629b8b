#include "config/reader.hpp"

#include "config/duration_text.hpp"
#include "config/measure.hpp"
#include "config/nearest.hpp"
#include "config/pattern.hpp"
#include "config/percent.hpp"
#include "config/secret.hpp"
#include "config/secret_file.hpp"

#include <algorithm>
#include <cctype>

namespace pgleash::config {

namespace {

std::string key_is(std::string_view key, std::string_view value) {
  return "write " + std::string(key) + " = " + std::string(value);
}

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string plain_duration(std::string_view key, std::int64_t number, const DurationRange& range) {
  if (number <= 0)
    return range.may_be_off ? key_is(key, in_quotes(range.off_word))
                            : key_is(key, R"("90s", with a unit of ms, s, m, h or d)");
  std::string hint = key_is(key, '"' + std::to_string(number) + "s\"");
  if (number >= 1000 && number < 1'000'000'000'000) {
    hint += ", or \"" + format_duration(Duration{number}) + "\" if milliseconds were meant";
  }
  return hint;
}

}  // namespace

std::string Section::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + '.' + std::string(key);
}

const Value* Section::given(std::string_view key) {
  asked_.emplace_back(key);
  std::string path = path_of(key);
  reading_->known.insert(without_indexes(path));
  const Entry* entry = table_ == nullptr ? nullptr : table_->find(key);
  if (entry == nullptr) return nullptr;
  reading_->provenance.emplace(std::move(path), reading_->faults.at(entry->value.place));
  return &entry->value;
}

void Section::fail(std::string_view key, Place place, Fault fault) {
  reading_->unreadable.insert(path_of(key));
  reading_->faults.add(Severity::error, place, std::move(fault));
}

void Section::fail_type(std::string_view key, const Value& value, std::string_view wanted,
                        std::string hint) {
  fail(key, value.place,
       {'\'' + std::string(key) + "' takes " + std::string(wanted) + ", not " +
            std::string(value.type_name()),
        std::move(hint)});
}

const Value* Section::string(std::string_view key) {
  const Value* value = given(key);
  if (value == nullptr || value->type == Value::Type::string) return value;
  std::string hint;
  if (value->type == Value::Type::integer)
    hint = key_is(key, in_quotes(std::to_string(value->integer)));
  if (value->type == Value::Type::list && value->items.size() == 1 &&
      value->items.front().type == Value::Type::string) {
    hint = key_is(key, in_quotes(value->items.front().text));
  }
  fail_type(key, *value, "a string", std::move(hint));
  return nullptr;
}

void Section::boolean(std::string_view key, bool& target) {
  const Value* value = given(key);
  if (value == nullptr) return;
  if (value->type == Value::Type::boolean) {
    target = value->boolean;
    return;
  }
  const bool quoted_one =
      value->type == Value::Type::string && (value->text == "true" || value->text == "false");
  fail_type(key, *value, "true or false",
            quoted_one ? key_is(key, value->text) + " without quotes" : key_is(key, "true"));
}

std::optional<std::int64_t> Section::integer(std::string_view key, std::uint64_t min,
                                             std::uint64_t max, std::string_view word_for_zero) {
  const Value* value = given(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == Value::Type::string && !word_for_zero.empty() && value->text == word_for_zero)
    return 0;
  const std::string or_word =
      word_for_zero.empty() ? "" : " or \"" + std::string(word_for_zero) + '"';
  if (value->type != Value::Type::integer) {
    const bool quoted_one = value->type == Value::Type::string && is_number(value->text);
    const std::string wanted = "a whole number" + or_word;
    fail_type(key, *value, wanted, quoted_one ? key_is(key, value->text) + " without quotes" : "");
    return std::nullopt;
  }
  if (value->integer < 0 || std::cmp_less(value->integer, min) ||
      std::cmp_greater(value->integer, max)) {
    fail(key, value->place,
         {'\'' + std::string(key) + "' is out of range: " + std::to_string(value->integer),
          "from " + std::to_string(min) + " to " + std::to_string(max) + or_word});
    return std::nullopt;
  }
  return value->integer;
}

std::optional<Duration> Section::duration_of(std::string_view key, const Value& value,
                                             const DurationRange& range) {
  if (value.type == Value::Type::string && value.text == range.off_word && range.may_be_off)
    return Duration::zero();
  if (value.type == Value::Type::string) {
    Duration parsed{};
    if (value.text == "off") {
      fail(key, value.place,
           {'\'' + std::string(key) + "' cannot be off",
            range.may_be_off ? key_is(key, in_quotes(range.off_word) + " or a duration")
                             : key_is(key, R"("90s" or another duration)")});
      return std::nullopt;
    }
    if (!accept(key, value, parse_duration(value.text), parsed)) return std::nullopt;
    if (parsed >= range.min && parsed <= range.max) return parsed;
    fail(key, value.place,
         {in_quotes(value.text) + " is too " + (parsed < range.min ? "short" : "long") + " for '" +
              std::string(key) + '\'',
          parsed < range.min ? "the shortest is \"" + format_duration(range.min) + '"'
                             : "the longest is \"" + format_duration(range.max) + '"'});
    return std::nullopt;
  }
  std::string hint;
  if (value.type == Value::Type::integer) hint = plain_duration(key, value.integer, range);
  if (value.type == Value::Type::boolean && !value.boolean && range.may_be_off)
    hint = key_is(key, in_quotes(range.off_word));
  fail_type(
      key, value,
      R"(a duration such as "90s")" + (range.may_be_off ? ", or " + in_quotes(range.off_word) : ""),
      std::move(hint));
  return std::nullopt;
}

void Section::duration(std::string_view key, Duration& target, DurationRange range) {
  const Value* value = given(key);
  if (value == nullptr) return;
  if (const auto read = duration_of(key, *value, range)) target = *read;
}

void Section::limit(std::string_view key, OptionalDuration& target, std::string_view off_word) {
  const Value* value = given(key);
  if (value == nullptr) return;
  const auto read = duration_of(key, *value, {.may_be_off = true, .off_word = off_word});
  if (read) target = *read == Duration::zero() ? OptionalDuration{} : OptionalDuration{*read};
}

void Section::percent(std::string_view key, Percent& target) {
  const Value* value = given(key);
  if (value == nullptr) return;
  const bool whole =
      value->type == Value::Type::integer && value->integer > 0 && value->integer <= 100;
  if (value->type != Value::Type::string) {
    fail_type(key, *value, R"(a percentage such as "20%")",
              whole ? key_is(key, '"' + std::to_string(value->integer) + "%\"") : "");
    return;
  }
  accept(key, *value, parse_percent(value->text), target);
}

void Section::measure(std::string_view key, std::optional<std::uint64_t>& target, RuleKind kind) {
  const Value* value = given(key);
  const bool kind_unread = reading_->unreadable.contains(path_of("kind"));
  if (table_ == nullptr || kind_unread) return;
  const MeasureUnit unit = measure_unit(kind);
  const std::string kind_name = "a rule of kind '" + std::string(name(kind)) + '\'';
  if (unit == MeasureUnit::none) {
    if (value == nullptr) return;
    fail(key, value->place,
         {kind_name + " has no '" + std::string(key) + '\'',
          "leave it out: what this kind judges is a time, its 'limit'"});
    return;
  }
  const std::string example = key_is(key, measure_example(unit));
  if (value == nullptr) {
    fail(key, place_, {kind_name + " needs a '" + std::string(key) + '\'', example});
    return;
  }
  if (unit == MeasureUnit::count) {
    std::string hint = example;
    if (value->type == Value::Type::string && is_number(value->text))
      hint = key_is(key, value->text) + " without quotes";
    if (value->type != Value::Type::integer) {
      fail_type(key, *value, "a whole number", std::move(hint));
    } else if (value->integer < 1) {
      fail(key, value->place,
           {'\'' + std::string(key) + "' is out of range: " + std::to_string(value->integer),
            "1 is the least"});
    } else {
      target = static_cast<std::uint64_t>(value->integer);
    }
    return;
  }
  if (value->type != Value::Type::string) {
    fail_type(key, *value, "a string such as " + std::string(measure_example(unit)), example);
    return;
  }
  std::uint64_t parsed = 0;
  if (accept(key, *value, parse_measure(unit, value->text), parsed)) target = parsed;
}

std::optional<std::size_t> Section::choice(std::string_view key,
                                           std::span<const std::string_view> words) {
  const Value* value = string(key);
  if (value == nullptr) return std::nullopt;
  const auto found = std::ranges::find(words, std::string_view{value->text});
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  const auto meant = nearest(value->text, words);
  fail(key, value->place,
       {'\'' + std::string(key) + "' cannot be " + in_quotes(value->text),
        meant ? "did you mean \"" + std::string(*meant) + "\"?" : "one of " + listed(words)});
  return std::nullopt;
}

void Section::file(std::string_view key, std::string& target) {
  const Value* value = string(key);
  if (value == nullptr) return;
  if (value->text.empty() || value->text.find('\0') != std::string::npos) {
    fail(key, value->place,
         {'\'' + std::string(key) + "' is no path", "leave the key out for none"});
    return;
  }
  target = (reading_->folder / value->text).lexically_normal().string();
}

void Section::file_or_word(std::string_view key, std::string& target,
                           std::initializer_list<std::string_view> words) {
  const Value* value = has(key) ? &table_->find(key)->value : nullptr;
  file(key, target);
  if (value != nullptr && std::ranges::find(words, value->text) != words.end())
    target = value->text;
}

void Section::readable_file(std::string_view key, std::string& target, std::string_view word) {
  if (word.empty()) {
    file(key, target);
  } else {
    file_or_word(key, target, {word});
  }
  if (target.empty() || target == word) return;
  if (auto fault = readable_file_fault(target))
    fail(key, table_->find(key)->value.place, std::move(*fault));
}

void Section::secret_file(std::string_view key, std::string& target,
                          std::optional<Fault> (*check)(std::string_view)) {
  file(key, target);
  if (target.empty()) return;
  auto fault = secret_file_fault(target);
  if (!fault && check != nullptr) {
    auto read = read_secret({SecretSource::Kind::file, target});
    const auto* secret = std::get_if<Secret>(&read);
    fault = secret != nullptr ? check(secret->text()) : std::get<Fault>(read);
  }
  if (fault) fail(key, table_->find(key)->value.place, std::move(*fault));
}

void Section::strings(std::string_view key, WhenEmpty when_empty,
                      const std::function<void()>& begin,
                      const std::function<void(const std::string&, const Value&)>& item) {
  const Value* value = given(key);
  if (value == nullptr) return;
  if (value->type != Value::Type::list) {
    const bool lone = value->type == Value::Type::string;
    fail_type(key, *value, "a list of strings",
              lone ? key_is(key, '[' + in_quotes(value->text) + ']') : "");
    return;
  }
  if (value->items.empty() && when_empty == WhenEmpty::faulty) {
    fail(key, value->place,
         {'\'' + std::string(key) + "' is an empty list",
          "leave the key out, or name what it is for"});
    return;
  }
  begin();
  for (std::size_t i = 0; i < value->items.size(); ++i) {
    const Value& one = value->items[i];
    const std::string item_key = std::string(key) + '[' + std::to_string(i) + ']';
    reading_->provenance.emplace(path_of(item_key), reading_->faults.at(one.place));
    if (one.type == Value::Type::string) {
      item(item_key, one);
    } else {
      fail_type(item_key, one, "a string",
                one.type == Value::Type::integer ? "write " + in_quotes(std::to_string(one.integer))
                                                 : "");
    }
    if (reading_->unreadable.contains(path_of(item_key))) reading_->unreadable.insert(path_of(key));
  }
}

bool Section::check_pattern(std::string_view key, const Value& value, PatternMay may) {
  if (value.text.empty() && may == PatternMay::not_be_empty) {
    fail(key, value.place, {"an empty pattern matches nobody", "write '.*' for everybody"});
    return false;
  }
  auto found = pattern_fault(value.text);
  if (!found) return true;
  // Within single quotes the pattern stands as it is, so the caret can go to the very piece.
  Place place = value.place;
  const std::string_view line = reading_->faults.line(place.line);
  if (const auto at = line.find('\'' + value.text + '\'');
      at != std::string_view::npos &&
      line.find('\'' + value.text + '\'', at + 1) == std::string_view::npos) {
    const std::string_view before = std::string_view{value.text}.substr(0, found->offset);
    const auto characters = std::ranges::count_if(
        before, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
    place.column += 1 + static_cast<std::uint32_t>(characters);
  }
  fail(key, place, std::move(found->fault));
  return false;
}

void Section::pattern(std::string_view key, std::string& target, PatternMay may) {
  const Value* value = string(key);
  if (value != nullptr && check_pattern(key, *value, may)) target = value->text;
}

void Section::patterns(std::string_view key, std::vector<Pattern>& target, WhenEmpty when_empty,
                       PatternMay may) {
  strings(
      key, when_empty, [&] { target.clear(); },
      [&](const std::string& item_key, const Value& item) {
        if (check_pattern(item_key, item, may))
          target.push_back({item.text, reading_->faults.at(item.place)});
      });
}

}  // namespace pgleash::config
