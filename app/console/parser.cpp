#include "app/console/parser.hpp"

#include "app/console/token.hpp"
#include "config/nearest.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace pgleash::console {
namespace {

using Kind = Token::Kind;

constexpr std::string_view ask_help = "SHOW HELP lists what the console understands.";

std::string quoted(std::string_view text) {
  return '"' + std::string{text} + '"';
}

/// Recursive descent over the tokens. The first error stands; from then on the parser is at the end
/// of the text, so that every loop ends.
class Parser {
 public:
  Parser(std::string_view text, std::vector<Token> tokens)
      : text_(text), tokens_(std::move(tokens)) {}

  Outcome<std::vector<Statement>> all() {
    std::vector<Statement> statements;
    while (!error_) {
      while (take(";")) {
      }
      if (at_end()) break;
      statement_ = Statement{};
      const std::size_t from = peek().offset;
      statement_.action = action();
      if (!error_ && !at_end() && !is(";")) unexpected();
      if (error_) break;
      const std::size_t to = at_ == 0 ? from : tokens_[at_ - 1].end;
      statement_.text = text_.substr(from, to - from);
      statements.push_back(std::move(statement_));
    }
    if (error_) return *std::move(error_);
    return statements;
  }

 private:
  // ---------------------------------------------------------------- tokens

