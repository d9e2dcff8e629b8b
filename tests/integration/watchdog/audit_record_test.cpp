#include "watchdog/audit_record.hpp"

#include "tests/integration/watchdog/audit_file.hpp"
#include "tests/support/process.hpp"
#include "watchdog/utf8.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

namespace json = boost::json;
using config::StatementTextPolicy;

class AuditRecordTest : public AuditFileTest {
 protected:
  static AuditRecord full(AuditEvent event) {
    auto made = record("the client \"went\" on\n");
    made.event = event;
    made.outcome = event == AuditEvent::intent ? "" : "confirmed";
    made.step = "end_waiting";
    if (event == AuditEvent::outcome) made.notify = "on_next_use";
    made.exemption = "listening";
    made.server = "main";
    made.session = 0xFFFF'0000'0000'0001U;
    made.user = "app";
    made.database = "orders";
    made.application = "checkout";
    made.application_name = "checkout-7f9c";
    made.client_addr = "2001:db8::1";
    made.client_port = 54321;
    made.pid = 4711;
    made.backend_start = ServerTime{846929400123456};
    made.mapping = "confirmed";
    made.state = "idle in transaction";
    made.evidence.last = {"a0b1", "SELECT $1", false};
    made.evidence.last_text = "SELECT 'secret'";
    made.evidence.age = 1500ms;
    made.evidence.first = {"c2d3", "UPDATE t SET a = $1", false};
    made.evidence.first_text = "UPDATE t SET a = 'hidden'";
    made.evidence.tags = {{"controller", "cart"}, {"route", "/buy"}};
    made.evidence.bytes_to_server = 96;
    made.evidence.bytes_to_client = 1234;
    return made;
  }
  static json::object parsed(const AuditRecord& made,
                             StatementTextPolicy policy = StatementTextPolicy::full) {
    return json::parse(to_line(made, policy, chain_start)).as_object();
  }
};

TEST_F(AuditRecordTest, LineCarriesAllThatIsKnown) {
  const auto line = parsed(full(AuditEvent::outcome));
  EXPECT_EQ(line.at("ts"), "2026-11-03T10:30:00.000000Z");
  EXPECT_EQ(line.at("event"), "outcome");
  EXPECT_EQ(line.at("prev"), json::string_view{chain_start});
  EXPECT_EQ(line.at("notify"), "on_next_use");
  EXPECT_EQ(line.at("measured_ms"), 312000);
  EXPECT_EQ(line.at("session"), "18446462598732840961");
  EXPECT_EQ(line.at("client_port"), 54321);
  EXPECT_EQ(line.at("backend_start"), "2026-11-02T10:10:00.123456Z");
  EXPECT_EQ(line.at("why"), "the client \"went\" on\n");
  EXPECT_EQ(line.at("tags").at("route"), "/buy");
}

TEST_F(AuditRecordTest, WhatIsNotKnownIsLeftOut) {
  AuditRecord bare;
  bare.event = AuditEvent::resolved;
  bare.verdict = "0123456789ABCDEF";
  const auto line = parsed(bare);
  EXPECT_EQ(line.size(), 4U);
}

TEST_F(AuditRecordTest, StatementIsWrittenByPolicy) {
  const auto none = parsed(full(AuditEvent::intent), StatementTextPolicy::none);
  EXPECT_FALSE(none.contains("statement_fingerprint"));
  EXPECT_FALSE(none.contains("statement_normalized"));
  EXPECT_FALSE(none.contains("statement_text"));
  const auto fingerprint = parsed(full(AuditEvent::intent), StatementTextPolicy::fingerprint);
  EXPECT_EQ(fingerprint.at("statement_fingerprint"), "a0b1");
  EXPECT_EQ(fingerprint.at("statement_normalized"), "SELECT $1");
  EXPECT_FALSE(fingerprint.contains("statement_text"));
  EXPECT_EQ(parsed(full(AuditEvent::intent)).at("statement_text"), "SELECT 'secret'");
}

TEST_F(AuditRecordTest, BytesThatAreNotUtf8DoNotSpoilTheLine) {
  auto made = full(AuditEvent::intent);
  made.evidence.last_text = "SELECT 'caf\xE9'";
  made.evidence.tags = {{"\xFF", "\xC3"}};
  EXPECT_EQ(parsed(made).at("statement_text"), "SELECT 'caf\xEF\xBF\xBD'");
}

TEST_F(AuditRecordTest, EachKindOfLineFitsTheShippedSchema) {
  {
    const auto log = open();
    for (const auto event : {AuditEvent::intent, AuditEvent::outcome, AuditEvent::resolved}) {
      ASSERT_TRUE(write(*log, full(event)));
      auto bare = record("");
      bare.event = event;
      if (event == AuditEvent::outcome) bare.outcome = "already_gone";
      ASSERT_TRUE(write(*log, bare));
    }
  }
  put(path, contents(path) + "{\"torn");
  open();
  // The torn line is no JSON, by nature; all others must fit.
  auto all = lines(path);
  std::erase(all, "{\"torn");
  ASSERT_EQ(all.size(), 7U);
  std::string text;
  for (const auto& line : all) text += line + "\n";
  const auto good = directory / "good";
  put(good, text);
  const std::string checker = PGLEASH_SOURCE_DIR "/tests/support/check_schema.py";
  const std::string schema = PGLEASH_SOURCE_DIR "/deploy/audit.schema.json";
  const auto done =
      test::run({.argv = {"python3", checker, schema, good}, .environment = {}, .user = {}});
  if (done.status == 77) GTEST_SKIP() << "NO python3-jsonschema HERE";
  EXPECT_EQ(done.status, 0) << done.out << done.err;

  const auto bad = directory / "bad";
  put(bad, all[0].substr(0, all[0].size() - 1) + ",\"password\":\"x\"}\n" +
               R"({"ts":"yesterday","event":"intent"})" + "\n");
  const auto refused =
      test::run({.argv = {"python3", checker, schema, bad}, .environment = {}, .user = {}});
  EXPECT_EQ(refused.status, 1) << refused.out << refused.err;
  EXPECT_THAT(refused.out,
              testing::AllOf(testing::HasSubstr("line 1"), testing::HasSubstr("line 2")));
}

TEST(Utf8, IllFormedBytesAreReplacedOneByOne) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(valid_utf8("plain caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x98"),
            "plain caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x98");
  EXPECT_EQ(valid_utf8("caf\xE9"), "caf" + bad);
  EXPECT_EQ(valid_utf8("\xC0\xAF"), bad + bad);                      // overlong
  EXPECT_EQ(valid_utf8("\xE0\x80\xAF"), bad + bad + bad);            // overlong
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), bad + bad + bad);            // surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
  EXPECT_EQ(valid_utf8("\xE2\x82"), bad + bad);                      // cut off
  EXPECT_EQ(valid_utf8("\x80"
                       "a"),
            bad + "a");
}

}  // namespace
}  // namespace pgleash::watchdog
