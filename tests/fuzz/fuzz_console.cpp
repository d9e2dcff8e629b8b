#include "app/console/filter.hpp"
#include "app/console/inbox.hpp"
#include "app/console/parser.hpp"
#include "app/console/reply.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

using namespace pgleash::console;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

void look_at(const Statement& statement) {
  const auto columns = columns_of(statement.action);
  Scope scope;
  scope.user = "alice";
  scope.database = "pgleash";
  scope.parameters.assign(statement.parameters.size(), "1");
  if (const auto answer = answer_alone(statement.action, scope)) {
    require(!*answer || columns.has_value() == (*answer)->table.has_value(),
            "what was described comes");
    return;
  }
  if (const auto* query = std::get_if<Query>(&statement.action)) {
    std::vector<Row> rows(2, Row(columns_of(query->view).size(), Cell{Null{}}));
    const auto table = run(*query, std::move(rows), scope);
    require(!table || table->columns == *columns, "what was described comes");
  }
  if (const auto* preview = std::get_if<Preview>(&statement.action))
    (void)compile(preview->where, View::sessions, scope);
}

}  // namespace

/// Any text is read or refused with a code; what is read means the same when it is read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto parsed = parse(text);
  if (parsed) {
    for (const Statement& one : *parsed) {
      const auto again = parse(one.text);
      require(again && again->size() == 1, "a statement alone is read as well");
      require(again->front().action.index() == one.action.index(), "and is of the same sort");
      look_at(one);
    }
  } else {
    require(parsed.error().sqlstate.size() == 5, "an error has a code");
    require(parsed.error().position <= text.size() + 1, "and a place in the text");
  }
  Inbox inbox;
  inbox.add(text);
  std::size_t taken = 0;
  while (const auto message = inbox.next()) taken += message->body.size() + 5;
  require(taken <= size, "no byte is read twice");
  return 0;
}