  [[nodiscard]] const Token& peek(std::size_t ahead = 0) const noexcept {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  [[nodiscard]] bool at_end() const noexcept { return peek().kind == Kind::end; }
  [[nodiscard]] bool is(std::string_view text, std::size_t ahead = 0) const noexcept {
    const Token& token = peek(ahead);
    return (token.kind == Kind::word || token.kind == Kind::symbol) && token.text == text;
  }
  bool take(std::string_view text) noexcept {
    if (!is(text)) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view first, std::string_view second) noexcept {
    if (!is(first) || !is(second, 1)) return false;
    at_ += 2;
    return true;
  }
  void expect(std::string_view text) {
    if (!take(text)) unexpected(text);
  }
  Token next() {
    Token token = peek();
    if (!at_end()) ++at_;
    return token;
  }

  // ---------------------------------------------------------------- errors

  void fail(SqlError error) {
    if (error_) return;
    error_ = std::move(error);
    at_ = tokens_.size() - 1;
  }
  void fail(std::string sqlstate, std::string message, std::string_view hint, const Token& where) {
    fail({std::move(sqlstate), std::move(message), {}, std::string{hint}, where.position});
  }
  void unexpected(std::string_view wanted = {}) {
    const Token& token = peek();
    std::string message =
        at_end() ? "syntax error at end of input"
                 : "syntax error at or near " +
                       quoted(text_.substr(token.offset,
                                           std::min<std::size_t>(token.end - token.offset, 40)));
    std::string hint{ask_help};
    if (!wanted.empty()) {
      std::string upper{wanted};
      for (char& c : upper)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
      hint = "here comes " + upper;
    }
    fail("42601", std::move(message), hint, token);
  }
  void not_here(const Token& token) {
    fail("0A000", "the console is not a database: it answers no queries but on its own views",
         ask_help, token);
  }

  // ---------------------------------------------------------------- statements

  Action action() {
    const Token first = peek();
    if (first.kind != Kind::word) {
      unexpected();
      return Plain{};
    }
    if (take("show")) return show();
    if (take("help")) return query_of(View::help, true);
    if (take("select")) return select();
    if (take("explain")) return explain(first);
    if (take("kill")) return kill(proxy::KillAction::terminate);
    if (take("cancel")) return kill(proxy::KillAction::cancel);
    if (take("exempt")) return exempt();
    if (take("pause", "enforcement")) return Plain{Plain::Kind::pause};
    if (take("resume", "enforcement")) return Plain{Plain::Kind::resume};
    if (take("reset", "fuse") || take("reset", "fuses")) return Plain{Plain::Kind::reset_fuse};
    if (take("reload")) return Plain{Plain::Kind::reload};
    if (take("drain")) return Plain{Plain::Kind::drain};
    return courtesy(first);
  }

  Action show() {
    const Token word = next();
    if (word.kind != Kind::word && word.kind != Kind::quoted) {
      --at_;
      unexpected();
      return Plain{};
    }
    if (const auto view = view_named(word.text)) {
      std::optional<std::string> origin;
      if (*view == View::sessions) origin = scope();
      Query query = query_of(*view, true);
      if (origin) narrow(query, *origin);
      return query;
    }
    if (word.text == "transaction" && take("isolation", "level"))
      return Setting{"transaction_isolation"};
    if (word.text == "time" && take("zone")) return Setting{"timezone"};
    return Setting{word.text};
  }

  std::optional<std::string> scope() {
    for (const std::string_view word : {"proxied", "direct", "background"})
      if (take(word)) return std::string{word};
    (void)take("all");
    return std::nullopt;
  }

  static void narrow(Query& query, const std::string& origin) {
    Condition only;
    only.kind = Condition::Kind::equal;
    only.column = *column_of(View::sessions, "origin");
    Value value;
    value.kind = Value::Kind::literal;
    value.text = origin;
    only.values.push_back(std::move(value));
    Condition both;
    both.kind = Condition::Kind::both;
    both.children.push_back(std::move(only));
    both.children.push_back(std::move(query.where));
    query.where = std::move(both);
  }

  /// All columns, and what may follow.
  Query query_of(View view, bool shown) {
    Query query;
    query.view = view;
    query.shown = shown;
    add_all(query);
    tail(query);
    return query;
  }

  static void add_all(Query& query) {
    const auto columns = columns_of(query.view);
    for (std::size_t i = 0; i < columns.size(); ++i)
      query.items.push_back({Item::Kind::column, i, columns[i].name});
  }

  void tail(Query& query) {
    view_ = query.view;
    if (take("where")) query.where = condition(0);
    if (take("order")) {
      expect("by");
      do order(query);
      while (!error_ && take(","));
    }
    for (;;) {
      if (take("limit")) {
        query.limit = take("all") ? std::nullopt : std::optional{value(Type::int8)};
      } else if (take("offset")) {
        query.offset = value(Type::int8);
      } else {
        return;
      }
    }
  }

  void order(Query& query) {
    Order one;
    if (peek().kind == Kind::number) {
      const Token number = next();
      std::size_t place = 0;
      std::from_chars(number.text.data(), number.text.data() + number.text.size(), place);
      if (place == 0 || place > query.items.size() ||
          query.items[place - 1].kind == Item::Kind::count)
        return fail("42P10", "ORDER BY position " + number.text + " is not in the list", {},
                    number);
      one.column = query.items[place - 1].column;
      one.age = query.items[place - 1].kind == Item::Kind::age;
    } else {
      // A name given in the list comes first.
      const Token& token = peek();
      const auto named =
          std::find_if(query.items.begin(), query.items.end(), [&](const Item& item) {
            return (token.kind == Kind::word || token.kind == Kind::quoted) &&
                   item.kind != Item::Kind::count && item.name == token.text;
          });
      if (named != query.items.end() && !is("(", 1)) {
        next();
        one.column = named->column;
        one.age = named->kind == Item::Kind::age;
      } else if (is_now()) {
        one.age = true;
        one.column = aged_column();
      } else {
        one.column = column();
      }
    }
    one.descending = take("desc");
    if (!one.descending) (void)take("asc");
    if (take("nulls") && !take("first") && !take("last")) unexpected();
    query.order.push_back(one);
  }

  // ---------------------------------------------------------------- select

  Action select() {
    const Token first = peek();
    if (is_signal()) return signal_function();
    // The view stands behind the list: look ahead for it.
    std::size_t from = at_;
    std::size_t depth = 0;
    for (;; ++from) {
      const Token& token = tokens_[from];
      if (token.kind == Kind::end ||
          (depth == 0 && token.kind == Kind::symbol && token.text == ";"))
        break;
      if (token.kind == Kind::symbol && token.text == "(") ++depth;
      if (token.kind == Kind::symbol && token.text == ")" && depth > 0) --depth;
      if (depth == 0 && token.kind == Kind::word && token.text == "from") break;
    }
    if (tokens_[from].text != "from" || tokens_[from].kind != Kind::word) return constants();
    std::size_t named = from + 1;
    if (named + 2 < tokens_.size() && tokens_[named].text == "pg_catalog" &&
        tokens_[named + 1].text == ".")
      named += 2;
    const auto view =
        tokens_[named].kind == Kind::word ? view_named(tokens_[named].text) : std::nullopt;
    if (!view) {
      not_here(tokens_[named]);
      return Plain{};
    }
    view_ = *view;
    Query query;
    query.view = *view;
    alias_ = alias_behind(named);
    list(query);
    if (error_) return Plain{};
    if (at_ != from) {
      unexpected("from");
      return Plain{};
    }
    at_ = named + 1;
    if (!alias_.empty()) {
      (void)take("as");
      next();
    }
    tail(query);
    alias_.clear();
    if (is("group") || is("union") || is("join") || is(",") || is("having") || is("for"))
      not_here(first);
    return query;
  }

  /// FROM pg_stat_activity AS a, or without the AS.
  [[nodiscard]] std::string alias_behind(std::size_t view) const {
    static constexpr std::array<std::string_view, 10> clauses{
        "where", "order", "limit", "offset", "group", "union", "join", "having", "for", "as"};
    std::size_t at = view + 1;
    if (at < tokens_.size() && tokens_[at].kind == Kind::word && tokens_[at].text == "as") ++at;
    if (at >= tokens_.size()) return {};
    const Token& token = tokens_[at];
    if (token.kind == Kind::quoted) return token.text;
    if (token.kind != Kind::word ||
        std::find(clauses.begin(), clauses.end(), token.text) != clauses.end())
      return {};
    return token.text;
  }

  void list(Query& query) {
    do {
      if (is("*")) {
        next();
        add_all(query);
      } else if (!alias_.empty() && peek().text == alias_ && is(".", 1) && is("*", 2)) {
        at_ += 3;
        add_all(query);
      } else {
        item(query);
      }
    } while (!error_ && take(","));
  }

  void item(Query& query) {
    Item one;
    const Token first = peek();
    if (is("count") && is("(", 1)) {
      at_ += 2;
      if (!take("*")) (void)column();
      expect(")");
      one.kind = Item::Kind::count;
      one.name = "count";
    } else if (is_signal()) {
      return once_per_row(first);
    } else if (is_now()) {
      one.kind = Item::Kind::age;
      one.column = aged_column();
      one.name = "?column?";
    } else {
      one.column = column();
      if (!error_) one.name = columns_of(view_)[one.column].name;
      while (take("::")) next();  // a cast of what is text on the wire anyway
    }
    if (take("as")) {
      one.name = next().text;
    } else if ((peek().kind == Kind::word && !is("from")) || peek().kind == Kind::quoted) {
      one.name = next().text;
    }
    const bool counts = one.kind == Item::Kind::count;
    if (!query.items.empty() && counts != (query.items.front().kind == Item::Kind::count))
      fail("42803", "count() stands alone: the console does not group", {}, first);
    query.items.push_back(std::move(one));
  }

  Action constants() {
    Constants all;
    do {
      Constants::Item one;
      one.name = "?column?";
      const Token first = peek();
      constexpr std::array<std::pair<std::string_view, Value::Kind>, 5> functions{
          {{"current_user", Value::Kind::current_user},
           {"session_user", Value::Kind::current_user},
           {"current_database", Value::Kind::current_database},
           {"pg_backend_pid", Value::Kind::backend_pid},
           {"now", Value::Kind::moment}}};
      (void)take("pg_catalog", ".");
      const auto function = std::find_if(functions.begin(), functions.end(),
                                         [&](const auto& known) { return is(known.first); });
      if (function != functions.end()) {
        one.name = next().text;
        if (take("(")) expect(")");
        one.value.kind = function->second;
        one.type = function->second == Value::Kind::backend_pid ? Type::int4
                   : function->second == Value::Kind::moment    ? Type::timestamp
                                                                : Type::name;
      } else if (is("version") && is("(", 1)) {
        at_ += 2;
        expect(")");
        one.name = "version";
        one.value.kind = Value::Kind::literal;
        one.value.text = "pgleash " PGLEASH_VERSION " console";
      } else if (is("pg_advisory_unlock_all") && is("(", 1)) {
        at_ += 2;  // how asyncpg hands a connection back to its pool
        expect(")");
        one.name = "pg_advisory_unlock_all";
        one.value.kind = Value::Kind::literal;
      } else if (first.kind == Kind::number || first.kind == Kind::string ||
                 first.kind == Kind::parameter || is("null") || is("true") || is("false")) {
        const bool whole = first.kind == Kind::number &&
                           first.text.find('.') == std::string::npos && first.text.size() < 10;
        one.type = whole                        ? Type::int4
                   : first.kind == Kind::number ? Type::float8
                   : is("true") || is("false")  ? Type::boolean
                                                : Type::text;
        one.value = value(one.type);
      } else {
        not_here(first);
        return Plain{};
      }
      while (take("::")) next();
      if (take("as") || peek().kind == Kind::word || peek().kind == Kind::quoted)
        one.name = next().text;
      all.items.push_back(std::move(one));
    } while (!error_ && take(","));
    return all;
  }

  // ---------------------------------------------------------------- signals

  [[nodiscard]] bool is_signal() const noexcept {
    const std::size_t at = is("pg_catalog") && is(".", 1) ? 2 : 0;
    return (is("pg_terminate_backend", at) || is("pg_cancel_backend", at)) && is("(", at + 1);
  }

  void once_per_row(const Token& where) {
    fail(
        {"0A000", "refused: this would fire once per row of the view",
         "With FROM, the function is called for each row, also with a literal pid, and for "
         "whatever "
         "process each row is.",
         "SELECT pg_terminate_backend(pid) without FROM ends one session; KILL WHERE … shows first "
         "whom it would end.",
         where.position});
  }

  Action signal_function() {
    const Token first = peek();
    (void)take("pg_catalog", ".");
    Signal signal;
    signal.as_function = true;
    signal.column = next().text;
    signal.action = signal.column == "pg_cancel_backend" ? proxy::KillAction::cancel
                                                         : proxy::KillAction::terminate;
    signal.whom.kind = Whom::Kind::pid;
    expect("(");
    if (const Token& token = peek();
        (token.kind == Kind::word || token.kind == Kind::quoted) && !is("null")) {
      // A column: of whatever row, so it can only be meant with FROM.
      once_per_row(first);
      return Plain{};
    }
    signal.whom.number = value(Type::int4);
    while (take("::")) next();
    if (take(",")) (void)value(Type::int8);  // a timeout: ours is that of the kill path
    expect(")");
    if (take("as")) {
      signal.column = next().text;
    } else if (peek().kind == Kind::word && !is("from") && !is("where") && !is("limit")) {
      signal.column = next().text;
    }
    if (is("from")) {
      once_per_row(first);
    } else if (is(",")) {
      fail("0A000", "one function call at a time",
           "every act has a verdict and an outcome of its own", peek());
    }
    return signal;
  }

  Action kill(proxy::KillAction action) {
    if (action == proxy::KillAction::terminate && take("confirm"))
      return Confirm{value(Type::text)};
    if (take("where")) {
      view_ = View::sessions;
      Preview preview;
      preview.action = action;
      preview.where = condition(0);
      return preview;
    }
    Signal signal;
    signal.action = action;
    signal.whom = whom();
    return signal;
  }

  Whom whom() {
    Whom one;
    if (take("session")) {
      one.number = value(Type::int8);
    } else if (take("pid")) {
      one.kind = Whom::Kind::pid;
      one.number = value(Type::int4);
    } else {
      fail("42601", "whom? a number alone may be a session's or a pid", "SESSION n, or PID n",
           peek());
    }
    return one;
  }

  Action explain(const Token& first) {
    Explain one;
    if (take("incident")) {
      if (peek().kind == Kind::word || peek().kind == Kind::number) {
        // An id without quotes: digits and letters, in pieces.
        one.incident.kind = Value::Kind::literal;
        std::size_t end = peek().offset;
        while (!at_end() && !is(";") && peek().offset == end) {
          end = peek().end;
          const Token piece = next();
          one.incident.text += text_.substr(piece.offset, piece.end - piece.offset);
        }
      } else {
        one.incident = value(Type::text);
      }
      return one;
    }
    if (!is("session") && !is("pid")) {
      not_here(first);
      return Plain{};
    }
    one.whom = whom();
    return one;
  }

  Action exempt() {
    Exempt one;
    one.whom = whom();
    expect("for");
    (void)take("interval");
    one.time = value(Type::interval);
    return one;
  }

  // ---------------------------------------------------------------- what drivers say

  Action courtesy(const Token& first) {
    Courtesy said;
    using Transaction = Courtesy::Transaction;
    if (take("set")) {
      (void)(take("session") || take("local"));
      said.tag = "SET";
      if (take("time", "zone")) {
        said.set_name = "timezone";
      } else {
        said.set_name = next().text;
        if (!take("=")) (void)take("to");
      }
      const std::size_t from = peek().offset;
      const Token value_token = peek();
      skip_statement();
      said.set_value = value_token.kind == Kind::string
                           ? value_token.text
                           : std::string{text_.substr(from, tokens_[at_ - 1].end - from)};
      return said;
    }
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 12> known{
        {{"begin", "BEGIN"},
         {"start", "START TRANSACTION"},
         {"commit", "COMMIT"},
         {"end", "COMMIT"},
         {"rollback", "ROLLBACK"},
         {"abort", "ROLLBACK"},
         {"reset", "RESET"},
         {"discard", "DISCARD ALL"},
         {"close", "CLOSE CURSOR ALL"},
         {"deallocate", "DEALLOCATE"},
         {"unlisten", "UNLISTEN"},
         {"listen", ""}}};
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const auto& one) { return one.first == first.text; });
    if (found == known.end() || found->second.empty()) {
      static constexpr std::array<std::string_view, 11> commands{
          "show",   "help",  "select", "explain", "kill", "cancel",
          "exempt", "pause", "resume", "reload",  "drain"};
      const auto meant = config::nearest(first.text, commands);
      std::string hint{ask_help};
      if (meant) hint = "did you mean " + std::string{*meant} + "? " + hint;
      static constexpr std::array<std::string_view, 16> sql{
          "insert", "update", "delete", "with",   "create", "alter",  "drop",   "copy",
          "values", "table",  "grant",  "revoke", "vacuum", "listen", "notify", "truncate"};
      if (std::find(sql.begin(), sql.end(), first.text) != sql.end()) {
        not_here(first);
      } else {
        fail("42601", "the console has no command " + quoted(first.text), hint, first);
      }
      return said;
    }
    said.tag = found->second;
    if (found->second == "BEGIN" || found->second == "START TRANSACTION")
      said.transaction = Transaction::begins;
    if (found->second == "COMMIT") said.transaction = Transaction::commits;
    if (found->second == "ROLLBACK") said.transaction = Transaction::rolls_back;
    if (found->second == "DEALLOCATE" && (is("all", 1) || is("all"))) said.tag = "DEALLOCATE ALL";
    skip_statement();
    return said;
  }

