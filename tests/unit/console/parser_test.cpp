#include "app/console/parser.hpp"

#include "app/console/reply.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgleash::console {
namespace {

using testing::HasSubstr;

Statement one(std::string_view text) {
  auto parsed = parse(text);
  EXPECT_TRUE(parsed) << text << ": " << parsed.error().message;
  if (!parsed || parsed->size() != 1) {
    ADD_FAILURE() << text;
    return {};
  }
  return parsed->front();
}

template <class T>
T read(std::string_view text) {
  Statement statement = one(text);
  if (auto* action = std::get_if<T>(&statement.action)) return std::move(*action);
  ADD_FAILURE() << text << " means something else";
  return {};
}

SqlError fault(std::string_view text) {
  auto parsed = parse(text);
  EXPECT_FALSE(parsed) << text;
  return parsed ? SqlError{} : parsed.error();
}

TEST(ConsoleParser, ShowsEachView) {
  EXPECT_EQ(read<Query>("SHOW SESSIONS").view, View::sessions);
  EXPECT_EQ(read<Query>("show rules;").view, View::rules);
  EXPECT_EQ(read<Query>("Show Fuses").view, View::fuses);
  EXPECT_EQ(read<Query>("HELP").view, View::help);
  EXPECT_EQ(
      read<Query>("SHOW CONFIG WHERE key LIKE 'rule%' ORDER BY key DESC LIMIT 3").order.size(), 1U);
}

TEST(ConsoleParser, SessionsBeginWithTheColumnsOfPgStatActivity) {
  const auto columns = columns_of(one("select * from pg_stat_activity").action);
  ASSERT_TRUE(columns);
  const std::vector<Column> first(columns->begin(), columns->begin() + 22);
  EXPECT_EQ(first.front(), (Column{"datid", Type::oid}));
  EXPECT_EQ(first[1], (Column{"datname", Type::name}));
  EXPECT_EQ(first[7], (Column{"client_addr", Type::inet}));
  EXPECT_EQ(first.back(), (Column{"backend_type", Type::text}));
}

TEST(ConsoleParser, AnswersTheChoresOwnStatements) {
  for (const char* text :
       {"select * from pg_stat_activity", "SELECT * FROM pg_catalog.pg_stat_activity;",
        "select pid, state from pg_stat_activity where state = 'idle'",
        "select a.* from pg_stat_activity a where a.pid <> pg_backend_pid()",
        "select count(*) from pg_stat_activity where datname = 'x'",
        "SELECT pid, now() - query_start AS duration, query FROM pg_stat_activity "
        "WHERE (now() - pg_stat_activity.query_start) > interval '5 minutes' "
        "ORDER BY duration DESC LIMIT 5"})
    EXPECT_EQ(read<Query>(text).view, View::sessions) << text;
}

TEST(ConsoleParser, APidInAFunctionIsAKillOfThatPid) {
  for (const char* text :
       {"select pg_terminate_backend(48)", "SELECT pg_catalog.pg_terminate_backend(48);",
        "select pg_terminate_backend(48, 5000)", "select pg_terminate_backend('48'::int)"}) {
    const auto signal = read<Signal>(text);
    EXPECT_TRUE(signal.as_function) << text;
    EXPECT_EQ(signal.action, proxy::KillAction::terminate) << text;
    EXPECT_EQ(signal.whom.kind, Whom::Kind::pid) << text;
    EXPECT_EQ(signal.whom.number.text, "48") << text;
  }
  EXPECT_EQ(read<Signal>("select pg_cancel_backend(7)").action, proxy::KillAction::cancel);
}

TEST(ConsoleParser, TheOncePerRowFormIsRefusedInAllItsShapes) {
  for (const char* text :
       {"select pg_terminate_backend(48) from pg_stat_activity",
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'orders'",
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity",
        "select pid, pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
        "select pg_terminate_backend(48) as done from anything",
        "select pg_cancel_backend(a.pid) from pg_stat_activity a"}) {
    const SqlError error = fault(text);
    EXPECT_EQ(error.sqlstate, "0A000") << text;
    EXPECT_THAT(error.message, HasSubstr("once per row")) << text;
    EXPECT_THAT(error.hint, HasSubstr("KILL WHERE")) << text;
  }
}

TEST(ConsoleParser, ReadsTheCommands) {
  EXPECT_EQ(read<Signal>("KILL SESSION 17").whom.kind, Whom::Kind::session);
  EXPECT_EQ(read<Signal>("cancel pid 48").action, proxy::KillAction::cancel);
  EXPECT_EQ(read<Preview>("KILL WHERE state = 'idle'").action, proxy::KillAction::terminate);
  EXPECT_EQ(read<Confirm>("KILL CONFIRM 'ABC'").token.text, "ABC");
  EXPECT_EQ(read<Exempt>("EXEMPT SESSION 3 FOR '10m'").time.text, "10m");
  EXPECT_EQ(read<Plain>("PAUSE ENFORCEMENT").kind, Plain::Kind::pause);
  EXPECT_EQ(read<Plain>("resume enforcement").kind, Plain::Kind::resume);
  EXPECT_EQ(read<Plain>("RESET FUSE").kind, Plain::Kind::reset_fuse);
  EXPECT_EQ(read<Plain>("RELOAD").kind, Plain::Kind::reload);
  EXPECT_EQ(read<Plain>("DRAIN").kind, Plain::Kind::drain);
  EXPECT_EQ(read<Explain>("EXPLAIN INCIDENT 6QW623CVN4S4R000").incident.text, "6QW623CVN4S4R000");
  EXPECT_TRUE(read<Explain>("EXPLAIN PID 5").whom);
}

TEST(ConsoleParser, TakesWhatDriversSay) {
  for (const char* text :
       {"BEGIN", "START TRANSACTION ISOLATION LEVEL READ COMMITTED", "COMMIT", "ROLLBACK",
        "SET extra_float_digits = 3", "SET SESSION application_name TO 'x'", "SET TIME ZONE 'UTC'",
        "DISCARD ALL", "RESET ALL", "CLOSE ALL", "UNLISTEN *", "DEALLOCATE ALL",
        "set client_encoding to 'UTF8'"})
    (void)read<Courtesy>(text);
  EXPECT_EQ(read<Setting>("SHOW TRANSACTION ISOLATION LEVEL").name, "transaction_isolation");
  EXPECT_EQ(read<Setting>("show standard_conforming_strings").name, "standard_conforming_strings");
  EXPECT_EQ(read<Constants>("select 1").items.front().type, Type::int4);
  EXPECT_EQ(read<Constants>("select version(), current_user, pg_backend_pid()").items.size(), 3U);
}

TEST(ConsoleParser, SeparatesStatements) {
  const auto parsed = parse("show version ; ; -- and then\n show /* really */ help");
  ASSERT_TRUE(parsed);
  ASSERT_EQ(parsed->size(), 2U);
  EXPECT_EQ((*parsed)[0].text, "show version");
  EXPECT_EQ((*parsed)[1].text, "show /* really */ help");
  EXPECT_TRUE(parse("")->empty());
  EXPECT_TRUE(parse(" ;; -- nothing")->empty());
}

TEST(ConsoleParser, ErrorsNameTheCharacterAndTheWayOut) {
  SqlError error = fault("show sessions where ünknown = 1");
  EXPECT_EQ(error.sqlstate, "42703");
  EXPECT_EQ(error.position, 21U);
  error = fault("show sessions where sate = 'idle'");
  EXPECT_THAT(error.hint, HasSubstr("state"));
  error = fault("kil session 3");
  EXPECT_EQ(error.sqlstate, "42601");
  EXPECT_THAT(error.hint, HasSubstr("kill"));
  EXPECT_EQ(fault("kill 48").sqlstate, "42601") << "a number alone may be a session or a pid";
  EXPECT_EQ(fault("select * from orders").sqlstate, "0A000");
  EXPECT_EQ(fault("drop table orders").sqlstate, "0A000");
  EXPECT_EQ(fault("update pg_stat_activity set pid = 1").sqlstate, "0A000");
  EXPECT_EQ(fault("show sessions where").sqlstate, "42601");
  EXPECT_EQ(fault("kill session").sqlstate, "42601");
  EXPECT_EQ(fault("show sessions order by 99").sqlstate, "42P10");
  EXPECT_EQ(fault("select pid, count(*) from sessions").sqlstate, "42803");
  EXPECT_EQ(fault("select * from sessions, rules").sqlstate, "0A000");
}

TEST(ConsoleParser, OneFaultRefusesTheWholeText) {
  EXPECT_FALSE(parse("kill session 3; kil session 4"));
}

TEST(ConsoleParser, SurvivesHostileInput) {
  EXPECT_EQ(fault("show sessions where application = 'x").sqlstate, "42601");
  EXPECT_EQ(fault("/* /* */").sqlstate, "42601");
  EXPECT_EQ(fault("select $x$ nothing ends this").sqlstate, "42601");
  EXPECT_EQ(fault(std::string("show \xff\xfe")).sqlstate, "22021");
  EXPECT_EQ(fault(std::string(max_statement + 1, ' ')).sqlstate, "54000");
  EXPECT_EQ(fault("show sessions where " + std::string(5000, '(') + "true").sqlstate, "54001");
  std::string nots = "show sessions where ";
  for (int i = 0; i < 2000; ++i) nots += "not ";
  EXPECT_EQ(fault(nots + "true").sqlstate, "54001");
  EXPECT_EQ(fault("kill pid $0").sqlstate, "42P02");
  EXPECT_EQ(fault("kill pid $65").sqlstate, "42P02");
  EXPECT_EQ(fault("kill pid $99999999999999999999").sqlstate, "42P02");
}

TEST(ConsoleParser, EveryBeginningOfAStatementIsReadOrRefused) {
  for (const std::string text :
       {"SELECT pid, now() - query_start AS d FROM pg_stat_activity a WHERE NOT (state IN ('idle', "
        "$1) OR a.pid <> pg_backend_pid()) AND query ~* 'x' ORDER BY d DESC, 1 LIMIT $2 OFFSET 3",
        "EXEMPT SESSION 12 FOR interval '1 hour'; KILL CONFIRM E'a\\'b'; SET x TO $$y$$"})
    for (std::size_t length = 0; length <= text.size(); ++length)
      (void)parse(std::string_view{text}.substr(0, length));
}

TEST(ConsoleParser, AQuotedNameOfAnApplicationStaysAValue) {
  const auto preview =
      read<Preview>("KILL WHERE application = 'x''; KILL SESSION 1; --' AND state = 'idle'");
  ASSERT_EQ(preview.where.children.size(), 2U);
  EXPECT_EQ(preview.where.children[0].values[0].text, "x'; KILL SESSION 1; --");
}

TEST(ConsoleParser, ParametersHaveTheTypeOfTheirPlace) {
  const Statement statement = one("select * from sessions where pid = $2 and state = $1 limit $3");
  EXPECT_EQ(statement.parameters, (std::vector<Type>{Type::text, Type::int4, Type::int8}));
  EXPECT_EQ(one("kill session $1").parameters, std::vector<Type>{Type::int8});
}

TEST(ConsoleParser, ReadsSpans) {
  constexpr std::int64_t second = 1'000'000;
  EXPECT_EQ(parse_span("90s")->microseconds, 90 * second);
  EXPECT_EQ(parse_span("1h30m")->microseconds, 5400 * second);
  EXPECT_EQ(parse_span(" 2 days 3 hours ")->microseconds, (2 * 86'400 + 3 * 3600) * second);
  EXPECT_EQ(parse_span("00:05:10")->microseconds, 310 * second);
  EXPECT_EQ(parse_span("1 day 01:00")->microseconds, (86'400 + 3600) * second);
  EXPECT_EQ(parse_span("366000 d")->microseconds, std::int64_t{366'000} * 86'400 * second);
  EXPECT_EQ(parse_span("8784000:00:00")->microseconds, std::int64_t{366'000} * 86'400 * second);
  for (const char* bad :
       {"", " ", "5", "-5m", "5 parsecs", "1:60", "99999999999999999d", "m5", "1:2:3:4", "366001 d",
        "8784001:00", "8784000:00:01", "31622400000000000:00"})
    EXPECT_FALSE(parse_span(bad)) << bad;
}

TEST(ConsoleParser, RolesAreThoseOfTheCommand) {
  EXPECT_EQ(role_for(one("show sessions").action), Role::viewer);
  EXPECT_EQ(role_for(one("explain session 1").action), Role::viewer);
  EXPECT_EQ(role_for(one("kill where true").action), Role::op);
  EXPECT_EQ(role_for(one("select pg_terminate_backend(1)").action), Role::op);
  EXPECT_EQ(role_for(one("pause enforcement").action), Role::op);
  EXPECT_EQ(role_for(one("reload").action), Role::admin);
  EXPECT_EQ(role_for(one("drain").action), Role::admin);
  config::Console console;
  console.viewers = {"ann", "bob"};
  console.admins = {"bob"};
  EXPECT_EQ(role_of(console, "ann"), Role::viewer);
  EXPECT_EQ(role_of(console, "bob"), Role::admin);
  EXPECT_EQ(role_of(console, "Ann"), Role::none);
  EXPECT_EQ(role_of(console, ""), Role::none);
}

}  // namespace
}  // namespace pgleash::console
