#include "tests/scenario/story/story.hpp"
#include "tests/support/free_port.hpp"

#include <string>
#include <vector>

/// Whose the connections are that call themselves pgleash.
namespace pgleash::test {
namespace {

class Instances : public Story {
 protected:
  static constexpr const char* held_open = "held-open";

  static PgleashOptions judging_direct_sessions() {
    return {.rules = rule(held_open, "idle_in_transaction", "300ms", "terminate"),
            .server = "direct_sessions = \"judge\""};
  }
  /// Of the monitor's role, from our own address.
  LibpqClient monitor(const std::string& name) {
    return LibpqClient{{{"host", "127.0.0.1"},
                        {"port", std::to_string(postgres().port())},
                        {"user", "pgleash_monitor"},
                        {"password", "watch \\' me"},
                        {"dbname", "pgleash"},
                        {"application_name", name}}};
  }
  /// Of all connections of the monitor's role, each once.
  std::vector<std::string> names() {
    return lines(postgres().value(
        "SELECT string_agg(DISTINCT application_name, chr(10)) FROM pg_stat_activity "
        "WHERE usename = 'pgleash_monitor'"));
  }
  static std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> all;
    for (std::size_t from = 0; from < text.size();) {
      const std::size_t end = std::min(text.find('\n', from), text.size());
      all.push_back(text.substr(from, end - from));
      from = end + 1;
    }
    return all;
  }
  /// Until the monitor has looked so often again.
  void looked(int times) {
    const auto samples = [&] {
      return pgleash().metric("pgleash_monitor_query_duration_seconds_count");
    };
    const double before = samples();
    ASSERT_TRUE(wait_until([&] { return samples() >= before + times; }, 10s));
  }
  /// A direct session over its limit is left alone, for twenty looks.
  void expect_spared(const std::string& why) {
    Application batch = direct("batch");
    batch.exec("BEGIN");
    looked(20);
    EXPECT_TRUE(backend_lives(batch.pid())) << why;
    EXPECT_EQ(pgleash().metric("pgleash_rule_matching_sessions", {{"rule", held_open}}), 0) << why;
  }
};

TEST_F(Instances, AllConnectionsOfOneBearItsMarkAndTheLogSaysWhich) {
  pgleash(judging_direct_sessions());
  Application batch = direct("batch");
  batch.exec("BEGIN");
  EXPECT_TRUE(batch.ended(15s));  // by a connection beside the sampling one
  EXPECT_TRUE(wait_until([&] { return acted(held_open, "confirmed") == 1; }, 10s));
  const auto all = names();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_THAT(all[0], testing::MatchesRegex("pgleash [0-9a-f]{8}"));
  const auto up = pgleash().log("monitor.up");
  ASSERT_THAT(up, Not(IsEmpty()));
  EXPECT_EQ(text(up[0], "application_name"), all[0]);
}

TEST_F(Instances, EachRunHasAnotherMark) {
  pgleash(judging_direct_sessions());
  const auto before = names();
  ASSERT_THAT(before, SizeIs(1));
  EXPECT_EQ(pgleash().terminate(), 0);
  pgleash().start();
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
  ASSERT_TRUE(wait_until([&] { return names().size() == 1; }, 10s));
  EXPECT_NE(names(), before);
}

/// An own connection that opened while a sample was taken is one whose pid pgleash does not know:
/// so is this one, all the time.
TEST_F(Instances, ItsOwnConnectionsDoNotMakeTheHostThatOfAnother) {
  pgleash(judging_direct_sessions());
  const auto own = names();
  ASSERT_THAT(own, SizeIs(1));
  const LibpqClient opening = monitor(own[0]);
  looked(3);
  Application batch = direct("batch");
  batch.exec("BEGIN");
  EXPECT_TRUE(batch.ended(15s));
  EXPECT_TRUE(wait_until([&] { return acted(held_open, "confirmed") == 1; }, 10s));
  EXPECT_TRUE(backend_lives(opening.pid())) << "the monitor's role is out of reach";
}

TEST_F(Instances, WhoOnlyLooksWithAPgleashDoesNotEither) {
  pgleash(judging_direct_sessions());
  const LibpqClient watch = monitor("pgleash watch");
  looked(3);
  Application batch = direct("batch");
  batch.exec("BEGIN");
  EXPECT_TRUE(batch.ended(15s));
}

TEST_F(Instances, AnyOtherNameOfTheMonitorsRoleIsAnotherPgleashs) {
  for (const char* name : {"pgleash", "pgleash 00000000", "psql"}) {
    pgleash(judging_direct_sessions());
    const LibpqClient other = monitor(name);
    looked(3);
    expect_spared(name);
  }
}

/// It could hide the other one, if its word counted for more than its own connection.
TEST_F(Instances, AConnectionInOurNameHidesNoOtherPgleash) {
  pgleash(judging_direct_sessions());
  const auto own = names();
  ASSERT_THAT(own, SizeIs(1));
  const LibpqClient other = monitor("pgleash 00000000");
  const LibpqClient liar = monitor(own[0]);
  looked(3);
  expect_spared("another pgleash is at this address");
}

/// Anybody may read the mark and call himself so.
TEST_F(Instances, AnApplicationInOurNameIsJudgedAsAnyOther) {
  pgleash(judging_direct_sessions());
  const auto own = names();
  ASSERT_THAT(own, SizeIs(1));
  Application liar = direct(own[0]);
  liar.exec("BEGIN");
  EXPECT_TRUE(liar.ended(15s));
}

/// Neither of its watchdogs knows the sessions of the other.
TEST_F(Instances, TwoServerSectionsThatLeadToOneServerLeaveEachOthersSessionsAlone) {
  PgleashOptions options = judging_direct_sessions();
  const std::uint16_t port = free_port();
  options.mode = "observe";
  options.listener = "server = \"main\"";
  options.more = fmt::format(
      "[[listener]]\nname = \"second\"\nserver = \"second\"\nlisten = [\"127.0.0.1:{}\"]\n"
      "[[server]]\nname = \"second\"\nhost = \"127.0.0.1\"\nport = {}\n"
      "[server.monitor]\npassword_file = \"{}\"\npoll_interval = \"50ms\"\n",
      port, postgres().port(), server().section().monitor.password_file);
  pgleash(options);
  ASSERT_TRUE(wait_until([&] { return names().size() == 2; }, 10s));
  Application through_second = login({{"port", std::to_string(port)}});
  through_second.exec("BEGIN");
  EXPECT_TRUE(wait_until([&] { return !pgleash().outcomes("observed").empty(); }, 10s));
  looked(40);
  for (const auto& line : pgleash().outcomes("observed")) {
    EXPECT_EQ(text(line, "server"), "second");
    EXPECT_NE(text(line, "mapping"), "direct");
  }
}

}  // namespace
}  // namespace pgleash::test
