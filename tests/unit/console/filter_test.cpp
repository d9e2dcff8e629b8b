#include "app/console/filter.hpp"

#include "app/console/parser.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::console {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using watchdog::ServerTime;

constexpr std::int64_t second = 1'000'000;
constexpr ServerTime now{1'000'000 * second};

Row session(std::int64_t pid, const char* state, Cell state_change, const char* application) {
  Row row(columns_of(View::sessions).size(), Cell{Null{}});
  const auto set = [&](const char* name, Cell cell) {
    row[*column_of(View::sessions, name)] = std::move(cell);
  };
  set("pid", pid);
  set("state", std::string{state});
  set("state_change", std::move(state_change));
  set("application", text_or_null(application));
  set("superuser", false);
  return row;
}

std::vector<Row> scene() {
  return {session(1, "idle", ServerTime{now.microseconds - 600 * second}, "web"),
          session(2, "active", ServerTime{now.microseconds - 5 * second}, "batch"),
          session(3, "idle in transaction", ServerTime{now.microseconds - 60 * second}, "web-api"),
          session(4, "idle", Null{}, "")};
}

Outcome<Table> ask(std::string_view text, std::vector<std::optional<std::string>> parameters = {}) {
  auto parsed = parse(text);
  if (!parsed) return parsed.error();
  Scope scope;
  scope.user = "alice";
  scope.database = "pgleash";
  scope.now = now;
  scope.parameters = std::move(parameters);
  return run(std::get<Query>(parsed->front().action), scene(), scope);
}

std::vector<std::string> pids(std::string_view condition,
                              std::vector<std::optional<std::string>> parameters = {}) {
  const auto table =
      ask("select pid from sessions " + std::string{condition}, std::move(parameters));
  EXPECT_TRUE(table) << condition << ": " << table.error().message;
  std::vector<std::string> found;
  if (table)
    for (const Row& row : table->rows) found.push_back(to_text(row[0], Type::int4));
  return found;
}

TEST(ConsoleFilter, ComparesByType) {
  EXPECT_THAT(pids("where pid = 2"), ElementsAre("2"));
  EXPECT_THAT(pids("where pid > '2'"), ElementsAre("3", "4"));
  EXPECT_THAT(pids("where state <> 'idle'"), ElementsAre("2", "3"));
  EXPECT_THAT(pids("where pid in (1, 3, 9)"), ElementsAre("1", "3"));
  EXPECT_THAT(pids("where pid between 2 and 3"), ElementsAre("2", "3"));
  EXPECT_THAT(pids("where not superuser and pid < 2"), ElementsAre("1"));
}

TEST(ConsoleFilter, MatchesTexts) {
  EXPECT_THAT(pids("where state like 'idle%'"), ElementsAre("1", "3", "4"));
  EXPECT_THAT(pids("where state not like 'idle%'"), ElementsAre("2"));
  EXPECT_THAT(pids("where application ilike 'WEB_API'"), ElementsAre("3"));
  EXPECT_THAT(pids("where application ~ '^web$'"), ElementsAre("1"));
  EXPECT_THAT(pids("where application !~* 'WEB'"), ElementsAre("2"));
}

TEST(ConsoleFilter, KnowsAges) {
  EXPECT_THAT(pids("where state_change < now() - interval '30 seconds'"), ElementsAre("1", "3"));
  EXPECT_THAT(pids("where now() - state_change > interval '5 min'"), ElementsAre("1"));
  EXPECT_THAT(pids("where (now() - state_change) > '5 min'"), ElementsAre("1"));
  EXPECT_THAT(pids("order by now() - state_change desc"), ElementsAre("4", "1", "3", "2"));
}

