#include "tests/scenario/story/story.hpp"
#include "tests/support/cable.hpp"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/socket.h>
#include <unistd.h>

/// Backends without a session, and sessions that are not ours.
namespace pgleash::test {
namespace {

class OrphanStory : public Story {
 protected:
  double orphans() { return pgleash().metric("pgleash_orphan_backends"); }
  /// Until the monitor has looked so often again.
  void looked(PgleashProcess& one, int times = 4) {
    const auto samples = [&] { return one.metric("pgleash_monitor_query_duration_seconds_count"); };
    const double before = samples();
    ASSERT_TRUE(wait_until([&] { return samples() >= before + times; }, 10s));
  }
  /// A client that works when its pgleash is killed; the backend goes on.
  pid_t orphaned_by_a_crash(const std::string& sql = "SELECT pg_sleep(600)") {
    Application lost = login();
    const pid_t backend = lost.pid();
    looked(pgleash());
    lost.send(sql);
    EXPECT_TRUE(wait_until([&] { return state_of(backend) == "active"; }, 10s));
    pgleash().kill();
    EXPECT_TRUE(lost.ended(10s));
    return backend;
  }
  void end(pid_t backend) {
    postgres().sql(fmt::format("SELECT pg_terminate_backend({})", backend));
  }
  /// Changes the journal's bytes: `first` to `last` of each record.
  static void spoil(const std::string& journal, std::streamoff first, std::streamoff last) {
    const auto size = static_cast<std::streamoff>(std::filesystem::file_size(journal));
    std::fstream file{journal, std::ios::in | std::ios::out | std::ios::binary};
    const std::string zeros(static_cast<std::size_t>(last - first), '\0');
    for (std::streamoff at = 4096; at + 128 <= size; at += 128) {
      file.seekp(at + first);
      file.write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
    }
  }
};

TEST_F(OrphanStory, TheNextRunEndsTheBackendOfAKilledOneAndNobodyElse) {
  pgleash({});
  Application bystander = direct("bystander");
  bystander.send("SELECT pg_sleep(600)");
  const pid_t backend = orphaned_by_a_crash();
  ASSERT_TRUE(backend_lives(backend));

  pgleash().start();
  EXPECT_TRUE(wait_until([&] { return !backend_lives(backend); }, 15s));
  EXPECT_TRUE(wait_until([&] { return acted("orphan", "confirmed") == 1; }, 10s));
  EXPECT_TRUE(wait_until([&] { return orphans() == 0; }, 10s));
  EXPECT_TRUE(backend_lives(bystander.pid()));

  const auto lines = pgleash().outcomes("confirmed");
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_EQ(text(lines[0], "rule"), "orphan");
  EXPECT_EQ(text(lines[0], "kind"), "orphan");
  EXPECT_EQ(text(lines[0], "mapping"), "orphan");
  EXPECT_EQ(text(lines[0], "step"), "guarded_sql");
  EXPECT_EQ(number(lines[0], "pid"), backend);
  EXPECT_EQ(text(lines[0], "user"), "app");
  const auto said = pgleash().log("backend.orphaned");
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_EQ(number(said[0], "pid"), backend);
  EXPECT_TRUE(said[0].at("earlier_run").as_bool());
  EXPECT_EQ(said[0].if_contains("unproven"), nullptr);
  end(bystander.pid());
}

TEST_F(OrphanStory, InObserveModeItIsReportedAndCountedAsASlotOfItsOwn) {
  pgleash({.mode = "observe"});
  const pid_t backend = orphaned_by_a_crash();
  pgleash().start();
  EXPECT_TRUE(wait_until([&] { return orphans() == 1; }, 10s));
  EXPECT_TRUE(wait_until([&] { return acted("orphan", "observed") == 1; }, 10s));
  EXPECT_EQ(pgleash().metric("pgleash_server_connection_slots", {{"kind", "used_orphan"}}), 1);
  looked(pgleash(), 10);
  EXPECT_TRUE(backend_lives(backend));
  EXPECT_EQ(acted("orphan", "observed"), 1);
  end(backend);
  EXPECT_TRUE(wait_until([&] { return orphans() == 0; }, 10s));
}

TEST_F(OrphanStory, IsRememberedThroughASecondCrash) {
  pgleash({.hold_after_start = "10m"});
  const pid_t backend = orphaned_by_a_crash();
  pgleash().start();
  EXPECT_TRUE(wait_until([&] { return orphans() == 1; }, 10s));
  pgleash().kill();
  pgleash().start();
  EXPECT_TRUE(wait_until([&] { return orphans() == 1; }, 10s));
  EXPECT_TRUE(backend_lives(backend));  // the hold-off after the start holds for it, too
  end(backend);
}

TEST_F(OrphanStory, WithoutItsBackendStartInTheJournalItOnlyIsReported) {
  pgleash({});
  const pid_t backend = orphaned_by_a_crash();
  spoil(pgleash().journal_file(), 80, 128);
  pgleash().start();
  EXPECT_TRUE(wait_until([&] { return orphans() == 1; }, 10s));
  EXPECT_TRUE(wait_until([&] { return acted("orphan", "observed") == 1; }, 10s));
  looked(pgleash(), 10);
  EXPECT_TRUE(backend_lives(backend));
  const auto said = pgleash().log("backend.orphaned");
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_THAT(text(said[0], "unproven"), HasSubstr("backend_start"));
  end(backend);
}

TEST_F(OrphanStory, ADamagedJournalProvesNothing) {
  pgleash({});
  const pid_t backend = orphaned_by_a_crash();
  spoil(pgleash().journal_file(), 32, 36);  // the pid
  pgleash().start();
  looked(pgleash(), 10);
  EXPECT_EQ(orphans(), 0);
  EXPECT_TRUE(backend_lives(backend));
  end(backend);
}

TEST_F(OrphanStory, WhereALostClientsStatementMayFinishSoMayAnOrphans) {
  pgleash({.listener = "on_client_gone = \"finish\""});
  const pid_t backend = orphaned_by_a_crash();
  pgleash().start();
  EXPECT_TRUE(wait_until([&] { return acted("orphan", "observed") == 1; }, 10s));
  looked(pgleash(), 10);
  EXPECT_TRUE(backend_lives(backend));
  end(backend);
}

TEST_F(OrphanStory, ALostClientsStatementGoesOnInObserveModeAndIsSeenToDoSo) {
  pgleash({.mode = "observe"});
  Application lost = login();
  const pid_t backend = lost.pid();
  looked(pgleash());
  lost.send("SELECT pg_sleep(600)");
  ASSERT_TRUE(wait_until([&] { return state_of(backend) == "active"; }, 10s));
  const linger reset{1, 0};
  ::setsockopt(lost.socket(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ASSERT_GE(::dup2(nowhere, lost.socket()), 0);  // the socket closes, with a reset
  ::close(nowhere);
  EXPECT_TRUE(wait_until([&] { return orphans() == 1; }, 15s));
  const auto said = pgleash().log("backend.orphaned");
  ASSERT_THAT(said, SizeIs(1));
  EXPECT_FALSE(said[0].at("earlier_run").as_bool());
  end(backend);
  EXPECT_TRUE(wait_until([&] { return orphans() == 0; }, 10s));
}

TEST_F(OrphanStory, AJournalThatCannotBeHadIsSaidAndTheRelayGoesOn) {
  pgleash({.journal = "/nowhere/sessions.journal"});
  Application app = login();
  EXPECT_EQ(app.exec("SELECT 42"), "42");
  EXPECT_EQ(pgleash().metric("pgleash_journal_up"), 0);
  EXPECT_THAT(pgleash().page("/metrics"), HasSubstr("pgleash_journal_up 0"));
  EXPECT_THAT(pgleash().page("/readyz"), HasSubstr("degraded: journal: /nowhere"));
  EXPECT_THAT(pgleash().log("journal.failed"), SizeIs(1));
}

TEST_F(OrphanStory, TwoPgleashBeforeOneServerNeverTouchEachOthersSessions) {
  const std::string everybody = rule("all-idle", "idle", "200ms", "terminate") +
                                rule("all-running", "statement", "200ms", "terminate") +
                                rule("all-old", "transaction_age", "200ms", "terminate");
  const PgleashOptions watchful{.rules = rule("none", "idle", "10h", "observe"), .mode = "observe"};
  PgleashOptions aggressive{.rules = everybody, .server = "direct_sessions = \"judge\""};
  pgleash(watchful);
  PgleashProcess other{PGLEASH_BINARY, server(), postgres(), aggressive};
  ASSERT_TRUE(wait_until([&] { return other.metric("pgleash_monitor_up") == 1; }, 10s));

  Application idle = login();
  Application working = login();
  working.send("SELECT pg_sleep(600)");
  Application open = login();
  open.exec("BEGIN");
  looked(other, 30);
  for (const Application* one : {&idle, &working, &open}) EXPECT_TRUE(backend_lives(one->pid()));

  // Nor does it take what the other one leaves behind when it dies.
  pgleash().kill();
  looked(other, 30);
  EXPECT_TRUE(backend_lives(working.pid()));
  EXPECT_EQ(other.metric("pgleash_orphan_backends"), 0);
  EXPECT_EQ(other.metric("pgleash_actions_total", {{"outcome", "confirmed"}}), 0);
  end(working.pid());
}

TEST_F(OrphanStory, DirectSessionsAreCountedAndLeftAloneUnlessTheyShallBeJudged) {
  const std::string rules = rule("held-open", "idle_in_transaction", "300ms", "terminate");
  pgleash({.rules = rules});
  Application batch = direct("batch");
  batch.exec("BEGIN");
  looked(pgleash(), 20);
  EXPECT_TRUE(backend_lives(batch.pid()));
  EXPECT_GE(pgleash().metric("pgleash_server_connection_slots", {{"kind", "used_direct"}}), 1);
  EXPECT_EQ(pgleash().metric("pgleash_rule_matching_sessions", {{"rule", "held-open"}}), 0);
}

TEST_F(OrphanStory, DirectSessionsAreEndedBySqlWhenRulesShallJudgeThem) {
  pgleash({.rules = rule("held-open", "idle_in_transaction", "300ms", "terminate") +
                    rule("too-long", "statement", "300ms", "cancel"),
           .server = "direct_sessions = \"judge\""});
  Application batch = direct("batch");
  batch.exec("BEGIN");
  const auto error = batch.ended(15s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P01");
  EXPECT_TRUE(wait_until([&] { return acted("held-open", "confirmed") == 1; }, 10s));
  const auto lines = pgleash().outcomes("confirmed");
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_EQ(text(lines[0], "mapping"), "direct");
  EXPECT_EQ(text(lines[0], "step"), "guarded_sql");
  EXPECT_EQ(text(lines[0], "application"), "batch");

  Application runaway = direct("report");
  const auto cancelled = runaway.error_of("SELECT pg_sleep(600)");
  ASSERT_TRUE(cancelled);
  EXPECT_EQ(cancelled->sqlstate, "57014");
  EXPECT_EQ(runaway.exec("SELECT 'alive'"), "alive");
  EXPECT_TRUE(wait_until([&] { return acted("too-long", "confirmed") == 1; }, 10s));
}

TEST_F(OrphanStory, DirectListenersAndHoldersOfAdvisoryLocksStayThoughIdle) {
  pgleash({.rules = rule("idle", "idle", "300ms", "terminate"),
           .server = "direct_sessions = \"judge\""});
  Application listener = direct("listener");
  listener.exec("LISTEN news");
  Application leader = direct("leader");
  leader.exec("SELECT pg_advisory_lock(1)");
  Application idle = direct("idle");
  idle.exec("SELECT 1");
  EXPECT_TRUE(idle.ended(15s));
  EXPECT_TRUE(wait_until([&] { return acted("idle", "recovered") >= 2; }, 10s));
  EXPECT_TRUE(backend_lives(listener.pid()));
  EXPECT_TRUE(backend_lives(leader.pid()));
}

// ---------------------------------------------------------------- the network

TEST(CutNetwork, LeavesOrphansThatAreCountedAndEndedOnceItIsMended) {
  if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
  Cable cable;
  if (!cable.made()) GTEST_SKIP() << "NO NETWORK NAMESPACES HERE: needs CAP_NET_ADMIN and ip";
  std::unique_ptr<MonitoredServer> server;
  cable.at_the_other_end([&] {
    server =
        std::make_unique<MonitoredServer>(PostgresOptions{.settings = {"listen_addresses = '*'"}});
  });
  ASSERT_TRUE(server);
  Postgres& postgres = **server;
  std::ofstream{postgres.value("SHOW hba_file"), std::ios::app}
      << "host all all " << cable.network() << " scram-sha-256\n";
  postgres.sql("SELECT pg_reload_conf()");

  PgleashProcess pgleash{
      PGLEASH_BINARY,
      *server,
      postgres,
      {.server =
           "keepalive = { idle = \"1s\", interval = \"1s\", count = 2 }\nuser_timeout = \"2s\"",
       .poll_interval = "200ms",
       .server_host = cable.there()}};
  const auto orphans = [&] { return pgleash.metric("pgleash_orphan_backends"); };
  const auto count = [&](const std::string& kind) {
    return pgleash.metric("pgleash_server_connection_slots", {{"kind", kind}});
  };
  ASSERT_TRUE(wait_until([&] { return pgleash.metric("pgleash_monitor_up") == 1; }, 10s));
  Application open{pgleash.words()};
  open.exec("BEGIN");
  Application working{pgleash.words()};
  working.send("SELECT pg_sleep(600)");
  const auto lives = [&](pid_t pid) {
    return postgres.value(fmt::format("SELECT 1 FROM pg_stat_activity WHERE pid = {}", pid)) == "1";
  };
  const double before = pgleash.metric("pgleash_monitor_query_duration_seconds_count");
  ASSERT_TRUE(wait_until(
      [&] { return pgleash.metric("pgleash_monitor_query_duration_seconds_count") >= before + 3; },
      10s));

  cable.cut();
  EXPECT_TRUE(wait_until([&] { return count("used_proxy") == 0; }, 30s));
  EXPECT_TRUE(lives(open.pid()));
  EXPECT_TRUE(lives(working.pid()));
  cable.mend();
  // Found out by the monitor, ended, and gone: the gauge rises and returns.
  EXPECT_TRUE(
      wait_until([&] { return !pgleash.log("backend.orphaned").empty() || orphans() > 0; }, 60s));
  EXPECT_TRUE(wait_until([&] { return !lives(open.pid()) && !lives(working.pid()); }, 60s));
  EXPECT_TRUE(
      wait_until([&] { return pgleash.metric("pgleash_monitor_up") == 1 && orphans() == 0; }, 30s));
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash.metric("pgleash_actions_total",
                              {{"rule", "orphan"}, {"outcome", "confirmed"}}) >= 1;
      },
      10s));
  EXPECT_FALSE(pgleash.log("backend.orphaned").empty());
}

}  // namespace
}  // namespace pgleash::test