  void skip_statement() {
    while (!at_end() && !is(";")) next();
  }

  // ---------------------------------------------------------------- conditions

  Condition condition(std::size_t depth) { return chain(depth, true); }

  /// OR of ANDs.
  Condition chain(std::size_t depth, bool either) {
    Condition all;
    all.kind = either ? Condition::Kind::either : Condition::Kind::both;
    do all.children.push_back(either ? chain(depth, false) : negation(depth));
    while (!error_ && take(either ? "or" : "and"));
    if (all.children.size() == 1) {
      Condition only = std::move(all.children.front());
      return only;
    }
    return all;
  }

  Condition negation(std::size_t depth) {
    if (depth > max_depth) {
      fail("54001", "the condition is nested too deeply", {}, peek());
      return {};
    }
    if (take("not")) return inverse_of(negation(depth + 1));
    if (is_braced_age()) return comparison();
    if (take("(")) {
      Condition inner = condition(depth + 1);
      expect(")");
      return inner;
    }
    if (take("true")) return {};
    if (take("false")) return inverse_of({});
    return comparison();
  }

  /// "(now() - column)" with nothing else in it.
  [[nodiscard]] bool is_braced_age() const noexcept {
    std::size_t at = 1;
    if (!is("(") || !(is("now", at) || is("current_timestamp", at) || is("clock_timestamp", at)))
      return false;
    ++at;
    if (is("(", at) && is(")", at + 1)) at += 2;
    if (!is("-", at)) return false;
    ++at;
    while (is(".", at + 1)) at += 2;
    return is(")", at + 1);
  }

