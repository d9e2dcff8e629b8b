#include "tests/scenario/fault/fault.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

/// What pgleash itself may run out of: descriptors, disk, size of a file, memory.
namespace pgleash::test {
namespace {

/// The limit of a process that runs, as prlimit(1) sets it.
class Limited {
 public:
  Limited(pid_t pid, decltype(RLIMIT_AS) what, rlim_t value) : pid_(pid), what_(what) {
    ::prlimit(pid_, what_, nullptr, &before_);
    const rlimit now{value, before_.rlim_max};
    if (::prlimit(pid_, what_, &now, nullptr) != 0) throw std::runtime_error{"prlimit failed"};
  }
  ~Limited() { ::prlimit(pid_, what_, &before_, nullptr); }
  Limited(const Limited&) = delete;
  Limited& operator=(const Limited&) = delete;

 private:
  pid_t pid_;
  decltype(RLIMIT_AS) what_;
  rlimit before_{};
};

/// A file system of so many KiB that this process and its children see alone.
class SmallDisk {
 public:
  explicit SmallDisk(unsigned kib) {
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0,
                       fmt::format("size={}k,mode=0755", kib).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] const std::string& path() const { return directory_.path(); }
  /// To the last byte.
  void fill() const {
    std::ofstream file{directory_ / "filler", std::ios::app};
    const std::string kib(1024, 'f');
    while (file << kib << std::flush) {
    }
    file.clear();
    while (file << 'f' << std::flush) {
    }
  }
  void free() const { std::filesystem::remove(directory_ / "filler"); }

 private:
  TempDir directory_;
  bool mounted_ = false;
};

class ResourceFault : public Fault {};

TEST_F(ResourceFault, WithoutDescriptorsSessionsGoOnAndAreEndedAndNewOnesWaitForThem) {
  auto& house = this->house(
      {.rules = end_leaky_transactions() + rule("too-long", "statement", "300ms", "terminate",
                                                "grace = \"1s\"\n" + for_application("runaway"))});
  auto leaky = login_as("leaky");
  auto runaway = login_as("runaway");
  house.watch("pgleash_actions_total", {{"rule", "idle-tx"}, {"outcome", "confirmed"}});
  const auto open = House::descriptors(pgleash().pid());
  std::vector<std::unique_ptr<Application>> filling;
  {
    const Limited few{pgleash().pid(), RLIMIT_NOFILE, open + 7};
    std::string refused;
    for (int i = 0; i < 8 && refused.empty(); ++i) {
      try {
        filling.push_back(std::make_unique<Application>(
            pgleash().words({{"application_name", "filling"}, {"connect_timeout", "2"}})));
      } catch (const std::runtime_error& error) {
        refused = error.what();
      }
    }
    EXPECT_FALSE(refused.empty()) << "there were descriptors left";
    EXPECT_TRUE(house.steady().works_on());
    // A FATAL and Terminate need none; a statement is ended by its leg's reset and guarded SQL.
    leaky.exec("BEGIN");
    EXPECT_TRUE(leaky.ended(10s));
    runaway.send("SELECT pg_sleep(600)");
    EXPECT_TRUE(runaway.ended(10s));
    EXPECT_TRUE(wait_until([&] { return !backend_lives(runaway.pid()); }, 10s));
    // What these two left is enough for one more.
    EXPECT_EQ(login_as("fresh").exec("SELECT 'served'"), "served");
  }
  filling.clear();
  house.expect_in_order();
}

TEST_F(ResourceFault, AFullDiskEndsNobodyAndIsOverWhenThereIsRoom) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT ROOT: cannot mount a small file system";
  const SmallDisk disk{512};
  if (!disk.mounted()) GTEST_SKIP() << "NO MOUNT NAMESPACES HERE: needs CAP_SYS_ADMIN";
  // Audit log, journal and log are all there.
  ::setenv("TMPDIR", disk.path().c_str(), 1);
  auto& house = this->house({.rules = end_leaky_transactions(), .process = "max_sessions = 300"});
  ::unsetenv("TMPDIR");
  house.watch("pgleash_audit_write_errors_total");
  house.watch("pgleash_actions_total", {{"rule", "idle-tx"}, {"outcome", "error"}});
  disk.fill();
  // The file's last block has room for some lines yet.
  std::unique_ptr<Application> spared;
  for (int i = 0; i < 20 && acted("idle-tx", "error") == 0; ++i) {
    spared = std::make_unique<Application>(login_as("leaky"));
    spared->exec("BEGIN");
    ASSERT_TRUE(
        wait_until([&] { return acted("idle-tx", "error") >= 1 || spared->ended(1ms); }, 20s));
  }
  ASSERT_GE(acted("idle-tx", "error"), 1);
  EXPECT_FALSE(spared->ended(1s)) << "no audit line, no kill";
  EXPECT_EQ(spared->exec("SELECT 'alive'"), "alive");
  EXPECT_EQ(pgleash().metric("pgleash_journal_up"), 1) << "its blocks were had at the start";
  EXPECT_THAT(pgleash().page("/readyz"), HasSubstr("audit"));
  EXPECT_TRUE(house.steady().works_on(100));

