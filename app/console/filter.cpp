#include "app/console/filter.hpp"

#include "app/console/parser.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <compare>
#include <cstdio>
#include <limits>
#include <memory>

namespace pgleash::console {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

SqlError no_such(Type type, std::string_view text, std::size_t position) {
  return {"22P02",
          "invalid input for type " + std::string{name(type)} + ": \"" +
              cleaned(text.substr(0, 60)) + '"',
          {},
          {},
          position};
}

Outcome<Cell> whole_number(Type type, std::string_view text, std::size_t position) {
  const std::string_view digits = trimmed(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::invalid_argument ||
      (error == std::errc{} && end != digits.data() + digits.size()))
    return no_such(type, text, position);
  std::int64_t least = std::numeric_limits<std::int64_t>::min();
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  if (type == Type::int4) {
    least = std::numeric_limits<std::int32_t>::min();
    most = std::numeric_limits<std::int32_t>::max();
  } else if (type == Type::oid || type == Type::xid) {
    least = 0;
    most = std::numeric_limits<std::uint32_t>::max();
  }
  if (error == std::errc::result_out_of_range || value < least || value > most)
    return SqlError{"22003",
                    "\"" + cleaned(digits.substr(0, 60)) + "\" is out of range for type " +
                        std::string{name(type)},
                    {},
                    {},
                    position};
  return Cell{value};
}

/// "2026-11-25", "2026-11-25 21:30:00.5", with T, Z or +00: UTC, as all that the console shows.
std::optional<watchdog::ServerTime> moment(std::string_view text) {
  const std::string copy{trimmed(text)};
  int year = 0;
  int month = 0;
  int day = 0;
  int used = 0;
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3)
    return std::nullopt;
  std::string_view rest = std::string_view{copy}.substr(static_cast<std::size_t>(used));
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (month < 0 || day < 0 || !date.ok()) return std::nullopt;
  std::int64_t micros = 0;
  if (rest.starts_with('T') || rest.starts_with(' ')) {
    rest.remove_prefix(1);
    const auto clock_end = rest.find_first_not_of("0123456789:");
    const auto time = parse_span(rest.substr(0, clock_end));
    if (!time || rest.substr(0, clock_end).find(':') == std::string_view::npos) return std::nullopt;
    micros = time->microseconds;
    rest.remove_prefix(std::min(clock_end, rest.size()));
    if (rest.starts_with('.')) {
      rest.remove_prefix(1);
      std::int64_t unit = 100'000;
      while (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') {
        micros += unit * (rest.front() - '0');
        unit /= 10;
        rest.remove_prefix(1);
      }
    }
  }
  if (!rest.empty() && rest != "Z" && rest != "+00" && rest != "+00:00" && rest != " UTC")
    return std::nullopt;
  constexpr std::chrono::sys_days epoch{std::chrono::year{2000} / 1 / 1};
  return watchdog::ServerTime{
      std::chrono::microseconds{std::chrono::sys_days{date} - epoch}.count() + micros};
}

Outcome<Cell> from_text(std::string_view text, Type type, std::size_t position) {
  switch (type) {
    case Type::int4:
    case Type::int8:
    case Type::oid:
    case Type::xid:
      return whole_number(type, text, position);
    case Type::float8: {
      const std::string digits{trimmed(text)};
      char* end = nullptr;
      const double number = std::strtod(digits.c_str(), &end);
      if (digits.empty() || *end != '\0') return no_such(type, text, position);
      return Cell{number};
    }
    case Type::boolean: {
      const std::string word = lower(trimmed(text));
      for (const std::string_view yes : {"t", "true", "yes", "y", "on", "1"})
        if (word == yes) return Cell{true};
      for (const std::string_view no : {"f", "false", "no", "n", "off", "0"})
        if (word == no) return Cell{false};
      return no_such(type, text, position);
    }
    case Type::timestamp:
      if (const auto time = moment(text)) return Cell{*time};
      return no_such(type, text, position);
    case Type::interval:
      if (const auto span = parse_span(text)) return Cell{*span};
      return no_such(type, text, position);
    case Type::text:
    case Type::name:
    case Type::inet:
      break;
  }
  return Cell{std::string{text}};
}

/// -1, 0, 1; nothing when one of them is NULL or they are no two of a kind.
std::optional<int> compare(const Cell& a, const Cell& b) {
  if (is_null(a) || is_null(b)) return std::nullopt;
  const auto as_double = [](const Cell& cell) -> std::optional<double> {
    if (const auto* number = std::get_if<double>(&cell)) return *number;
    if (const auto* number = std::get_if<std::int64_t>(&cell)) return static_cast<double>(*number);
    return std::nullopt;
  };
  if (a.index() != b.index()) {
    const auto x = as_double(a);
    const auto y = as_double(b);
    if (!x || !y) return std::nullopt;
    return *x < *y ? -1 : *x > *y ? 1 : 0;
  }
  return a < b ? -1 : b < a ? 1 : 0;
}

