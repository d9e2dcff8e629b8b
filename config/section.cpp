#include "config/nearest.hpp"
#include "config/reader.hpp"
#include "config/schema.hpp"
#include "config/secret.hpp"

#include <algorithm>

/// Sections within sections, and what stands in them unasked. The keys themselves are read in
/// reader.cpp.
namespace pgleash::config {

namespace {

/// The last component of "server[].monitor.user", and what comes before it.
std::pair<std::string_view, std::string_view> split_path(std::string_view path) {
  const auto dot = path.rfind('.');
  if (dot == std::string_view::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

/// Where a key of this name would be right: "[server.monitor]", when that is one place only.
std::optional<std::string> home_of(std::string_view key) {
  std::optional<std::string> home;
  for (const std::string& path : known_keys()) {
    const auto [section, name] = split_path(path);
    if (name != key) continue;
    if (home) return std::nullopt;
    home = title_of(section);
  }
  return home;
}

}  // namespace

std::string without_indexes(std::string_view path) {
  std::string out;
  bool inside = false;
  for (const char c : path) {
    if (c == ']') inside = false;
    if (!inside) out += c;
    if (c == '[') inside = true;
  }
  return out;
}

std::string title_of(std::string_view path) {
  if (path.empty()) return "the top of the file";
  std::string name;
  for (const char c : without_indexes(path)) {
    if (c != '[' && c != ']') name += c;
  }
  return path.ends_with(']') ? "[[" + name + "]]" : '[' + name + ']';
}

void Section::require(
    std::initializer_list<std::pair<std::string_view, std::string_view>> keys_and_examples) {
  if (table_ == nullptr) return;
  for (const auto& [key, example] : keys_and_examples) {
    if (has(key)) continue;
    fail(key, place_,
         {title_of(path_) + " has no '" + std::string(key) + '\'',
          "write " + std::string(key) + " = " + std::string(example)});
  }
}

bool Section::read_section(std::string_view key, std::string_view word,
                           const std::function<void(Section&)>& read) {
  const Value* value = given(key);
  const std::string path = path_of(key);
  if (value != nullptr && !word.empty() && value->type == Value::Type::string &&
      value->text == word)
    return true;
  if (value != nullptr && value->type != Value::Type::table) {
    const std::string title = title_of(without_indexes(path));
    if (value->is_table_list()) {
      fail(key, value->place, {title + " stands once", "write " + title + " in single brackets"});
    } else {
      const std::string or_word = word.empty() ? "" : ", or \"" + std::string(word) + '"';
      fail(key, value->place,
           {'\'' + std::string(key) + "' is a section, not " + std::string(value->type_name()),
            "write " + title + " and its keys below" + or_word});
    }
    value = nullptr;
  }
  Section within{*reading_, value, path, value == nullptr ? Place{} : value->place};
  read(within);
  within.finish();
  return false;
}

void Section::read_each(std::string_view key, const std::function<void(Section&, bool)>& read) {
  const Value* value = given(key);
  const std::string path = path_of(key);
  if (value != nullptr && value->type != Value::Type::list) {
    const std::string title = title_of(path + "[]");
    fail(key, value->place,
         {'\'' + std::string(key) + "' may stand several times, and is written so",
          "write " + title + " in double brackets"});
    value = nullptr;
  }
  if (value == nullptr) {
    Section absent{*reading_, nullptr, path + "[]", Place{}};
    read(absent, false);
    return;
  }
  for (std::size_t i = 0; i < value->items.size(); ++i) {
    const Value& item = value->items[i];
    const std::string item_path = path + '[' + std::to_string(i) + ']';
    if (item.type != Value::Type::table) {
      fail(
          key, item.place,
          {'\'' + std::string(key) + "' takes sections, not " + std::string(item.type_name()), {}});
      continue;
    }
    reading_->provenance.emplace(item_path, reading_->faults.at(item.place));
    Section within{*reading_, &item, item_path, item.place};
    read(within, true);
    within.finish();
  }
}

void Section::secret(std::string_view key, SecretSource& target, MayStandHere may,
                     std::optional<Fault> (*check)(std::string_view)) {
  const Value* value = given(key);
  if (value == nullptr) return;
  const std::string how =
      "write " + std::string(key) + R"( = { env = "NAME" } or { file = "path" })";
  SecretSource source;
  if (value->type == Value::Type::string) {
    source.name = value->text;
    // A query is where tokens stand.
    if (may == MayStandHere::no || value->text.find('?') != std::string::npos) {
      fail(key, value->place,
           {'\'' + std::string(key) + "' is a secret, which does not belong into this file", how});
      return;
    }
  } else {
    const Value* where = value->type == Value::Type::table && value->entries.size() == 1
                             ? &value->entries.front().value
                             : nullptr;
    const std::string_view kind =
        where == nullptr ? std::string_view{} : std::string_view{value->entries.front().key};
    if (where == nullptr || where->type != Value::Type::string || where->text.empty() ||
        where->text.find('\0') != std::string::npos || (kind != "env" && kind != "file")) {
      fail(key, value->place, {'\'' + std::string(key) + "' does not say where its value is", how});
      return;
    }
    source.kind = kind == "env" ? SecretSource::Kind::env : SecretSource::Kind::file;
    source.name = source.kind == SecretSource::Kind::env
                      ? where->text
                      : (reading_->folder / where->text).lexically_normal().string();
  }
  auto read = read_secret(source);
  std::optional<Fault> fault;
  if (auto* unread = std::get_if<Fault>(&read)) {
    fault = std::move(*unread);
  } else {
    fault = check(std::get<Secret>(read).text());
  }
  if (fault) {
    fail(key, value->place, std::move(*fault));
  } else {
    target = std::move(source);
  }
}

void Section::report_unknown(const Entry& entry) {
  Fault fault;
  const bool is_section = entry.value.type == Value::Type::table;
  if (names_secret(entry.key)) {
    fault = secret_fault();
  } else {
    const std::string path = path_of(entry.key);
    fault.message =
        is_section || entry.value.is_table_list()
            ? "unknown section " + title_of(entry.value.is_table_list() ? path + "[]" : path)
            : "unknown key '" + entry.key + "' in " + title_of(path_);
    const std::vector<std::string_view> known{asked_.begin(), asked_.end()};
    if (const auto meant = nearest(entry.key, known)) {
      fault.hint = "did you mean '" + std::string(*meant) + "'?";
    } else if (const auto home = home_of(entry.key)) {
      fault.hint = '\'' + entry.key + "' is a key of " + *home;
    } else {
      fault.hint = "known here: " + listed(known);
    }
  }
  reading_->faults.add(Severity::error, entry.place, std::move(fault));
}

void Section::finish() {
  if (table_ == nullptr) return;
  for (const Entry& entry : table_->entries) {
    if (std::ranges::find(asked_, entry.key) == asked_.end()) report_unknown(entry);
  }
}

}  // namespace pgleash::config