  static Condition inverse_of(Condition condition) {
    Condition inverse;
    inverse.kind = Condition::Kind::inverse;
    inverse.children.push_back(std::move(condition));
    return inverse;
  }

  [[nodiscard]] bool is_now() const noexcept {
    return (is("now") && is("(", 1)) || is("current_timestamp") ||
           (is("clock_timestamp") && is("(", 1));
  }
  void take_now() {
    next();
    if (take("(")) expect(")");
  }
  /// now() - column.
  std::size_t aged_column() {
    take_now();
    expect("-");
    const Token where = peek();
    const std::size_t found = column();
    if (!error_ && columns_of(view_)[found].type != Type::timestamp)
      fail("42883", quoted(where.text) + " is no point in time", {}, where);
    return found;
  }

  std::size_t column() {
    Token token = next();
    if (!alias_.empty() && token.text == alias_ && take(".")) token = next();
    if ((token.kind == Kind::word || token.kind == Kind::quoted) && view_named(token.text) &&
        take("."))
      token = next();
    if (token.kind != Kind::word && token.kind != Kind::quoted) {
      if (!error_) {
        if (token.kind != Kind::end) --at_;
        unexpected();
      }
      return 0;
    }
    if (const auto found = column_of(view_, token.text)) return *found;
    std::vector<std::string_view> names;
    for (const Column& one : columns_of(view_)) names.push_back(one.name);
    const auto meant = config::nearest(token.text, names);
    fail("42703", "column " + quoted(token.text) + " does not exist",
         meant ? "did you mean " + std::string{*meant} + '?'
               : "SHOW " + std::string{name(view_)} + " has them all",
         token);
    return 0;
  }

