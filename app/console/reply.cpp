#include "app/console/reply.hpp"

#include "config/nearest.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <type_traits>
#include <utility>

namespace pgleash::console {
namespace {

using enum Type;

struct Known {
  std::string_view name;  ///< in lower case
  std::string_view value;
};
/// What drivers ask for, and what the console says it is.
constexpr std::array<Known, 14> settings{{
    {"client_encoding", "UTF8"},
    {"server_encoding", "UTF8"},
    {"datestyle", "ISO, MDY"},
    {"intervalstyle", "postgres"},
    {"timezone", "UTC"},
    {"standard_conforming_strings", "on"},
    {"integer_datetimes", "on"},
    {"transaction_isolation", "read committed"},
    {"default_transaction_isolation", "read committed"},
    {"transaction_read_only", "off"},
    {"default_transaction_read_only", "off"},
    {"search_path", "pg_catalog"},
    {"max_identifier_length", "63"},
    {"is_superuser", "off"},
}};

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

Outcome<Reply> setting(const Setting& asked) {
  const auto found = std::find_if(settings.begin(), settings.end(),
                                  [&](const Known& one) { return one.name == asked.name; });
  if (found == settings.end()) {
    static constexpr std::array<std::string_view, 10> views{
        "sessions", "rules",   "actions", "leaks",   "blocking",
        "fuses",    "servers", "config",  "version", "help"};
    const auto meant = config::nearest(asked.name, views);
    return SqlError{"42704",
                    "the console has neither a view nor a setting \"" + cleaned(asked.name) + '"',
                    {},
                    (meant ? "did you mean " + std::string{*meant} + "? " : std::string{}) +
                        "SHOW HELP lists what it understands."};
  }
  Reply reply;
  reply.table = Table{{{asked.name, Type::text}}, {{Cell{std::string{found->value}}}}};
  reply.tag = "SHOW";
  return reply;
}

/// Only what changes how bytes are read is refused: all else is of no effect here.
Outcome<Reply> courtesy(const Courtesy& said) {
  Reply reply;
  reply.tag = said.tag;
  const std::string wanted = lower(said.set_value);
  const auto among = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), wanted) != words.end();
  };
  if ((said.set_name == "client_encoding" || said.set_name == "names") &&
      !among({"utf8", "utf-8", "unicode", "sql_ascii", "default", "'utf8'"}))
    return SqlError{"22023", "the console speaks UTF8 only", {}, "SET client_encoding TO UTF8"};
  if (said.set_name == "standard_conforming_strings" && !among({"on", "true", "1", "default"}))
    return SqlError{"22023", "the console reads strings with standard_conforming_strings = on"};
  if (said.set_name == "datestyle" && wanted.find("iso") == std::string::npos &&
      wanted != "default")
    return SqlError{"22023", "the console writes dates with DateStyle = ISO"};
  if (said.set_name == "application_name") {
    reply.parameter_name = said.set_name;
    reply.parameter_value = cleaned(said.set_value);
  }
  return reply;
}

Outcome<Reply> constants(const Constants& asked, const Scope& scope) {
  Reply reply;
  reply.table.emplace();
  Row row;
  for (const Constants::Item& item : asked.items) {
    auto cell = evaluate(item.value, item.type, scope);
    if (!cell) return std::move(cell.error());
    reply.table->columns.push_back({item.name, item.type});
    row.push_back(std::move(*cell));
  }
  reply.table->rows.push_back(std::move(row));
  reply.tag = "SELECT 1";
  return reply;
}

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace

std::optional<std::vector<Column>> columns_of(const Action& action) {
  using Columns = std::optional<std::vector<Column>>;
  return std::visit(Overloaded{[](const Query& query) -> Columns { return result_columns(query); },
                               [](const Constants& asked) -> Columns {
                                 std::vector<Column> columns;
                                 for (const auto& item : asked.items)
                                   columns.push_back({item.name, item.type});
                                 return columns;
                               },
                               [](const Setting& asked) -> Columns {
                                 return std::vector<Column>{{asked.name, Type::text}};
                               },
                               [](const Courtesy&) -> Columns { return std::nullopt; },
                               [](const Explain&) -> Columns { return explain_columns(); },
                               [](const Signal& signal) -> Columns {
                                 if (signal.as_function)
                                   return std::vector<Column>{{signal.column, boolean}};
                                 return act_columns();
                               },
                               [](const Preview&) -> Columns { return preview_columns(); },
                               [](const Confirm&) -> Columns { return act_columns(); },
                               [](const Exempt&) -> Columns { return exempt_columns(); },
                               [](const Plain&) -> Columns { return plain_columns(); }},
                    action);
}

Role role_for(const Action& action) noexcept {
  if (const auto* plain = std::get_if<Plain>(&action))
    return plain->kind == Plain::Kind::reload || plain->kind == Plain::Kind::drain ? Role::admin
                                                                                   : Role::op;
  if (std::holds_alternative<Signal>(action) || std::holds_alternative<Preview>(action) ||
      std::holds_alternative<Confirm>(action) || std::holds_alternative<Exempt>(action))
    return Role::op;
  return Role::viewer;
}

bool is_audited(const Action& action) noexcept {
  return !std::holds_alternative<Constants>(action) && !std::holds_alternative<Setting>(action) &&
         !std::holds_alternative<Courtesy>(action);
}

std::optional<Outcome<Reply>> answer_alone(const Action& action, const Scope& scope) {
  if (const auto* asked = std::get_if<Constants>(&action)) return constants(*asked, scope);
  if (const auto* asked = std::get_if<Setting>(&action)) return setting(*asked);
  if (const auto* said = std::get_if<Courtesy>(&action)) return courtesy(*said);
  return std::nullopt;
}

const std::vector<Column>& act_columns() {
  static const std::vector<Column> columns{
      {"incident", Type::text}, {"outcome", Type::text}, {"server", Type::text},
      {"session", int8},        {"pid", int4},           {"backend_start", timestamp},
      {"usename", Type::name},  {"datname", Type::name}, {"application", Type::text},
      {"client_addr", inet},    {"state", Type::text},   {"action", Type::text},
      {"step", Type::text},     {"took", interval},      {"why", Type::text},
  };
  return columns;
}

const std::vector<Column>& preview_columns() {
  static const std::vector<Column> columns{
      {"token", Type::text},   {"would", Type::text},   {"server", Type::text},
      {"session", int8},       {"pid", int4},           {"backend_start", timestamp},
      {"usename", Type::name}, {"datname", Type::name}, {"application", Type::text},
      {"client_addr", inet},   {"state", Type::text},   {"state_age", interval},
      {"query", Type::text},
  };
  return columns;
}

const std::vector<Column>& exempt_columns() {
  static const std::vector<Column> columns{{"server", Type::text},
                                           {"session", int8},
                                           {"pid", int4},
                                           {"application", Type::text},
                                           {"exempt_until", timestamp}};
  return columns;
}

const std::vector<Column>& explain_columns() {
  static const std::vector<Column> columns{{"explanation", Type::text}};
  return columns;
}

const std::vector<Column>& plain_columns() {
  static const std::vector<Column> columns{{"result", Type::text}};
  return columns;
}

}  // namespace pgleash::console