/// True, false, or nobody knows.
using Truth = std::optional<bool>;
using Judge = std::function<Truth(const Row&)>;

const Cell& cell_of(const Row& row, std::size_t column) {
  return row[column];
}

Cell age_of(const Row& row, std::size_t column, watchdog::ServerTime now) {
  const auto* time = std::get_if<watchdog::ServerTime>(&row[column]);
  if (time == nullptr) return Null{};
  return Span{now.microseconds - time->microseconds};
}

bool is_like(std::string_view text, std::string_view pattern) {
  // Backtracks to the last % only: linear for one of them, quadratic at worst.
  std::size_t t = 0;
  std::size_t p = 0;
  std::size_t star = std::string_view::npos;
  std::size_t mark = 0;
  while (t < text.size()) {
    const bool escaped = p + 1 < pattern.size() && pattern[p] == '\\';
    if (p < pattern.size() && pattern[p] == '%') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() &&
               (escaped ? pattern[p + 1] == text[t] : pattern[p] == '_' || pattern[p] == text[t])) {
      p += escaped ? 2 : 1;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '%') ++p;
  return p == pattern.size();
}

class Compiler {
 public:
  Compiler(View view, const Scope& scope) : columns_(columns_of(view)), scope_(scope) {}

  Outcome<Judge> compile(const Condition& condition) {
    using K = Condition::Kind;
    switch (condition.kind) {
      case K::always:
        return Judge{[](const Row&) { return Truth{true}; }};
      case K::both:
      case K::either:
        return several(condition);
      case K::inverse: {
        auto inner = compile(condition.children.front());
        if (!inner) return std::move(inner.error());
        return Judge{[judge = std::move(*inner)](const Row& row) -> Truth {
          const Truth found = judge(row);
          if (!found) return std::nullopt;
          return !*found;
        }};
      }
      case K::null:
        return Judge{
            [lhs = lhs_of(condition)](const Row& row) { return Truth{is_null(lhs(row))}; }};
      case K::truth:
        return Judge{[lhs = lhs_of(condition)](const Row& row) -> Truth {
          const Cell cell = lhs(row);
          const bool* yes = std::get_if<bool>(&cell);
          if (yes == nullptr) return std::nullopt;
          return *yes;
        }};
      case K::matches:
      case K::like:
        return pattern(condition);
      default:
        return comparison(condition);
    }
  }

 private:
  std::function<Cell(const Row&)> lhs_of(const Condition& condition) const {
    const std::size_t column = condition.column;
    if (condition.age)
      return [column, now = scope_.now](const Row& row) { return age_of(row, column, now); };
    return [column](const Row& row) { return cell_of(row, column); };
  }
  [[nodiscard]] Type type_of(const Condition& condition) const {
    return condition.age ? Type::interval : columns_[condition.column].type;
  }

  Outcome<Judge> several(const Condition& condition) {
    std::vector<Judge> judges;
    for (const Condition& child : condition.children) {
      auto one = compile(child);
      if (!one) return std::move(one.error());
      judges.push_back(std::move(*one));
    }
    const bool decisive = condition.kind == Condition::Kind::either;
    return Judge{[judges = std::move(judges), decisive](const Row& row) -> Truth {
      Truth all = !decisive;
      for (const Judge& judge : judges) {
        const Truth one = judge(row);
        if (one && *one == decisive) return decisive;
        if (!one) all = std::nullopt;
      }
      return all;
    }};
  }

  Outcome<Judge> pattern(const Condition& condition) {
    auto value = evaluate(condition.values.front(), Type::text, scope_);
    if (!value) return std::move(value.error());
    const auto* text = std::get_if<std::string>(&*value);
    if (text == nullptr) return Judge{[](const Row&) { return Truth{}; }};
    const auto shown = [lhs = lhs_of(condition), type = type_of(condition)](const Row& row) {
      const Cell cell = lhs(row);
      return is_null(cell) ? std::optional<std::string>{} : to_text(cell, type);
    };
    if (condition.kind == Condition::Kind::like) {
      const bool fold = condition.ignore_case;
      return Judge{[shown, fold, pattern = fold ? lower(*text) : *text](const Row& row) -> Truth {
        const auto it = shown(row);
        if (!it) return std::nullopt;
        return is_like(fold ? lower(*it) : *it, pattern);
      }};
    }
    RE2::Options options;
    options.set_log_errors(false);
    options.set_case_sensitive(!condition.ignore_case);
    options.set_max_mem(1 << 20);
    const auto expression = std::make_shared<const RE2>(*text, options);
    if (!expression->ok())
      return SqlError{"2201B",
                      "invalid regular expression: " + expression->error(),
                      {},
                      "RE2 syntax: no back references and look-arounds",
                      condition.values.front().position};
    return Judge{[shown, expression](const Row& row) -> Truth {
      const auto it = shown(row);
      if (!it) return std::nullopt;
      return RE2::PartialMatch(*it, *expression);
    }};
  }