  Condition comparison() {
    Condition one;
    const bool braced = take("(");
    if (braced || is_now()) {
      one.age = true;
      one.column = aged_column();
      if (braced) expect(")");
    } else {
      one.column = column();
    }
    if (error_) return one;
    const Type type = one.age ? Type::interval : columns_of(view_)[one.column].type;
    while (take("::")) next();
    if (take("is")) {
      const bool inverse = take("not");
      if (take("distinct", "from")) {
        one.kind = inverse ? Condition::Kind::equal : Condition::Kind::unequal;
        one.values.push_back(value(type));
        return one;
      }
      if (take("true") || take("false")) {
        one.kind = Condition::Kind::truth;
        const bool wants_false = tokens_[at_ - 1].text == "false";
        return inverse != wants_false ? inverse_of(one) : one;
      }
      expect("null");
      one.kind = Condition::Kind::null;
      return inverse ? inverse_of(one) : one;
    }
    const bool inverse = take("not");
    if (take("in")) {
      one.kind = Condition::Kind::among;
      expect("(");
      do one.values.push_back(value(type));
      while (!error_ && take(","));
      expect(")");
      return inverse ? inverse_of(one) : one;
    }
    if (take("between")) {
      Condition upper = one;
      one.kind = Condition::Kind::at_least;
      one.values.push_back(value(type));
      expect("and");
      upper.kind = Condition::Kind::at_most;
      upper.values.push_back(value(type));
      Condition both;
      both.kind = Condition::Kind::both;
      both.children = {std::move(one), std::move(upper)};
      return inverse ? inverse_of(both) : both;
    }
    if (is("like") || is("ilike")) {
      one.kind = Condition::Kind::like;
      one.ignore_case = next().text == "ilike";
      one.values.push_back(value(Type::text));
      return inverse ? inverse_of(one) : one;
    }
    if (inverse) {
      unexpected();
      return one;
    }
    return operation(std::move(one), type);
  }

