#include "proxy/journal.hpp"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pgleash::proxy {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const auto today = std::chrono::system_clock::time_point{std::chrono::hours{500'000}};

class JournalFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "pgleash-journal-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path = name + "/sessions.journal";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Journal> open(unsigned workers = 2, std::uint32_t max_sessions = 100,
                                std::chrono::system_clock::time_point now = today) {
    return Journal::open(path, workers, max_sessions, now, problem);
  }
  static SessionIdentity who(std::int32_t port = 40001) {
    SessionIdentity made;
    made.server = "orders";
    made.leg = {"10.0.0.1", port};
    made.connected_at = today;
    return made;
  }
  static std::int32_t begin(Journal& journal, unsigned worker, std::uint64_t session,
                            int pid = 101) {
    return journal.begin(worker, SessionId{session}, who(), protocol::BackendPid{pid});
  }
  static std::vector<std::uint64_t> sessions(const Journal& journal) {
    std::vector<std::uint64_t> all;
    for (const LegRecord& record : journal.inherited()) all.push_back(number(record.session));
    return all;
  }

  std::string path;
  std::string problem;

 private:
  std::filesystem::path folder_;
};

constexpr BackendProof proof{1, 2, 3};

TEST_F(JournalFile, IsNobodyElsesToRead) {
  const auto journal = open();
  ASSERT_TRUE(journal) << problem;
  struct stat about {};
  ASSERT_EQ(::stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777U, 0600U);
}

TEST_F(JournalFile, ThenNextRunInheritsWhatWasLeftAndNotWhatWasFreed) {
  {
    const auto journal = open();
    ASSERT_TRUE(journal) << problem;
    EXPECT_THAT(journal->inherited(), IsEmpty());
    const auto a = begin(*journal, 0, 1);
    const auto b = begin(*journal, 1, 2);
    const auto c = begin(*journal, 1, 3);
    journal->complete(a, SessionId{1}, proof);
    journal->free(b);
    journal->close(c);
  }
  const auto next = open();
  ASSERT_TRUE(next) << problem;
  ASSERT_THAT(next->inherited(), SizeIs(2));
  EXPECT_EQ(next->inherited()[0].session, SessionId{1});
  EXPECT_EQ(next->inherited()[0].proof, proof);
  EXPECT_EQ(next->inherited()[0].leg, (Endpoint{"10.0.0.1", 40001}));
  EXPECT_FALSE(next->inherited()[0].closed);
  EXPECT_EQ(next->inherited()[1].session, SessionId{3});
  EXPECT_TRUE(next->inherited()[1].closed);
  EXPECT_EQ(next->inherited()[1].proof, std::nullopt);
}

TEST_F(JournalFile, SurvivesTheProcessBeingKilled) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::string ignored;
    const auto journal = Journal::open(path, 1, 10, today, ignored);
    if (!journal) ::_exit(1);
    const auto slot = begin(*journal, 0, 77);
    journal->complete(slot, SessionId{77}, proof);
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto next = open();
  ASSERT_TRUE(next) << problem;
  ASSERT_THAT(next->inherited(), SizeIs(1));
  EXPECT_EQ(next->inherited()[0].proof, proof);
}

TEST_F(JournalFile, CarriesUnsettledRecordsThroughAsManyRunsAsItTakes) {
  {
    const auto first = open();
    ASSERT_TRUE(first);
    (void)begin(*first, 0, 1);
    (void)begin(*first, 0, 2);
  }
  {
    const auto second = open(4, 500);
    ASSERT_TRUE(second);
    EXPECT_EQ(sessions(*second), (std::vector<std::uint64_t>{1, 2}));
    second->settle(0);
    (void)begin(*second, 3, 3);
  }
  const auto third = open(1, 10);
  ASSERT_TRUE(third) << problem;
  EXPECT_THAT(sessions(*third), testing::UnorderedElementsAre(2, 3));
}

TEST_F(JournalFile, ForgetsRecordsThatNobodyCouldSettleForAMonth) {
  {
    const auto first = open();
    ASSERT_TRUE(first);
    (void)begin(*first, 0, 1);
  }
  EXPECT_THAT(open(2, 100, today + Journal::keep_for - std::chrono::hours{1})->inherited(),
              SizeIs(1));
  EXPECT_THAT(open(2, 100, today + Journal::keep_for + std::chrono::hours{1})->inherited(),
              IsEmpty());
}

TEST_F(JournalFile, BelongsToOneLivePgleash) {
  const auto first = open();
  ASSERT_TRUE(first);
  EXPECT_FALSE(open());
  EXPECT_THAT(problem, HasSubstr("another pgleash that runs now holds it"));
}