TEST(ConsoleFilter, WhatComparesWithNothingIsNeitherTrueNorFalse) {
  EXPECT_THAT(pids("where application = 'x' or application <> 'x'"), ElementsAre("1", "2", "3"));
  EXPECT_THAT(pids("where not (application = 'web')"), ElementsAre("2", "3"));
  EXPECT_THAT(pids("where application is null"), ElementsAre("4"));
  EXPECT_THAT(pids("where application is not null"), ElementsAre("1", "2", "3"));
  EXPECT_THAT(pids("where pid in (1, null)"), ElementsAre("1"));
  EXPECT_THAT(pids("where pid not in (1, null)"), IsEmpty());
}

TEST(ConsoleFilter, OrdersAndLimits) {
  EXPECT_THAT(pids("order by pid desc limit 2"), ElementsAre("4", "3"));
  EXPECT_THAT(pids("order by state, pid desc"), ElementsAre("2", "4", "1", "3"));
  EXPECT_THAT(pids("order by 1 offset 3"), ElementsAre("4"));
  EXPECT_THAT(pids("limit 0"), IsEmpty());
  EXPECT_EQ(ask("show sessions limit -1").error().sqlstate, "2201W");
}

TEST(ConsoleFilter, Counts) {
  const auto table = ask("select count(*) from pg_stat_activity where state = 'idle'");
  ASSERT_TRUE(table);
  EXPECT_EQ(table->rows, (std::vector<Row>{{Cell{std::int64_t{2}}}}));
}

TEST(ConsoleFilter, TakesParameters) {
  EXPECT_THAT(pids("where pid = $1 or state = $2", {"3", "active"}), ElementsAre("2", "3"));
  EXPECT_THAT(pids("where pid = $1", {std::nullopt}), IsEmpty());
  EXPECT_EQ(ask("select pid from sessions where pid = $1", {"x"}).error().sqlstate, "22P02");
}

TEST(ConsoleFilter, RefusesWhatIsNoValue) {
  EXPECT_EQ(ask("show sessions where pid = 'many'").error().sqlstate, "22P02");
  EXPECT_EQ(ask("show sessions where pid = 99999999999").error().sqlstate, "22003");
  EXPECT_EQ(ask("show sessions where backend_start > 'yesterday'").error().sqlstate, "22P02");
  EXPECT_EQ(ask("show sessions where application ~ '('").error().sqlstate, "2201B");
  EXPECT_EQ(ask("show sessions where pid = now()").error().sqlstate, "42883");
}

TEST(ConsoleFilter, ReadsMoments) {
  EXPECT_THAT(pids("where state_change >= '2000-01-12 13:46:30+00'"), ElementsAre("2"));
  EXPECT_EQ(ask("show sessions where state_change > '2000-13-01'").error().sqlstate, "22P02");
}

TEST(ConsoleTable, TextIsSafeOnAnyTerminal) {
  EXPECT_EQ(cleaned("a\x1b[31mred\x07"), "a\\x1b[31mred\\x07");
  EXPECT_EQ(cleaned(std::string_view{"a\0b", 3}), "ab");
  EXPECT_EQ(cleaned("line\nbreak\ttab"), "line\nbreak\ttab");
  EXPECT_EQ(cleaned("bad \xff byte"), "bad \xef\xbf\xbd byte");
  EXPECT_EQ(cleaned("csi \xc2\x9b"), "csi \\u009b");
}

TEST(ConsoleTable, ShowsValuesAsPostgreSqlDoes) {
  EXPECT_EQ(to_text(ServerTime{0}, Type::timestamp), "2000-01-01 00:00:00+00");
  EXPECT_EQ(to_text(ServerTime{1'500'000}, Type::timestamp), "2000-01-01 00:00:01.5+00");
  EXPECT_EQ(to_text(ServerTime{-1}, Type::timestamp), "1999-12-31 23:59:59.999999+00");
  EXPECT_EQ(to_text(Span{3'723'500'000}, Type::interval), "01:02:03.5");
  EXPECT_EQ(to_text(Span{-1'000'000}, Type::interval), "-00:00:01");
  EXPECT_EQ(to_text(true, Type::boolean), "t");
}

}  // namespace
}  // namespace pgleash::console