  Condition operation(Condition one, Type type) {
    using K = Condition::Kind;
    static constexpr std::array<std::pair<std::string_view, K>, 11> operators{
        {{"=", K::equal},
         {"<>", K::unequal},
         {"!=", K::unequal},
         {"<=", K::at_most},
         {">=", K::at_least},
         {"<", K::less},
         {">", K::more},
         {"~", K::matches},
         {"~*", K::matches},
         {"!~", K::matches},
         {"!~*", K::matches}}};
    const auto found = std::find_if(operators.begin(), operators.end(),
                                    [&](const auto& known) { return is(known.first); });
    if (found == operators.end()) {
      if (type == Type::boolean) {
        one.kind = K::truth;
      } else {
        unexpected();
      }
      return one;
    }
    next();
    one.kind = found->second;
    one.ignore_case = found->second == K::matches && found->first.ends_with('*');
    one.values.push_back(value(one.kind == K::matches ? Type::text : type));
    return found->first.starts_with("!~") ? inverse_of(std::move(one)) : one;
  }

  // ---------------------------------------------------------------- values

  /// One value of that type; a parameter gets the type.
  Value value(Type type) {
    Value one;
    const bool braced = take("(");
    one.position = peek().position;
    one.kind = Value::Kind::literal;
    if (is_now()) {
      take_now();
      one.kind = Value::Kind::moment;
      if (is("-") || is("+")) {
        const bool minus = next().text == "-";
        (void)take("interval");
        const Token span = next();
        const auto length = span.kind == Kind::string ? parse_span(span.text) : std::nullopt;
        if (!length) {
          fail("22007", "no interval: " + quoted(span.text), "'10m', '1 hour 30 minutes'", span);
        } else {
          one.offset.microseconds = minus ? -length->microseconds : length->microseconds;
        }
      }
    } else {
      (void)take("pg_catalog", ".");
      simple_value(one, type);
    }
    while (take("::")) next();
    if (braced) expect(")");
    return one;
  }

