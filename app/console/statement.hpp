#pragma once

#include "app/console/table.hpp"
#include "app/console/view.hpp"
#include "proxy/kill_order.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

/// What a statement means. Values only; see parser.hpp for how they are written.
namespace pgleash::console {

/// A literal, a parameter, or a function without arguments.
struct Value {
  enum class Kind : std::uint8_t {
    null,
    literal,    ///< `text`, quoted or a number or true and false
    parameter,  ///< `parameter` from 0
    moment,     ///< now(), with `offset` added
    backend_pid,
    current_user,
    current_database,
  };
  Kind kind = Kind::null;
  std::string text;
  std::size_t parameter = 0;
  Span offset;
  std::size_t position = 0;
};

struct Condition {
  enum class Kind : std::uint8_t {
    always,
    both,
    either,
    inverse,  ///< of the only child
    equal,
    unequal,
    less,
    at_most,
    more,
    at_least,
    matches,  ///< a regular expression finds something
    like,
    among,  ///< IN
    null,   ///< IS NULL
    truth,  ///< a boolean column alone
  };
  Kind kind = Kind::always;
  std::vector<Condition> children;
  std::size_t column = 0;
  bool age = false;  ///< now() - column
  bool ignore_case = false;
  std::vector<Value> values;
};

struct Order {
  std::size_t column = 0;
  bool age = false;
  bool descending = false;
};

/// A result column of a query.
struct Item {
  enum class Kind : std::uint8_t { column, age, count };
  Kind kind = Kind::column;
  std::size_t column = 0;
  std::string name;
};

/// SHOW view …, SELECT … FROM view ….
struct Query {
  View view = View::sessions;
  std::vector<Item> items;  ///< never empty
  Condition where;
  std::vector<Order> order;
  std::optional<Value> limit;
  std::optional<Value> offset;
  bool shown = false;  ///< SHOW: its tag says so
};

/// SELECT 1, SELECT version(): what drivers ask for to see that somebody is there.
struct Constants {
  struct Item {
    Value value;
    Type type = Type::text;
    std::string name;
  };
  std::vector<Item> items;
};

/// SHOW search_path: a setting that drivers know.
struct Setting {
  std::string name;
};

/// BEGIN, SET, DISCARD and the like: nothing but a tag, and what it makes of the transaction.
struct Courtesy {
  enum class Transaction : std::uint8_t { same, begins, commits, rolls_back };
  std::string tag;
  Transaction transaction = Transaction::same;
  std::string set_name;  ///< SET: what, and to what
  std::string set_value;
};

/// Whom a command is about.
struct Whom {
  enum class Kind : std::uint8_t { session, pid };
  Kind kind = Kind::session;
  Value number;
};

struct Explain {
  std::optional<Whom> whom;
  Value incident;  ///< when it is about nobody
};

/// KILL, CANCEL; pg_terminate_backend(), pg_cancel_backend().
struct Signal {
  proxy::KillAction action = proxy::KillAction::terminate;
  Whom whom;
  bool as_function = false;  ///< answers with a boolean, as PostgreSQL's functions do
  std::string column;        ///< of as_function
};

/// KILL WHERE …: shows whom it would be about.
struct Preview {
  proxy::KillAction action = proxy::KillAction::terminate;
  Condition where;
};

/// KILL CONFIRM 'token'.
struct Confirm {
  Value token;
};

struct Exempt {
  Whom whom;
  Value time;
};

/// Commands without arguments.
struct Plain {
  enum class Kind : std::uint8_t { pause, resume, reset_fuse, reload, drain };
  Kind kind = Kind::pause;
};

using Action = std::variant<Query, Constants, Setting, Courtesy, Explain, Signal, Preview, Confirm,
                            Exempt, Plain>;

/// One statement of a text.
struct Statement {
  Action action;
  std::vector<Type> parameters;  ///< of $1, $2 …
  std::string text;              ///< as written
};

}  // namespace pgleash::console