TEST_F(JournalFile, FollowsNoSymbolicLink) {
  const std::string elsewhere = path + ".elsewhere";
  std::ofstream{elsewhere} << "precious";
  ::chmod(elsewhere.c_str(), 0600);
  ASSERT_EQ(::symlink(elsewhere.c_str(), path.c_str()), 0);
  EXPECT_FALSE(open());
  std::string text;
  std::getline(std::ifstream{elsewhere}, text);
  EXPECT_EQ(text, "precious");
}

TEST_F(JournalFile, OverwritesNoFileOfAnotherKind) {
  std::ofstream{path} << "precious";
  ::chmod(path.c_str(), 0600);
  EXPECT_FALSE(open());
  EXPECT_THAT(problem, HasSubstr("is no journal"));
  std::string text;
  std::getline(std::ifstream{path}, text);
  EXPECT_EQ(text, "precious");
}

TEST_F(JournalFile, TakesNoFileThatOthersMayWrite) {
  std::ofstream{path};
  ::chmod(path.c_str(), 0620);
  EXPECT_FALSE(open());
  EXPECT_THAT(problem, HasSubstr("0600"));
}

TEST_F(JournalFile, ReadsPastRecordsThatAreDamaged) {
  {
    const auto first = open();
    ASSERT_TRUE(first);
    for (std::uint64_t i = 1; i <= 3; ++i) (void)begin(*first, 0, i);
  }
  {
    std::fstream file{path, std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(static_cast<std::streamoff>(header_bytes + record_bytes + 20));
    file << "garbage";
  }
  const auto next = open();
  ASSERT_TRUE(next) << problem;
  EXPECT_EQ(sessions(*next), (std::vector<std::uint64_t>{1, 3}));
}

TEST_F(JournalFile, ReadsAFileThatWasCutShort) {
  {
    const auto first = open();
    ASSERT_TRUE(first);
    for (std::uint64_t i = 1; i <= 3; ++i) (void)begin(*first, 0, i);
  }
  std::filesystem::resize_file(path, header_bytes + record_bytes + 50);
  const auto next = open();
  ASSERT_TRUE(next) << problem;
  EXPECT_EQ(sessions(*next), (std::vector<std::uint64_t>{1}));
}

TEST_F(JournalFile, NoRoomOnTheDiskIsAnErrorAtTheStart) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit none{8192, 8192};
    ::setrlimit(RLIMIT_FSIZE, &none);
    std::string why;
    const auto journal = Journal::open(path, 2, 5000, today, why);
    ::_exit(!journal && why.find("cannot allocate") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(JournalFile, UsesClosedSlotsAgainOldestFirstAndCountsWhatFindsNone) {
  const auto journal = open(1, 3);  // a region of three
  ASSERT_TRUE(journal);
  const auto a = begin(*journal, 0, 1);
  const auto b = begin(*journal, 0, 2);
  const auto c = begin(*journal, 0, 3);
  EXPECT_EQ(begin(*journal, 0, 4), -1);
  EXPECT_EQ(journal->unrecorded(), 1U);
  journal->close(b);
  journal->close(a);
  journal->free(c);
  EXPECT_EQ(begin(*journal, 0, 5), c);
  EXPECT_EQ(begin(*journal, 0, 6), b);
  EXPECT_EQ(begin(*journal, 0, 7), a);
  EXPECT_EQ(begin(*journal, 0, 8), -1);
  EXPECT_EQ(journal->unrecorded(), 2U);
}

TEST_F(JournalFile, CountsALegWhoseAddressDoesNotFit) {
  const auto journal = open(1, 3);
  ASSERT_TRUE(journal);
  SessionIdentity long_address = who();
  long_address.leg.address.assign(max_leg_address + 1, 'x');
  EXPECT_EQ(journal->begin(0, SessionId{1}, long_address, protocol::BackendPid{1}), -1);
  EXPECT_EQ(journal->unrecorded(), 1U);
  EXPECT_GE(begin(*journal, 0, 2), 0);
}

TEST(JournalPath, IsInTheStateFolderOfTheServiceUnlessItIsNamed) {
  config::Process process;
  ::unsetenv("STATE_DIRECTORY");
  EXPECT_EQ(journal_path(process), "");
  ::setenv("STATE_DIRECTORY", "/var/lib/pgleash:/var/lib/other", 1);
  EXPECT_EQ(journal_path(process), "/var/lib/pgleash/sessions.journal");
  process.journal = "off";
  EXPECT_EQ(journal_path(process), "");
  process.journal = "/srv/x";
  EXPECT_EQ(journal_path(process), "/srv/x");
  ::unsetenv("STATE_DIRECTORY");
}

}  // namespace
}  // namespace pgleash::proxy
