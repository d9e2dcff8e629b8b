#include "app/console/rows.hpp"

#include "tests/unit/rules/session_builder.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace pgleash::console {
namespace {

using watchdog::ActivityListing;
using watchdog::ListedProcess;
using watchdog::noon;
using watchdog::ServerTime;
using watchdog::SessionBuilder;
using watchdog::SessionEntry;

ListedProcess process(std::int32_t pid, ServerTime start, std::string type = "client backend") {
  ListedProcess one;
  one.pid = protocol::BackendPid{pid};
  one.backend_start = start;
  one.backend_type = std::move(type);
  one.usename = "alice";
  one.client_addr = "10.0.0.1";
  one.client_port = 40001;
  one.state = "idle";
  return one;
}

std::vector<Row> rows_of(const std::vector<SessionEntry>& entries, const ActivityListing* listing) {
  std::vector<Row> rows;
  add_session_rows({"orders", "pgleash_monitor", entries, listing, noon, ServerTime{5'000'000}, {}},
                   rows);
  return rows;
}

std::string at(const Row& row, std::string_view column) {
  const auto place = *column_of(View::sessions, column);
  return is_null(row[place]) ? "NULL" : to_text(row[place], columns_of(View::sessions)[place].type);
}

TEST(SessionRows, AProcessIsOursByPidAndBackendStart) {
  const ActivityListing listing{ServerTime{5'000'000}, {process(101, ServerTime{1000})}};
  const auto rows =
      rows_of({SessionBuilder{protocol::SessionState::idle, std::chrono::seconds{3}}}, &listing);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(at(rows[0], "origin"), "proxied");
  EXPECT_EQ(at(rows[0], "client_addr"), "10.0.0.7") << "the client's own";
  EXPECT_EQ(at(rows[0], "leg_addr"), "10.0.0.1") << "what the server sees";
  EXPECT_EQ(at(rows[0], "session"), "1");
  EXPECT_EQ(at(rows[0], "state_age"), "00:00:03");
}

TEST(SessionRows, APidThatSomebodyElseHasNowIsNotOurs) {
  const ActivityListing listing{ServerTime{5'000'000}, {process(101, ServerTime{2000})}};
  const auto rows = rows_of({SessionBuilder{protocol::SessionState::idle}}, &listing);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(at(rows[0], "origin"), "proxied");
  EXPECT_EQ(at(rows[0], "query_start"), "NULL") << "nothing of the other one";
  EXPECT_EQ(at(rows[1], "origin"), "direct");
  EXPECT_EQ(at(rows[1], "session"), "NULL");
}

TEST(SessionRows, ASessionThatNoSampleHasSeenIsFoundByItsAddress) {
  SessionBuilder young{protocol::SessionState::idle};
  young.entry().backend.reset();
  const ActivityListing listing{ServerTime{5'000'000}, {process(101, ServerTime{1000})}};
  EXPECT_EQ(rows_of({young}, &listing).size(), 1U);
  ActivityListing elsewhere = listing;
  elsewhere.processes[0].client_port = 40002;
  EXPECT_EQ(rows_of({young}, &elsewhere).size(), 2U);
}

TEST(SessionRows, AnOpaqueSessionIsFoundByAnAddressThatIsOneBackendsOnly) {
  SessionEntry young = SessionBuilder{protocol::SessionState::idle};
  young.backend.reset();
  auto who = std::make_shared<proxy::SessionIdentity>(*young.view.who);
  who->opaque = true;
  who->pid.reset();
  young.view.who = std::move(who);
  ActivityListing listing{ServerTime{5'000'000}, {process(101, ServerTime{1000})}};
  const auto rows = rows_of({young}, &listing);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(at(rows[0], "origin"), "proxied");
  EXPECT_EQ(at(rows[0], "pid"), "101");
  EXPECT_EQ(at(rows[0], "usename"), "alice");
  listing.processes.push_back(process(102, ServerTime{1000}));
  EXPECT_EQ(rows_of({young}, &listing).size(), 3U) << "whose it is cannot be told";
}

TEST(SessionRows, TellsBackgroundProcessesAndItsOwnConnections) {
  ListedProcess own = process(7, ServerTime{1});
  own.usename = "pgleash_monitor";
  const ActivityListing listing{ServerTime{5'000'000},
                                {process(6, ServerTime{1}, "autovacuum launcher"), own}};
  const auto rows = rows_of({}, &listing);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(at(rows[0], "origin"), "background");
  EXPECT_EQ(at(rows[1], "origin"), "pgleash");
}

TEST(SessionRows, WithoutTheServerOwnSessionsAreShown) {
  const auto rows = rows_of({SessionBuilder{protocol::SessionState::idle_in_transaction}}, nullptr);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(at(rows[0], "state"), "idle in transaction");
  EXPECT_EQ(at(rows[0], "pid"), "101");
  EXPECT_EQ(at(rows[0], "query"), "NULL");
}

TEST(SessionRows, HelpNamesEveryCommandOnce) {
  std::vector<Row> rows;
  add_help_rows(rows);
  EXPECT_EQ(rows.size(), 17U);
  for (const Row& row : rows) EXPECT_EQ(row.size(), columns_of(View::help).size());
}

}  // namespace
}  // namespace pgleash::console
