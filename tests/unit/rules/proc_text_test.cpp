#include "watchdog/proc_text.hpp"

#include <gtest/gtest.h>

#include <string>

/// Texts as Linux 6.1 wrote them of backends of PostgreSQL 15, and what else a name may hold.
namespace pgleash::watchdog {
namespace {

using namespace std::string_literals;

constexpr const char* behind_name =
    " R 4711 4711 4711 0 -1 4194304 12885 0 3 0 812 45 0 0 20 0 1 0 9876543 224051200 5512 "
    "18446744073709551615 94018237374464 94018243362437 140725303893840 0 0 0 0 19935232 536966663 "
    "0 0 0 17 1 0 0 0 0 0 94018245586544 94018245836640 94018265112576 140725303897870 "
    "140725303897914 140725303897914 140725303898073 0\n";

TEST(ProcStat, IsReadBehindANameThatHoldsAnything) {
  for (const char* name : {"postgres", "a b", "a) R 1 (b", "((", ") S 0 0", ""}) {
    const auto stat = parse_proc_stat("12345 (" + std::string{name} + ")" + behind_name);
    ASSERT_TRUE(stat) << name;
    EXPECT_EQ(stat->pid, 12345);
    EXPECT_EQ(stat->state, 'R');
    EXPECT_EQ(stat->user_ticks, 812U);
    EXPECT_EQ(stat->system_ticks, 45U);
    EXPECT_EQ(stat->start_ticks, 9876543U);
  }
}

TEST(ProcStat, ThatIsCutOrNoneSaysNothing) {
  const std::string whole = "12345 (postgres)"s + behind_name;
  const auto start_time = whole.find(" 9876543 ");
  for (std::size_t size = 0; size <= start_time; ++size)
    EXPECT_FALSE(parse_proc_stat(whole.substr(0, size))) << size;
  EXPECT_TRUE(parse_proc_stat(whole.substr(0, start_time + 8)));
  EXPECT_FALSE(parse_proc_stat("12345 )postgres("s + behind_name));
  EXPECT_FALSE(parse_proc_stat("x (postgres)"s + behind_name));
}

TEST(AnonymousMemory, IsInBytesWhereTheKernelTellsIt) {
  const std::string status =
      "Name:\tpostgres\nVmHWM:\t   48252 kB\nVmRSS:\t   48252 kB\nRssAnon:\t   31024 kB\n"
      "RssFile:\t    9120 kB\nRssShmem:\t    8108 kB\n";
  EXPECT_EQ(parse_anonymous_memory(status), 31024U * 1024);
  EXPECT_FALSE(parse_anonymous_memory("Name:\tpostgres\nVmRSS:\t 48252 kB\n")) << "an old kernel";
  EXPECT_FALSE(parse_anonymous_memory("Name:\tpostgres\nState:\tZ (zombie)\n"));
  EXPECT_FALSE(parse_anonymous_memory("RssAnon:\t 31024\n"));
  EXPECT_FALSE(parse_anonymous_memory("RssAnon:\t 99999999999999999 kB\n"));
  EXPECT_FALSE(parse_anonymous_memory("XRssAnon:\t 31024 kB\n"));
}

TEST(ProcIo, TellsWhatWentToAndCameFromStorage) {
  const auto io = parse_proc_io(
      "rchar: 6976\nwchar: 17\nsyscr: 10\nsyscw: 0\nread_bytes: 40960\nwrite_bytes: 8192\n"
      "cancelled_write_bytes: 0\n");
  ASSERT_TRUE(io);
  EXPECT_EQ(io->read_bytes, 40960U);
  EXPECT_EQ(io->write_bytes, 8192U);
  EXPECT_FALSE(parse_proc_io("read_bytes: 1\n"));
  EXPECT_FALSE(parse_proc_io("read_bytes: x\nwrite_bytes: 1\n"));
}

std::string title(const std::string& text) {
  return text + "   " + std::string(20, '\0');  // padded, as PostgreSQL leaves it
}

TEST(Title, NamesTheSessionWithOrWithoutAClustersName) {
  const auto ours = [](const std::string& text) {
    return title_names_session(title(text), "app", "orders", 40001);
  };
  EXPECT_TRUE(ours("postgres: app orders 127.0.0.1(40001) SELECT"));
  EXPECT_TRUE(ours("postgres: 15/main: app orders 127.0.0.1(40001) idle in transaction"));
  EXPECT_TRUE(ours("postgres: a: b: app orders 127.0.0.1(40001) idle"));
  EXPECT_TRUE(ours("postgres: app orders ::1(40001) idle"));
  EXPECT_TRUE(ours("postgres: app orders db-client.internal(40001)"));
}

TEST(Title, OfAnybodyElseIsNotTaken) {
  const auto ours = [](const std::string& text) {
    return title_names_session(title(text), "app", "orders", 40001);
  };
  EXPECT_FALSE(ours("postgres: app orders 127.0.0.1(40002) SELECT"));
  EXPECT_FALSE(ours("postgres: app orders 127.0.0.1(400011) SELECT"));
  EXPECT_FALSE(ours("postgres: app orders [local] SELECT"));
  EXPECT_FALSE(ours("postgres: app orders2 127.0.0.1(40001) SELECT"));
  EXPECT_FALSE(ours("postgres: app2 orders 127.0.0.1(40001) SELECT"));
  EXPECT_FALSE(ours("postgres: batch orders 127.0.0.1(40001) app orders 127.0.0.1(40001)"));
  EXPECT_FALSE(ours("postgres: autovacuum launcher"));
  EXPECT_FALSE(ours("postgresql: app orders 127.0.0.1(40001) SELECT"));
  EXPECT_FALSE(ours("psql: app orders 127.0.0.1(40001)"));
  EXPECT_FALSE(ours("/usr/bin/vim postgres: app orders 127.0.0.1(40001)"));
  EXPECT_FALSE(ours(""));
  EXPECT_FALSE(title_names_session(title("postgres: app  127.0.0.1(40001)"), "app", "", 40001));
}

TEST(Title, NamesMayHoldBlanksAndParentheses) {
  EXPECT_TRUE(title_names_session(title("postgres: my app (a) my db 10.0.0.7(40001) idle"),
                                  "my app (a)", "my db", 40001));
  EXPECT_FALSE(title_names_session(title("postgres: my app my db 10.0.0.7(40001) idle"), "my",
                                   "app my db", 40002));
}

TEST(Title, OfAUnixSocketHasNoPort) {
  EXPECT_TRUE(title_names_session(title("postgres: app orders [local] idle"), "app", "orders", -1));
  EXPECT_FALSE(
      title_names_session(title("postgres: app orders 10.0.0.7(1) idle"), "app", "orders", -1));
}

TEST(Title, OfAParallelWorkerNamesItsLeader) {
  const protocol::BackendPid leader{4711};
  EXPECT_TRUE(title_names_worker(title("postgres: parallel worker for PID 4711"), leader));
  EXPECT_TRUE(title_names_worker(title("postgres: 15/main: parallel worker for PID 4711"), leader));
  EXPECT_FALSE(title_names_worker(title("postgres: parallel worker for PID 47110"), leader));
  EXPECT_FALSE(title_names_worker(title("postgres: app orders 10.0.0.7(4711) idle"), leader));
}

}  // namespace
}  // namespace pgleash::watchdog