  disk.free();
  EXPECT_TRUE(spared->ended(30s)) << "and ended when there is room for the line";
  EXPECT_THAT(pgleash().page("/readyz"), testing::Not(HasSubstr("audit")));
  house.expect_in_order();
}

/// ulimit -f, LimitFSIZE=: the kernel does not only refuse the write, it sends a signal that kills.
TEST_F(ResourceFault, ALimitOnTheSizeOfFilesIsAFullDiskAndNotTheEnd) {
  auto& house = this->house({.rules = end_leaky_transactions()});
  house.watch("pgleash_audit_write_errors_total");
  std::unique_ptr<Application> spared;
  {
    const Limited small{pgleash().pid(), RLIMIT_FSIZE, 64};
    spared = std::make_unique<Application>(login_as("leaky"));
    spared->exec("BEGIN");
    ASSERT_TRUE(wait_until(
        [&] { return acted("idle-tx", "error") >= 1 || !pgleash().process().running(); }, 20s));
    ASSERT_TRUE(pgleash().process().running());
    EXPECT_EQ(spared->exec("SELECT 'alive'"), "alive");
  }
  EXPECT_TRUE(spared->ended(30s));
  house.expect_in_order();
}

TEST_F(ResourceFault, WithoutMemorySessionsGoOnAndTheWatchdogComesBackWhenThereIsSome) {
  auto& house = this->house({.rules = end_leaky_transactions()});
  house.watch("pgleash_actions_total", {{"rule", "idle-tx"}, {"outcome", "confirmed"}});
  auto leaky = login_as("leaky");
  std::vector<std::unique_ptr<Application>> greedy;
  {
    const auto now = static_cast<rlim_t>(House::memory(pgleash().pid(), "VmSize")) * 1024;
    const Limited none{pgleash().pid(), RLIMIT_AS, now};
    for (int i = 0; i < 150; ++i) {
      try {
        greedy.push_back(std::make_unique<Application>(
            pgleash().words({{"application_name", "greedy"}, {"connect_timeout", "5"}})));
        greedy.back()->send("SELECT repeat('m', 100000) FROM generate_series(1, 100)");
      } catch (const std::runtime_error&) {  // turned away
      }
      ASSERT_TRUE(pgleash().process().running()) << i;
    }
    leaky.exec("BEGIN");
    EXPECT_TRUE(wait_until([&] { return !pgleash().log("internal.failure").empty(); }, 20s))
        << "there was memory left";
    EXPECT_TRUE(house.steady().works_on(100));
    ASSERT_TRUE(pgleash().process().running());
  }
  EXPECT_TRUE(leaky.ended(30s)) << "who judges goes on";
  const auto samples = [&] {
    return pgleash().metric("pgleash_monitor_query_duration_seconds_count");
  };
  const double before = samples();
  EXPECT_TRUE(wait_until([&] { return samples() >= before + 5; }, 60s)) << "and who looks";
  EXPECT_EQ(pgleash().metric("pgleash_monitor_up"), 1);
  greedy.clear();
  house.expect_in_order();
}

TEST_F(ResourceFault, ALimitOnMemoryHoldsWhileManyDoNotReadWhatTheyAskedFor) {
  auto& house = this->house({.rules = end_leaky_transactions()});
  house.watch("pgleash_relay_bytes_total");
  const auto now = static_cast<rlim_t>(House::memory(pgleash().pid(), "VmSize")) * 1024;
  {
    const Limited little{pgleash().pid(), RLIMIT_AS, now + 48 * 1024 * 1024};
    std::vector<std::unique_ptr<Application>> many;
    for (int i = 0; i < 150; ++i) {
      many.push_back(std::make_unique<Application>(login_as("greedy")));
      many.back()->send("SELECT repeat('m', 100000) FROM generate_series(1, 100)");
    }
    auto leaky = login_as("leaky");
    leaky.exec("BEGIN");
    EXPECT_TRUE(leaky.ended(20s));
    EXPECT_TRUE(house.steady().works_on(50));
    // 1.5 GB in all, in a few MiB.
    for (const auto& one : many) EXPECT_FALSE(one->finish());
  }
  house.expect_in_order();
}

}  // namespace
}  // namespace pgleash::test
