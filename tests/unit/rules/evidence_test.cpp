#include "watchdog/evidence.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

TEST(Fingerprint, IsTheSameForStatementsThatDifferInLiteralsOnly) {
  const auto a = fingerprint("SELECT * FROM t WHERE id = 7 AND name = 'bob'", false);
  const auto b =
      fingerprint("select *  from t\nwhere id = 8 and name = 'eve' /* from a.rb */", false);
  EXPECT_FALSE(a.lexical);
  EXPECT_EQ(a.hash, b.hash);
  EXPECT_EQ(a.hash.size(), 16U);
  EXPECT_EQ(a.text, "SELECT * FROM t WHERE id = $1 AND name = $2");
  EXPECT_EQ(b.text, "select * from t where id = $1 and name = $2");
  EXPECT_NE(a.hash, fingerprint("SELECT * FROM t WHERE id = 7 OR name = 'bob'", false).hash);
}

TEST(Fingerprint, KeepsNoLiteralOfUtilityStatementsEither) {
  for (const char* text :
       {"ALTER ROLE x PASSWORD 'secret'", "COPY t TO '/srv/secret'", "NOTIFY a, 'secret'",
        "PREPARE TRANSACTION 'secret'", "DO $$ begin perform 'secret'; end $$",
        "SELECT 1 -- secret", "SELECT 1 /* secret */", "COMMENT ON TABLE t IS 'secret'"}) {
    const auto print = fingerprint(text, false);
    EXPECT_FALSE(print.lexical) << text;
    EXPECT_THAT(print.text, Not(HasSubstr("secret"))) << text;
  }
}

TEST(Fingerprint, IsLexicalForWhatOurParserDoesNotKnow) {
  const auto print = fingerprint(
      "SELEKT a, 'x''y', E'a\\'b', U&'\\0041', B'01', 1.5e-3, $1, $tag$ a $ b $tag$ -- c\n FROM "
      "\"T'x\"",
      false);
  EXPECT_TRUE(print.lexical);
  EXPECT_EQ(print.text, "SELEKT a, ?, $1, ? FROM \"T'x\"");
  EXPECT_EQ(print.hash.size(), 16U);
}

TEST(Fingerprint, OfLexicalKindIgnoresCaseBlanksValuesAndTheirNumber) {
  const auto a = fingerprint("SELEKT a FROM t WHERE b IN (1,2,  3) AND c=0xFF", false);
  EXPECT_EQ(a.text, "SELEKT a FROM t WHERE b IN (?) AND c=?");
  EXPECT_EQ(fingerprint("selekt a from t\twhere b in (5) /* x */ and c=9", false).hash, a.hash);
  EXPECT_EQ(fingerprint("INSERTO t VALUES (1,'a'), (2,'b'),(3,'c')", false).text,
            "INSERTO t VALUES (?)");
}

TEST(Fingerprint, LeavesOutTheLastTokenOfATruncatedText) {
  EXPECT_EQ(fingerprint("SELECT a FROM t WHERE b = 'secr", true).text, "SELECT a FROM t WHERE b =");
  EXPECT_EQ(fingerprint("SELECT a FROM t WHERE b = 123", true).text, "SELECT a FROM t WHERE b =");
  EXPECT_EQ(fingerprint("SELECT a FROM custo", true).text, "SELECT a FROM");
  EXPECT_EQ(fingerprint("SELECT a FROM t $ta", true).text, "SELECT a FROM t");
  EXPECT_EQ(fingerprint("SELECT a /* secr", true).text, "SELECT a");
  EXPECT_EQ(fingerprint("SELECT 'a''", true).text, "SELECT");
  EXPECT_TRUE(fingerprint("SELECT 1 ", true).lexical);
}

TEST(Fingerprint, KeepsNothingBehindALiteralWhoseEndIsUncertain) {
  // With standard_conforming_strings off, `secret` is still inside the literal.
  EXPECT_THAT(fingerprint("SELEKT 'it\\'s secret', 'x'", false).text, Not(HasSubstr("secret")));
  EXPECT_EQ(fingerprint("SELEKT 'no end", false).text, "SELEKT ?");
}

/// Wherever a text is cut, nothing of its literals is left.
TEST(Fingerprint, LeaksNoLiteralAtAnyCut) {
  const std::string text =
      "SELECT 'qqqq' || E'qq\\'qq' || $q1$qqqq$q1$ || U&'qqqq' || x'qqqq' /* qqqq /* qqqq */ qqqq "
      "*/ -- qqqq\n, 'qq''qq' FROM t";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    for (const bool truncated : {true, false}) {
      EXPECT_THAT(fingerprint(text.substr(0, cut), truncated).text, Not(HasSubstr("qq"))) << cut;
    }
  }
}