  void simple_value(Value& one, Type type) {
    const bool interval = take("interval");
    const bool minus = take("-");
    const Token token = next();
    if (minus && token.kind != Kind::number)
      return fail("42601", "a number comes behind the minus", {}, token);
    switch (token.kind) {
      case Kind::string:
      case Kind::number:
        one.text = (minus ? "-" : "") + token.text;
        return;
      case Kind::parameter:
        return parameter(one, type, token);
      case Kind::word:
        if (interval) break;
        if (token.text == "null") {
          one.kind = Value::Kind::null;
          return;
        }
        if (token.text == "true" || token.text == "false") {
          one.text = token.text;
          return;
        }
        if (token.text == "current_user" || token.text == "session_user") {
          one.kind = Value::Kind::current_user;
          return;
        }
        if (token.text == "pg_backend_pid" || token.text == "current_database") {
          expect("(");
          expect(")");
          one.kind = token.text == "pg_backend_pid" ? Value::Kind::backend_pid
                                                    : Value::Kind::current_database;
          return;
        }
        break;
      default:
        break;
    }
    if (token.kind != Kind::end) --at_;
    unexpected();
  }

  void parameter(Value& one, Type type, const Token& token) {
    std::size_t number = 0;
    const auto [end, bad] =
        std::from_chars(token.text.data(), token.text.data() + token.text.size(), number);
    if (bad != std::errc{} || number == 0 || number > max_parameters)
      return fail("42P02", "there is no parameter $" + token.text, {}, token);
    one.kind = Value::Kind::parameter;
    one.parameter = number - 1;
    auto& types = statement_.parameters;
    if (types.size() < number) types.resize(number, Type::text);
    types[number - 1] = type;
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  View view_ = View::sessions;
  std::string alias_;
  Statement statement_;
  std::optional<SqlError> error_;
};

}  // namespace

Outcome<std::vector<Statement>> parse(std::string_view text) {
  if (text.size() > max_statement)
    return SqlError{"54000", "the statement is too long",
                    "the console reads at most " + std::to_string(max_statement) + " bytes"};
  auto tokens = tokens_of(text);
  if (!tokens) return std::move(tokens.error());
  return Parser{text, std::move(*tokens)}.all();
}

}  // namespace pgleash::console
