#include "protocol/statement_texts.hpp"

#include <gtest/gtest.h>

#include <string>

namespace pgleash::protocol {
namespace {

/// One letter a trait: c ends, b starts, B only starts, m maintenance, d dump snapshot, s savepoint
/// rollback, u unlistens all, e exports its snapshot, + starts a backup, - stops it, ? unknown.
std::string letters(StatementTraits traits) {
  std::string found;
  if (traits.ends_transaction) found += 'c';
  if (traits.starts_transaction) found += traits.only_starts ? 'B' : 'b';
  if (traits.maintenance) found += 'm';
  if (traits.dump_snapshot) found += 'd';
  if (traits.savepoint_rollback) found += 's';
  if (traits.unlistens_all) found += 'u';
  if (traits.exports_snapshot) found += 'e';
  if (traits.starts_backup) found += '+';
  if (traits.stops_backup) found += '-';
  if (traits.unknown) found += '?';
  return found;
}

struct Row {
  const char* text;
  const char* traits;
};

class StatementTraitsTable : public ::testing::TestWithParam<Row> {};

TEST_P(StatementTraitsTable, ReadsTheKeywords) {
  EXPECT_EQ(letters(read_traits(GetParam().text, false)), GetParam().traits) << GetParam().text;
}

const Row transactions[] = {
    {"", ""},
    {"select 1", ""},
    {";;; ;", ""},
    {"COMMIT", "c"},
    {"commit;", "c"},
    {"  \n\tCommit And Chain", "c"},
    {"END", "c"},
    {"end transaction", "c"},
    {"PREPARE TRANSACTION 'x'", "c"},
    {"COMMIT PREPARED 'x'", "c"},
    {"PREPARE stmt AS SELECT 1", ""},
    {"ROLLBACK", ""},
    {"ABORT", ""},
    {"ROLLBACK PREPARED 'x'", ""},
    {"BEGIN", "B"},
    {"START TRANSACTION", "B"},
    {"; begin /* a */ ;", "B"},
    {"START_REPLICATION SLOT s LOGICAL 0/0", ""},
    {"BEGIN; UPDATE t SET a = 1; COMMIT", "cb"},
    {"select 1; commit", "c"},
    {"select 1; \t\r\n", ""},
    {"select 1; \t\r\ncommit", "c"},
    {"select 1;;commit", "c"},
    {"select ';'; commit", "c"},
    {"select ';' commit", ""},
    {"select 1 /* ; */; commit", "c"},
    {"select 1; -- commit", ""},
    {"committed", ""},
    {"select commit", ""},
    {"select 1 end", ""},
    {"SELECT CASE WHEN true THEN 1 END; SELECT 2", ""},
};
INSTANTIATE_TEST_SUITE_P(Transactions, StatementTraitsTable, ::testing::ValuesIn(transactions));

const Row others_depend_on_it[] = {
    {"SELECT pg_export_snapshot()", "e"},
    {"select pg_catalog.PG_Export_Snapshot ( )", "e"},
    {"BEGIN; SELECT a, pg_export_snapshot() FROM t", "be"},
    {"SELECT 'pg_export_snapshot()'", ""},
    {"SELECT 1 -- pg_export_snapshot()", ""},
    {"SELECT pg_export_snapshot FROM t", ""},
    {"SELECT my_pg_export_snapshot()", ""},
    {"SELECT pg_backup_start('nightly', fast => true)", "+"},
    {"SELECT pg_start_backup('nightly', true, false)", "+"},
    {"SELECT * FROM pg_backup_stop(wait_for_archive => true)", "-"},
    {"SELECT * FROM pg_stop_backup(false)", "-"},
};
INSTANTIATE_TEST_SUITE_P(OthersDependOnIt, StatementTraitsTable,
                         ::testing::ValuesIn(others_depend_on_it));

const Row quoting[] = {
    {"select '; commit'", ""},
    {"select 'it''s'; commit", "c"},
    {"select 'a\\'; commit; --'", "c"},
    {"select E'a\\'; commit; --'", ""},
    {"select e'\\\\'; commit", "c"},
    {"select E'it''s \\' x'; commit", "c"},
    {"select \"; commit\"", ""},
    {"select \"a\"\"; commit\"", ""},
    {"select U&'; commit'", ""},
    {"select n'; commit'", ""},
    {"select re'\\'; commit", "c"},
    {"select $$; commit; $$", ""},
    {"select $a$; $$ commit; $b$ $a$; commit", "c"},
    {"select $a$; commit; $A$", ""},
    {"select a$b$; commit; select $c$", "c"},
    {"select $1; commit; select $1", "c"},
    {"select 1$2; commit; select 1$2", "c"},
    {"select '; commit", ""},
    {"select $$; commit", ""},
    {"-- ; commit\nselect 1", ""},
    {"-- x\rcommit", "c"},
    {"/* commit; */ select 1", ""},
    {"/* a /* b */ ; commit; */ select 1", ""},
    {"/* a /* b */ */ commit", "c"},
    {"/* unfinished ; commit", ""},
    {"select 1 -- x", ""},
    {"select 2 - -1; commit", "c"},
    {"select 4/2; commit", "c"},
    {"/*pgleash:keep*/ commit", "c"},
    {"do $$ begin commit; end $$", ""},
    {"\xc3\xa9t\xc3\xa9; commit", "c"},
};
INSTANTIATE_TEST_SUITE_P(Quoting, StatementTraitsTable, ::testing::ValuesIn(quoting));

const Row bodies[] = {
    {"CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; commit)", ""},
    {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END",
     ""},
    {"CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END; COMMIT", "c"},
    {"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'; BEGIN", "b"},
    {"select (1); commit", "c"},
    {"select ); commit", "c"},
};
INSTANTIATE_TEST_SUITE_P(Bodies, StatementTraitsTable, ::testing::ValuesIn(bodies));

const Row maintenance[] = {
    {"VACUUM t", "m"},
    {"ANALYZE", "m"},
    {"analyse t", "m"},
    {"EXPLAIN ANALYZE SELECT 1", ""},
    {"CREATE INDEX CONCURRENTLY i ON t (a)", "m"},
    {"CREATE UNIQUE INDEX i ON t (a)", "m"},
    {"CREATE TABLE index (a int)", ""},
    {"REINDEX TABLE t", "m"},
    {"CLUSTER t", "m"},
    {"REFRESH MATERIALIZED VIEW v", "m"},
    {"ALTER TABLE t ADD a int", "m"},
    {"COPY t FROM STDIN", "m"},
    {"CALL p()", "m"},
    {"select 1; vacuum t", "m"},
    {"recall", ""},
};
INSTANTIATE_TEST_SUITE_P(Maintenance, StatementTraitsTable, ::testing::ValuesIn(maintenance));

const Row snapshots[] = {
    {"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "d"},
    {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", "d"},
    {"set local transaction read only isolation level repeatable read", "d"},
    {"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "Bd"},
    {"START TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE", "Bd"},
    {"BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "bd"},
    {"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "Bd"},
    {"BEGIN READ ONLY", "B"},
    {"BEGIN ISOLATION LEVEL REPEATABLE READ", "B"},
    {"BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE", "B"},
    {"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", "B"},
    {"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", ""},
    {"SET search_path = a", ""},
    {"BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 'READ ONLY'", "b"},
};
INSTANTIATE_TEST_SUITE_P(Snapshots, StatementTraitsTable, ::testing::ValuesIn(snapshots));

const Row tags[] = {
    {"ROLLBACK TO s", "s"},
    {"ROLLBACK TO SAVEPOINT s", "s"},
    {"rollback work to s", "s"},
    {"ROLLBACK TRANSACTION TO SAVEPOINT s", "s"},
    {"ROLLBACK TO s; ROLLBACK", ""},
    {"ROLLBACK AND CHAIN", ""},
    {"UNLISTEN *", "u"},
    {"UNLISTEN a", ""},
    {"UNLISTEN a; UNLISTEN *", ""},
    {"UNLISTEN \"*\"", ""},
};
INSTANTIATE_TEST_SUITE_P(Tags, StatementTraitsTable, ::testing::ValuesIn(tags));

TEST(StatementTraits, OfACutTextMayBeMore) {
  EXPECT_EQ(letters(read_traits("select 1; com", true)), "?");
  EXPECT_EQ(letters(read_traits("commit; sel", true)), "c?");
  EXPECT_EQ(letters(read_traits("rollback to s; roll", true)), "?");
  EXPECT_EQ(letters(read_traits("unlisten *; unl", true)), "?");
}

TEST(StatementTraits, CanBeReadOfEveryBeginningOfAText) {
  const std::string text =
      "select E'\\'', $a$ $a$, \"x\" /* /* */ */ -- c\n; create function f() begin atomic end; "
      "commit";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    EXPECT_EQ(read_traits(std::string_view{text}.substr(0, size), false).ends_transaction,
              size == text.size());
  }
}

bool marked(std::string_view text) {
  return read_traits(text, false, "pgleash:keep").marked;
}

TEST(StatementTraits, AMarkerIsAWordInACommentOfTheFirstStatement) {
  for (const char* text :
       {"/* pgleash:keep */ begin", "begin /* pgleash:keep */", "-- pgleash:keep\nselect 1",
        "begin -- pgleash:keep", "/*pgleash:keep*/begin", "begin /* a, pgleash:keep, b */;",
        "select /* x /* pgleash:keep */ y */ 1", "/* please: pgleash:keep. */ begin",
        "; /* pgleash:keep */ begin", "select 'x' /* pgleash:keep */; select 2",
        "/* pgleash:keep-- */ begin", "select /* not-pgleash:keeper but pgleash:keep */ 1"}) {
    EXPECT_TRUE(marked(text)) << text;
  }
}

TEST(StatementTraits, AMarkerAnywhereElseIsNone) {
  for (const char* text :
       {"select 'pgleash:keep'", "select '/* pgleash:keep */'", "select $$/* pgleash:keep */$$",
        "select $a$-- pgleash:keep\n$a$", "select \"/* pgleash:keep */\"",
        "select E'\\'/* pgleash:keep */'", "select pgleash:keep", "begin; /* pgleash:keep */",
        "begin; -- pgleash:keep", "begin; select 1 /* pgleash:keep */",
        "/* pgleash:keeper */ begin", "/* xpgleash:keep */ begin", "/* pgleash:keep-not */ begin",
        "/* pgleash:keep:not */ begin", "/* a.pgleash:keep */ begin", "/* PGLEASH:KEEP */ begin",
        "/* pgleash: keep */ begin", "", "begin"}) {
    EXPECT_FALSE(marked(text)) << text;
  }
  EXPECT_FALSE(read_traits("/* pgleash:keep */ begin", false).marked) << "nobody may use one";
}

}  // namespace
}  // namespace pgleash::protocol
