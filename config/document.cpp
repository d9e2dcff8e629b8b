#include "config/document.hpp"

#include "config/faults.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace pgleash::config {

namespace {

constexpr std::size_t largest_document = 1024 * 1024;
constexpr unsigned deepest_key = 64;

Place place_of(const toml::source_region& region) {
  return {static_cast<std::uint32_t>(region.begin.line),
          static_cast<std::uint32_t>(region.begin.column)};
}

Value convert(const toml::node& node);

void convert_entries(const toml::table& table, Value& into) {
  into.entries.reserve(table.size());
  for (auto&& [key, node] : table) {
    into.entries.push_back({std::string(key.str()), place_of(key.source()), convert(node)});
  }
  std::ranges::stable_sort(into.entries, {}, &Entry::place);
  if (into.place == Place{} && !into.entries.empty()) into.place = into.entries.front().place;
}

Value convert(const toml::node& node) {
  Value value;
  value.place = place_of(node.source());
  switch (node.type()) {
    case toml::node_type::string:
      value.type = Value::Type::string;
      value.text = **node.as_string();
      break;
    case toml::node_type::integer:
      value.type = Value::Type::integer;
      value.integer = **node.as_integer();
      break;
    case toml::node_type::floating_point:
      value.type = Value::Type::floating;
      break;
    case toml::node_type::boolean:
      value.type = Value::Type::boolean;
      value.boolean = **node.as_boolean();
      break;
    case toml::node_type::array:
      value.type = Value::Type::list;
      for (const toml::node& item : *node.as_array()) value.items.push_back(convert(item));
      break;
    case toml::node_type::table:
      value.type = Value::Type::table;
      convert_entries(*node.as_table(), value);
      break;
    default:
      value.type = Value::Type::time;
      break;
  }
  return value;
}

std::string_view line_at(std::string_view text, std::uint32_t line) {
  for (; line > 1; --line) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find_first_of("\r\n"));
}

/// The offset behind the string that opens at `open`, within its line.
std::size_t behind_string(std::string_view text, std::size_t open) {
  const char quote = text[open];
  for (std::size_t i = open + 1; i < text.size() && text[i] != '\n'; ++i) {
    if (text[i] == quote) return i + 1;
    if (text[i] == '\\' && quote == '"' && i + 1 < text.size() && text[i + 1] != '\n') ++i;
  }
  return std::min(text.find('\n', open), text.size());
}

/// Each part of a dotted key is a table within a table, and the library takes them down by
/// recursion: a line of ten thousand dots would take the stack with it.
std::optional<SyntaxFault> depth_fault(std::string_view text) {
  std::uint32_t line = 1;
  unsigned depth = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      i = behind_string(text, i);
      continue;
    }
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (c == '.' && ++depth > deepest_key) {
      return SyntaxFault{{line, 1},
                         {"a key of more than " + std::to_string(deepest_key) + " parts", {}}};
    }
    if (c == '\n') ++line;
    if (c == '\n' || c == '=' || c == ',' || c == '{') depth = 0;
    ++i;
  }
  return std::nullopt;
}

/// What the writer of such a line most probably meant.
std::string syntax_hint(std::string_view description, std::string_view line) {
  if (description.find("escape") != std::string_view::npos) {
    return "write patterns in single quotes, where a backslash is a backslash";
  }
  if (description.find("cannot redefine") != std::string_view::npos) {
    return "each key and section stands once; [[rule]], [[server]] and [[listener]] may be "
           "repeated";
  }
  const auto equals = line.find('=');
  if (equals == std::string_view::npos) return {};
  const auto begin = line.find_first_not_of(" \t", equals + 1);
  if (begin == std::string_view::npos) return "a value is missing behind the =";
  const std::string_view rest = line.substr(begin);
  const std::string_view value = rest.substr(0, rest.find_first_of(" \t#"));
  const bool bare = value.find_first_of("\"'[]{},") == std::string_view::npos;
  if (!bare) return {};
  if (value == "True" || value == "False" || value == "TRUE" || value == "FALSE")
    return "write true or false in small letters";
  const auto key_end = line.find_last_not_of(" \t", equals == 0 ? 0 : equals - 1);
  return "texts and durations stand in quotes: " + std::string(line.substr(0, key_end + 1)) +
         " = \"" + std::string(value) + '"';
}

SyntaxFault syntax_fault(const toml::parse_error& error, std::string_view text) {
  SyntaxFault found{place_of(error.source()), {}};
  const std::string_view line = line_at(text, found.place.line);
  if (without_secret(line) != line) {  // neither message nor hint may repeat it
    found.fault = secret_fault();
    return found;
  }
  std::string_view description = error.description();
  constexpr std::string_view lead = "Error while parsing ";
  if (description.starts_with(lead)) description.remove_prefix(lead.size());
  std::string message{description};
  if (!message.empty())
    message.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(message.front())));
  for (const std::string_view line_end : {", saw '\\n'", ", saw '\\r'"}) {
    if (message.ends_with(line_end))
      message.replace(message.size() - line_end.size(), line_end.size(), ", and the line ends");
  }
  found.fault = {"not TOML: " + message, syntax_hint(description, line)};
  return found;
}

}  // namespace

const Entry* Value::find(std::string_view key) const noexcept {
  const auto found = std::ranges::find(entries, key, &Entry::key);
  return found == entries.end() ? nullptr : &*found;
}

bool Value::is_table_list() const noexcept {
  return type == Type::list && !items.empty() &&
         std::ranges::all_of(items, [](const Value& item) { return item.type == Type::table; });
}

std::string_view Value::type_name() const noexcept {
  switch (type) {
    case Type::string:
      return "a string";
    case Type::integer:
      return "a whole number";
    case Type::floating:
      return "a fraction";
    case Type::boolean:
      return "true or false";
    case Type::time:
      return "a date or time";
    case Type::list:
      return "a list";
    case Type::table:
      return "a section";
  }
  return "something else";
}

std::variant<Value, SyntaxFault> parse_document(std::string_view text) {
  if (text.size() > largest_document)
    return SyntaxFault{{}, {"a configuration of more than 1 MiB", {}}};
  if (auto fault = depth_fault(text)) return std::move(*fault);
  try {
    const toml::table document = toml::parse(text);
    return convert(document);
  } catch (const toml::parse_error& error) {
    return syntax_fault(error, text);
  }
}

}  // namespace pgleash::config