  Outcome<Judge> comparison(const Condition& condition) {
    std::vector<Cell> values;
    for (const Value& one : condition.values) {
      auto value = evaluate(one, type_of(condition), scope_);
      if (!value) return std::move(value.error());
      values.push_back(std::move(*value));
    }
    return Judge{[lhs = lhs_of(condition), kind = condition.kind,
                  values = std::move(values)](const Row& row) -> Truth {
      const Cell cell = lhs(row);
      Truth found = false;
      for (const Cell& value : values) {
        const auto order = compare(cell, value);
        if (!order) {
          found = std::nullopt;
        } else if (holds(kind, *order)) {
          return true;
        }
      }
      return found;
    }};
  }

  static bool holds(Condition::Kind kind, int order) noexcept {
    using K = Condition::Kind;
    switch (kind) {
      case K::unequal:
        return order != 0;
      case K::less:
        return order < 0;
      case K::at_most:
        return order <= 0;
      case K::more:
        return order > 0;
      case K::at_least:
        return order >= 0;
      default:
        return order == 0;
    }
  }

  std::span<const Column> columns_;
  const Scope& scope_;
};

Outcome<std::size_t> count_of(const std::optional<Value>& value, std::size_t otherwise,
                              const Scope& scope) {
  if (!value) return otherwise;
  auto cell = evaluate(*value, Type::int8, scope);
  if (!cell) return std::move(cell.error());
  const auto* number = std::get_if<std::int64_t>(&*cell);
  if (number == nullptr) return otherwise;
  if (*number < 0)
    return SqlError{"2201W", "LIMIT and OFFSET must not be negative", {}, {}, value->position};
  return static_cast<std::size_t>(*number);
}

}  // namespace

Outcome<Cell> evaluate(const Value& value, Type type, const Scope& scope) {
  switch (value.kind) {
    case Value::Kind::null:
      return Cell{Null{}};
    case Value::Kind::literal:
      return from_text(value.text, type, value.position);
    case Value::Kind::parameter:
      if (value.parameter >= scope.parameters.size())
        return SqlError{"08P01",
                        "no value was bound to parameter $" + std::to_string(value.parameter + 1)};
      if (!scope.parameters[value.parameter]) return Cell{Null{}};
      return from_text(*scope.parameters[value.parameter], type, value.position);
    case Value::Kind::moment: {
      const watchdog::ServerTime then{scope.now.microseconds + value.offset.microseconds};
      if (type == Type::timestamp) return Cell{then};
      return SqlError{"42883",
                      "a point in time does not compare with type " + std::string{name(type)},
                      {},
                      {},
                      value.position};
    }
    case Value::Kind::backend_pid:
      return Cell{std::int64_t{0}};  // the console is no backend
    case Value::Kind::current_user:
      return Cell{scope.user};
    case Value::Kind::current_database:
      break;
  }
  return Cell{scope.database};
}

Outcome<Predicate> compile(const Condition& condition, View view, const Scope& scope) {
  auto judge = Compiler{view, scope}.compile(condition);
  if (!judge) return std::move(judge.error());
  return Predicate{
      [judge = std::move(*judge)](const Row& row) { return judge(row).value_or(false); }};
}

std::vector<Column> result_columns(const Query& query) {
  const auto columns = columns_of(query.view);
  std::vector<Column> result;
  for (const Item& item : query.items) {
    Type type = Type::int8;
    if (item.kind == Item::Kind::column) type = columns[item.column].type;
    if (item.kind == Item::Kind::age) type = Type::interval;
    result.push_back({item.name, type});
  }
  return result;
}

Outcome<Table> run(const Query& query, std::vector<Row> rows, const Scope& scope) {
  auto keep = compile(query.where, query.view, scope);
  if (!keep) return std::move(keep.error());
  const auto limit = count_of(query.limit, rows.size(), scope);
  if (!limit) return limit.error();
  const auto offset = count_of(query.offset, 0, scope);
  if (!offset) return offset.error();
  std::erase_if(rows, [&](const Row& row) { return !(*keep)(row); });

  Table table;
  table.columns = result_columns(query);
  if (query.items.front().kind == Item::Kind::count) {
    table.rows.push_back(Row(query.items.size(), Cell{static_cast<std::int64_t>(rows.size())}));
    return table;
  }
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    for (const Order& by : query.order) {
      const Cell& x = a[by.column];
      const Cell& y = b[by.column];
      // The older, the earlier; and NULL is larger than anything, as in PostgreSQL.
      const bool down = by.descending != by.age;
      if (is_null(x) != is_null(y)) return by.descending ? is_null(x) : is_null(y);
      const int order = compare(x, y).value_or(0);
      if (order != 0) return down ? order > 0 : order < 0;
    }
    return false;
  });
  const std::size_t first = std::min(*offset, rows.size());
  const std::size_t last = first + std::min(*limit, rows.size() - first);
  for (std::size_t i = first; i < last; ++i) {
    Row row;
    for (const Item& item : query.items)
      row.push_back(item.kind == Item::Kind::age ? age_of(rows[i], item.column, scope.now)
                                                 : rows[i][item.column]);
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace pgleash::console