TEST(Fingerprint, TakesAnyBytes) {
  EXPECT_EQ(fingerprint("", false), Fingerprint{});
  EXPECT_TRUE(fingerprint("SELECT '\xFF\xFE'", false).lexical);
  EXPECT_TRUE(fingerprint(std::string_view{"SELECT 1\0DROP", 13}, false).lexical);
  for (const char c : {'\'', '"', '$', '/', '-', '(', 'E', '\\', '.'}) {
    (void)fingerprint(std::string(max_parsed_text, c), false);
    (void)fingerprint("SELECT " + std::string(max_parsed_text / 2, c), true);
  }
}

TEST(Fingerprint, SurvivesTextsThatNestDeeply) {
  const auto repeated = [](std::string_view piece, std::size_t times) {
    std::string text;
    for (std::size_t i = 0; i < times; ++i) text += piece;
    return text;
  };
  for (const auto& [open, close] : {std::pair{"(", ")"},
                                    {"(SELECT ", ")"},
                                    {"ARRAY[", "]"},
                                    {"f(", ")"},
                                    {"- ", ""},
                                    {"NOT ", ""},
                                    {"CASE WHEN true THEN ", " END"}}) {
    const std::size_t times =
        (max_parsed_text - 16) / (std::string_view{open}.size() + std::string_view{close}.size());
    const auto print =
        fingerprint("SELECT " + repeated(open, times) + "1" + repeated(close, times), false);
    EXPECT_EQ(print.hash.size(), 16U) << open;
  }
}

TEST(Fingerprint, DoesNotParseWhatIsTooLong) {
  EXPECT_TRUE(fingerprint("SELECT '" + std::string(max_parsed_text, 'x') + "'", false).lexical);
}

// ---------------------------------------------------------------- tags

TEST(SqlcommenterTags, AreDecodedInTheirOrder) {
  EXPECT_THAT(
      sqlcommenter_tags("SELECT 1 /*action='%2Fparam*d',controller='index',framework='spring',"
                        "traceparent='00-5bd66ef5095369c7-01'*/"),
      ElementsAre(Pair("action", "/param*d"), Pair("controller", "index"),
                  Pair("framework", "spring"), Pair("traceparent", "00-5bd66ef5095369c7-01")));
  EXPECT_THAT(sqlcommenter_tags("SELECT 1 /* a = 'it\\'s' , na%20me='b%zz%4' */ ; \n"),
              ElementsAre(Pair("a", "it's"), Pair("na me", "b%zz%4")));
}

TEST(SqlcommenterTags, AreOnlyTakenFromATrailingCommentOfThatForm) {
  for (const char* text : {"", "SELECT 1", "/*a='b'*/ SELECT 1", "SELECT 1 /* just words */",
                           "SELECT 1 /*a=b*/", "SELECT 1 /*a='b' c='d'*/", "SELECT 1 /*a='b*/",
                           "SELECT 1 a='b'*/", "SELECT 1 /*='b'*/", "/*/"}) {
    EXPECT_THAT(sqlcommenter_tags(text), IsEmpty()) << text;
  }
}

TEST(SqlcommenterTags, AreBounded) {
  std::string text = "SELECT 1 /*";
  for (int i = 0; i < 40; ++i)
    text += (i ? ",k" : "k") + std::to_string(i) + "='" + std::string(1000, 'v') + "'";
  const auto tags = sqlcommenter_tags(text + "*/");
  ASSERT_EQ(tags.size(), 16U);
  EXPECT_EQ(tags[15].first, "k15");
  EXPECT_EQ(tags[15].second.size(), 256U);
}

// ---------------------------------------------------------------- cache

TEST(FingerprintCache, GivesTheSameAsTheFunctionAndTellsTruncatedTextsApart) {
  FingerprintCache cache;
  EXPECT_EQ(cache.of("SELECT 1", false), fingerprint("SELECT 1", false));
  EXPECT_EQ(cache.of("SELECT 1", false), fingerprint("SELECT 1", false));
  EXPECT_EQ(cache.entries(), 1U);
  EXPECT_EQ(cache.of("SELECT 1", true), fingerprint("SELECT 1", true));
  EXPECT_EQ(cache.entries(), 2U);
}

TEST(FingerprintCache, DropsTheTextNotSeenForLongest) {
  FingerprintCache cache{2};
  const Fingerprint* a = &cache.of("SELECT a", false);
  (void)cache.of("SELECT b", false);
  EXPECT_EQ(&cache.of("SELECT a", false), a);
  (void)cache.of("SELECT c", false);
  EXPECT_EQ(&cache.of("SELECT a", false), a) << "b went";
  EXPECT_EQ(cache.entries(), 2U);
}

TEST(FingerprintCache, IsBoundedInBytes) {
  FingerprintCache cache{1000, 4096};
  for (int i = 0; i < 200; ++i) {
    (void)cache.of("SELECT " + std::string(300, 'a') + std::to_string(i), false);
    ASSERT_LE(cache.bytes(), 4096U);
  }
  EXPECT_GT(cache.entries(), 3U);
  (void)cache.of("SELECT " + std::string(6000, 'b'), false);
  EXPECT_EQ(cache.entries(), 1U);
}

}  // namespace
}  // namespace pgleash::watchdog
