#include "watchdog/audit_log.hpp"

#include "tests/integration/watchdog/audit_file.hpp"
#include "tests/support/wait_until.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gmock/gmock.h>

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pgleash::watchdog {
namespace {

using test::run_until, test::wait_until;
using testing::AllOf, testing::HasSubstr, testing::Not, testing::SizeIs;

class AuditLogTest : public AuditFileTest {};

TEST_F(AuditLogTest, RecordIsOnTheDiskWhenTheAnswerIsYes) {
  const auto log = open();
  ASSERT_TRUE(write(*log, "first"));
  EXPECT_THAT(contents(path), AllOf(HasSubstr("\"why\":\"first\""), testing::EndsWith("}\n")));
  EXPECT_EQ(log->records(), 1U);
  EXPECT_EQ(log->errors(), 0U);
}

TEST_F(AuditLogTest, FileIsForItsOwnerOnly) {
  const auto log = open();
  struct stat facts {};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
}

TEST_F(AuditLogTest, ChainGoesOnAcrossRestarts) {
  for (const auto* why : {"one", "two", "three"}) ASSERT_TRUE(write(*open(), why));
  const auto report = verify(path, std::string{chain_start});
  EXPECT_TRUE(report.intact) << report.why;
  EXPECT_EQ(report.lines, 3U);
  EXPECT_EQ(report.last, sha256(lines(path).back()));
}

TEST_F(AuditLogTest, RecordsOfManyWritersFormOneChain) {
  const auto log = open();
  int written = 0;
  auto writer = [](AuditLog& to, AuditRecord what, int& count) -> Task<void> {
    if (co_await to.write(std::move(what))) ++count;
  };
  for (int i = 0; i < 200; ++i) {
    boost::asio::co_spawn(io, writer(*log, record(std::to_string(i)), written),
                          [](std::exception_ptr) {});
  }
  ASSERT_TRUE(run_until(
      io, [&] { return log->records() + log->errors() == 200; }, 20s));
  EXPECT_EQ(written, 200);
  EXPECT_TRUE(verify(path).intact);
  const auto all = lines(path);
  ASSERT_THAT(all, SizeIs(200));
  EXPECT_THAT(all.front(), HasSubstr("\"why\":\"0\""));
  EXPECT_THAT(all.back(), HasSubstr("\"why\":\"199\""));
}

TEST_F(AuditLogTest, TornLastLineIsEndedAndAccountedFor) {
  for (const auto* why : {"one", "two", "three"}) ASSERT_TRUE(write(*open(), why));
  const auto before = contents(path);
  put(path, before.substr(0, before.size() - 20));
  EXPECT_FALSE(verify(path).intact);
  ASSERT_TRUE(write(*open(), "four"));
  const auto report = verify(path, std::string{chain_start});
  EXPECT_TRUE(report.intact) << report.why;
  EXPECT_EQ(report.repaired, 1U);
  const auto all = lines(path);
  ASSERT_THAT(all, SizeIs(5));  // one, two, the torn three, chain.repaired, four
  EXPECT_THAT(all[3], HasSubstr("chain.repaired"));
  EXPECT_THAT(all[4], HasSubstr("four"));
}

TEST_F(AuditLogTest, LineThatLacksOnlyItsEndIsKept) {
  ASSERT_TRUE(write(*open(), "one"));
  const auto before = contents(path);
  put(path, before.substr(0, before.size() - 1));
  ASSERT_TRUE(write(*open(), "two"));
  EXPECT_TRUE(verify(path, std::string{chain_start}).intact) << verify(path).why;
  EXPECT_THAT(lines(path), SizeIs(3));
}

TEST_F(AuditLogTest, FileWithNothingButATornLineIsRepaired) {
  put(path, "{\"ts\":\"20");
  ASSERT_TRUE(write(*open(), "one"));
  EXPECT_TRUE(verify(path, std::string{chain_start}).intact) << verify(path).why;
}

TEST_F(AuditLogTest, LongLinesAreFoundAgain) {
  ASSERT_TRUE(write(*open(), std::string(300'000, 'x')));
  ASSERT_TRUE(write(*open(), std::string(65'536, 'y')));
  ASSERT_TRUE(write(*open(), "short"));
  EXPECT_TRUE(verify(path, std::string{chain_start}).intact);
}

/// The child writes as fast as it can until it is killed; what it was told is on the disk must be
/// there.
TEST_F(AuditLogTest, SigkillInTheMiddleLosesNoConfirmedRecordAndBreaksNoChain) {
  int told[2];
  ASSERT_EQ(::pipe(told), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto log = open();
    for (std::uint32_t number = 0;; ++number) {
      if (!write(*log, std::to_string(number)) ||
          ::write(told[1], &number, sizeof number) != sizeof number)
        ::_exit(1);
    }
  }
  ::close(told[1]);
  std::uint32_t confirmed = 0;
  while (confirmed < 200 && ::read(told[0], &confirmed, sizeof confirmed) == sizeof confirmed)
    continue;
  ::kill(child, SIGKILL);
  while (::read(told[0], &confirmed, sizeof confirmed) == sizeof confirmed) continue;
  ::close(told[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself";
  ASSERT_GE(confirmed, 200U);

  ASSERT_TRUE(write(*open(), "after"));
  const auto report = verify(path, std::string{chain_start});
  EXPECT_TRUE(report.intact) << report.why;
  EXPECT_THAT(contents(path), HasSubstr("\"why\":\"" + std::to_string(confirmed) + "\""));
}

/// RLIMIT_FSIZE makes a write short, and the next one fail: what a full disk does, without a disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limited = before_;
    limited.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(AuditLogTest, ShortWriteIsTakenBack) {
  const auto log = open();
  ASSERT_TRUE(write(*log, "one"));
  const auto before = contents(path);
  {
    const FileSizeLimit limit{before.size() + 10};
    EXPECT_FALSE(write(*log, "two"));
    EXPECT_EQ(contents(path), before);
  }
  EXPECT_EQ(log->errors(), 1U);
  ASSERT_TRUE(write(*log, "three"));
  EXPECT_TRUE(verify(path, std::string{chain_start}).intact) << verify(path).why;
  EXPECT_THAT(lines(path), SizeIs(2));
}

TEST_F(AuditLogTest, FullDiskIsAnErrorAndTheNextSuccessFollowsNoGarbage) {
  // A mount namespace of this thread's own; the audit thread, started from it, is in it too.
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=32k") != 0) {
    GTEST_SKIP() << "may not mount a small file system here";
  }
  const auto log = open();
  int written = 0;
  while (written < 1000 && write(*log, std::string(500, 'x'))) ++written;
  EXPECT_GT(written, 10);
  EXPECT_LT(written, 100);
  EXPECT_EQ(log->errors(), 1U);
  EXPECT_TRUE(verify(path).intact) << verify(path).why;
  EXPECT_EQ(::truncate(path.c_str(), 0), 0);  // the operator makes room
  ASSERT_TRUE(write(*log, "room again"));
  EXPECT_TRUE(verify(path).intact) << verify(path).why;
  EXPECT_THAT(lines(path), SizeIs(1));
  ::umount2(directory.path().c_str(), MNT_DETACH);
}

TEST_F(AuditLogTest, WhatWasDoneIsToldOnceThereIsRoomAndInItsOrder) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=32k") != 0) {
    GTEST_SKIP() << "may not mount a small file system here";
  }
  const auto log = open();
  while (write(*log, std::string(500, 'x'))) {
  }
  EXPECT_TRUE(log->failing());
  for (const auto* done : {"done first", "done second"})
    EXPECT_FALSE(test::run_task(io, log->write_in_any_case(record(done))));
  EXPECT_EQ(::truncate(path.c_str(), 0), 0);
  EXPECT_TRUE(test::wait_until([&] { return lines(path).size() == 2; }, 10s))
      << "without another word of anybody";
  ASSERT_TRUE(write(*log, "room again"));
  EXPECT_FALSE(log->failing());
  EXPECT_TRUE(verify(path).intact) << verify(path).why;
  const auto written = lines(path);
  ASSERT_THAT(written, SizeIs(3));
  EXPECT_THAT(written[0], HasSubstr("done first"));
  EXPECT_THAT(written[1], HasSubstr("done second"));
  ::umount2(directory.path().c_str(), MNT_DETACH);
}

TEST_F(AuditLogTest, RotationGoesOnInTheNewFileAndNamesTheOld) {
  const auto log = open();
  ASSERT_TRUE(write(*log, "one"));
  ASSERT_TRUE(write(*log, "two"));
  const auto rotated = path + ".1";
  std::filesystem::rename(path, rotated);
  ASSERT_TRUE(write(*log, "three")) << "until told, it goes on where it is";
  ASSERT_TRUE(test::run_task(io, log->reopen()));
  ASSERT_TRUE(write(*log, "four"));
  EXPECT_THAT(lines(rotated), SizeIs(3));
  EXPECT_THAT(lines(path), SizeIs(1));
  const auto old = verify(rotated, std::string{chain_start});
  ASSERT_TRUE(old.intact) << old.why;
  EXPECT_TRUE(verify(path, old.last).intact);
  EXPECT_FALSE(verify(path, std::string{chain_start}).intact);
}

TEST_F(AuditLogTest, ReopenWithoutRotationChangesNothing) {
  const auto log = open();
  ASSERT_TRUE(write(*log, "one"));
  ASSERT_TRUE(test::run_task(io, log->reopen()));
  ASSERT_TRUE(write(*log, "two"));
  EXPECT_TRUE(verify(path, std::string{chain_start}).intact);
  EXPECT_THAT(lines(path), SizeIs(2));
}

TEST_F(AuditLogTest, ReopenThatFailsKeepsTheOldFile) {
  const auto log = open();
  ASSERT_TRUE(write(*log, "one"));
  std::filesystem::rename(path, path + ".1");
  std::filesystem::create_directory(path);
  EXPECT_FALSE(test::run_task(io, log->reopen()));
  EXPECT_TRUE(write(*log, "two"));
  EXPECT_THAT(lines(path + ".1"), SizeIs(2));
}

TEST_F(AuditLogTest, SymbolicLinkIsRefused) {
  std::filesystem::create_symlink(directory / "elsewhere", path);
  EXPECT_THAT(problem_of(settings()), AllOf(HasSubstr(path), HasSubstr("symbolic link")));
  EXPECT_FALSE(std::filesystem::exists(directory / "elsewhere"));
}

TEST_F(AuditLogTest, SecondWriterIsRefused) {
  const auto log = open();
  EXPECT_THAT(problem_of(settings()), HasSubstr("another process"));
}

TEST_F(AuditLogTest, DirectoryThatIsNotThereIsAProblem) {
  auto audit = settings();
  audit.file = directory / "nowhere/audit.jsonl";
  EXPECT_THAT(problem_of(audit), HasSubstr("No such file"));
}

TEST_F(AuditLogTest, SinkThatIsOffAcceptsEverything) {
  config::Audit audit;
  audit.sink = config::AuditSink::off;
  const auto log = open(audit);
  EXPECT_TRUE(write(*log, "one"));
  EXPECT_TRUE(test::run_task(io, log->reopen()));
  EXPECT_EQ(log->records(), 0U);
}

/// A pipe that nobody reads stands for a disk that hangs: the writer's thread is stuck in it, its
/// caller is not.
TEST_F(AuditLogTest, HangingDiskIsANoAtTheDeadline) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const int before = ::dup(STDOUT_FILENO);
  ::fflush(stdout);
  ::dup2(pipe_ends[1], STDOUT_FILENO);
  ::close(pipe_ends[1]);
  config::Audit audit;
  audit.sink = config::AuditSink::standard_output;
  auto log = open(audit);
  const auto started = std::chrono::steady_clock::now();
  const bool stuck = !write(*log, std::string(200'000, 'x'));  // a pipe takes 64 KiB
  const auto took = std::chrono::steady_clock::now() - started;
  ::dup2(before, STDOUT_FILENO);  // the last writing end but the one the thread is blocked on
  ::close(before);
  std::string drained(300'000, '\0');
  std::size_t got = 0;
  while (got < 200'000) {
    const auto some = ::read(pipe_ends[0], drained.data() + got, drained.size() - got);
    if (some <= 0) break;
    got += static_cast<std::size_t>(some);
    if (got > 0 && drained[got - 1] == '\n') break;
  }
  log.reset();
  ::close(pipe_ends[0]);
  EXPECT_TRUE(stuck);
  EXPECT_GE(took, AuditLog::deadline);
  EXPECT_LT(took, AuditLog::deadline + 2s);
}

}  // namespace
}  // namespace pgleash::watchdog
