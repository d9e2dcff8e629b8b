#include "tests/scenario/story/story.hpp"

#include <cstring>
#include <fstream>
#include <poll.h>
#include <sys/socket.h>

/// Applications notice nothing: what works directly works through pgleash.
namespace pgleash::test {
namespace {

class Relay : public Story {
 protected:
  void SetUp() override {
    Story::SetUp();
    if (!IsSkipped()) pgleash({.mode = "observe"});
  }
  std::string address() {
    return fmt::format("host=127.0.0.1 port={} user=app password=app dbname=orders",
                       pgleash().port());
  }
  Finished psql(std::vector<std::string> commands) {
    Command command{
        .argv = {Postgres::program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", address()},
        .environment = {},
        .user = {}};
    for (auto& text : commands) command.argv.insert(command.argv.end(), {"-c", std::move(text)});
    return run(std::move(command), 60s);
  }
  void expect_pgbench_without_failure(const std::string& protocol) {
    const auto done = run(
        {.argv = {"pgbench", "-n", "-M", protocol, "-c", "4", "-j", "2", "-t", "100", address()},
         .environment = {},
         .user = {}},
        60s);
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_THAT(done.out, AllOf(HasSubstr("number of failed transactions: 0"),
                                HasSubstr("number of transactions actually processed: 400/400")));
  }
  /// Resident memory of pgleash at its highest so far, in KiB.
  long peak() {
    std::ifstream status{fmt::format("/proc/{}/status", pgleash().pid())};
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmHWM:")) return std::stol(line.substr(6));
    return -1;
  }
};

/// Reads messages past libpq, which would keep a whole row in memory, until ReadyForQuery; how many
/// bytes they had.
std::size_t discard_until_ready(int socket) {
  std::string part(1 << 18, '\0');
  std::string head;
  std::size_t total = 0;
  std::size_t left = 0;
  char type = 0;
  for (;;) {
    pollfd waiting{socket, POLLIN, 0};
    if (::poll(&waiting, 1, 60'000) <= 0) return 0;
    const auto n = ::recv(socket, part.data(), part.size(), 0);
    if (n < 0 && errno == EAGAIN) continue;
    if (n <= 0) return 0;
    total += static_cast<std::size_t>(n);
    for (std::size_t at = 0; at < static_cast<std::size_t>(n);) {
      if (left == 0) {
        head += part[at++];
        if (head.size() < 5) continue;
        type = head[0];
        std::uint32_t length = 0;
        for (std::size_t i = 1; i < 5; ++i)
          length = length << 8U | static_cast<unsigned char>(head[i]);
        head.clear();
        left = length - 4;
      }
      const auto skipped = std::min(left, static_cast<std::size_t>(n) - at);
      at += skipped;
      left -= skipped;
      if (left == 0 && type == 'Z') return total;
    }
  }
}

TEST_F(Relay, CopiesTablesBothWaysThroughPsql) {
  const TempDir directory;
  const auto sent = directory / "sent";
  const auto received = directory / "received";
  std::ofstream{sent} << [] {
    std::string lines;
    for (int i = 0; i < 20000; ++i)
      lines += fmt::format("{}\tline\\\\ with tab\\t and \xC3\xA9 {}\n", i,
                           std::string(static_cast<std::size_t>(i % 97), 'x'));
    return lines;
  }();
  const auto done =
      psql({"DROP TABLE IF EXISTS copied", "CREATE TABLE copied (id int PRIMARY KEY, words text)",
            "\\copy copied FROM '" + sent + "'",
            "\\copy (SELECT * FROM copied ORDER BY id) TO '" + received + "'"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(run({.argv = {"cmp", sent, received}, .environment = {}, .user = {}}).status, 0);
}

TEST_F(Relay, RunsPgbenchWithoutAFailure) {
  const auto made = run(
      {.argv = {"pgbench", "-i", "-q", "-s", "1", address()}, .environment = {}, .user = {}}, 60s);
  ASSERT_EQ(made.status, 0) << made.err;
  for (const auto* protocol : {"simple", "extended", "prepared"})
    expect_pgbench_without_failure(protocol);
  EXPECT_EQ(pgleash().metric("pgleash_tracker_anomalies_total"), 0);
}

TEST_F(Relay, PassesARowOfAlmostAGibibyteInConstantMemory) {
  auto application = login();
  application.exec("SELECT repeat('x', 1000000)");
  const auto before = peak();
  application.send("SELECT repeat('x', 900 * 1024 * 1024)");
  EXPECT_GT(discard_until_ready(application.socket()), 900U * 1024 * 1024);
  EXPECT_LT(peak() - before, 8 * 1024) << "KiB";
}

TEST_F(Relay, PassesAStatementOfManyMebibytesInConstantMemory) {
  auto application = login();
  application.exec("SELECT 1");
  const auto before = peak();
  const std::string comment(64 << 20, 'x');
  EXPECT_EQ(application.exec("SELECT 'arrived' /* " + comment + " */"), "arrived");
  EXPECT_LT(peak() - before, 8 * 1024) << "KiB";
}

TEST_F(Relay, CarriesReplicationConnections) {
  postgres().sql("DROP ROLE IF EXISTS standby");
  postgres().create_role("standby", "standby", "REPLICATION");
  auto standby = login({{"user", "standby"}, {"password", "standby"}, {"replication", "database"}});
  const Result system{PQexec(standby.raw(), "IDENTIFY_SYSTEM")};
  ASSERT_EQ(PQresultStatus(system.get()), PGRES_TUPLES_OK) << PQerrorMessage(standby.raw());
  EXPECT_EQ(std::string{PQgetvalue(system.get(), 0, 0)},
            postgres().value("SELECT system_identifier FROM pg_control_system()"));
}

}  // namespace
}  // namespace pgleash::test
