#include "tests/scenario/fault/fault.hpp"
#include "tests/support/notify_socket.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

/// pgleash's own threads and what they are told: one that stands still, a file that is garbage, a
/// clock that jumps.
namespace pgleash::test {
namespace {

namespace fs = std::filesystem;

/// One thread of another process, held where it is. Needs CAP_SYS_PTRACE.
class Held {
 public:
  explicit Held(pid_t thread) : thread_(thread) {
    held_ = ::ptrace(PTRACE_SEIZE, thread_, nullptr, nullptr) == 0 &&
            ::ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) == 0 &&
            ::waitpid(thread_, nullptr, __WALL) == thread_;
  }
  ~Held() { let_go(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  [[nodiscard]] explicit operator bool() const { return held_; }
  void let_go() {
    if (std::exchange(held_, false)) ::ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  }

 private:
  pid_t thread_;
  bool held_ = false;
};

/// The thread of a process that has this name; 0 when none has.
pid_t thread_called(pid_t process, const std::string& name) {
  for (const auto& entry : fs::directory_iterator{fmt::format("/proc/{}/task", process)}) {
    std::ifstream comm{entry.path() / "comm"};
    std::string line;
    std::getline(comm, line);
    if (line == name) return std::stoi(entry.path().filename().string());
  }
  return 0;
}

class ThreadFault : public Fault {};

TEST_F(ThreadFault, AControlThreadThatStandsStillHoldsUpNoTraffic) {
  auto& house = this->house({.rules = end_leaky_transactions()});
  auto woken = login_as("leaky");
  auto leaky = login_as("leaky");
  house.watch("pgleash_actions_total", {{"rule", "idle-tx"}, {"outcome", "confirmed"}});
  Held control{pgleash().pid()};  // the first thread
  if (!control) GTEST_SKIP() << "NO PTRACE HERE: needs CAP_SYS_PTRACE";
  leaky.exec("BEGIN");
  EXPECT_TRUE(house.steady().works_on(100));
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(login_as("fresh").exec("SELECT 'let in'"), "let in")
        << "logins are the workers' affair";
  // Much longer than the limit, in short transactions, up to the moment when it goes on.
  const auto until = std::chrono::steady_clock::now() + 1500ms;
  EXPECT_TRUE(wait_until(
      [&] {
        woken.exec("BEGIN");
        woken.exec("COMMIT");
        return std::chrono::steady_clock::now() > until;
      },
      10s));
  EXPECT_FALSE(leaky.ended(1ms)) << "who judges stands still";

  control.let_go();
  EXPECT_TRUE(leaky.ended(10s));
  EXPECT_FALSE(woken.ended(500ms)) << "judged by what it does now, not by how long nobody looked";
  EXPECT_EQ(woken.exec("SELECT 'alive'"), "alive");
  house.expect_in_order();
}

TEST_F(ThreadFault, AWorkerThatStandsStillIsToldByHealthzAndTheOtherServesOn) {
  NotifySocket manager;
  pgleash({.environment = {"NOTIFY_SOCKET=" + manager.address(), "WATCHDOG_USEC=200000"}});
  EXPECT_FALSE(manager.hears("WATCHDOG=1").empty());
  const pid_t worker = thread_called(pgleash().pid(), "worker-1");
  ASSERT_NE(worker, 0) << "threads have names, for top -H";
  // Each takes its turn; those of the other worker are known by their working on.
  std::vector<std::unique_ptr<Application>> all;
  for (int i = 0; i < 6; ++i) all.push_back(std::make_unique<Application>(login()));
  Held held{worker};
  if (!held) GTEST_SKIP() << "NO PTRACE HERE: needs CAP_SYS_PTRACE";
  EXPECT_TRUE(wait_until([&] { return pgleash().page("/healthz").empty(); }, 20s))
      << "so that Kubernetes starts it anew";
  manager.forget();
  EXPECT_EQ(manager.hears("WATCHDOG=1", 600ms), "") << "so that systemd does";
  EXPECT_GT(pgleash().metric("pgleash_build_info"), 0) << "metrics are there all the same";
  int served = 0;
  for (const auto& one : all) {
    one->send("SELECT 'served'");
    served += wait_until(
        [&] { return PQconsumeInput(one->raw()) == 1 && PQisBusy(one->raw()) == 0; }, 500ms);
  }
  EXPECT_EQ(served, 3) << "of six, on two workers";
  held.let_go();
  for (const auto& one : all) EXPECT_FALSE(one->finish()) << "late, but whole";
  EXPECT_TRUE(wait_until([&] { return !pgleash().page("/healthz").empty(); }, 10s));
  EXPECT_FALSE(manager.hears("WATCHDOG=1").empty());
  EXPECT_EQ(login().exec("SELECT 'let in'"), "let in");
}

// ---------------------------------------------------------------- garbage at a reload

class ReloadFault : public Fault {};

TEST_F(ReloadFault, GarbageChangesNothingHoldsUpNobodyAndIsToldEachTime) {
  auto& house = this->house({.rules = end_leaky_transactions()});
  house.watch("pgleash_config_reloads_total", {{"result", "failure"}});
  const fs::path file = pgleash().config_file();
  const auto good = [&] {
    std::ifstream in{file};
    return std::string{std::istreambuf_iterator<char>{in}, {}};
  }();
  double refused = 0;
  const auto expect_refused = [&](const std::string& what) {
    pgleash().process().signal(SIGHUP);
    EXPECT_TRUE(wait_until(
        [&] {
          return pgleash().metric("pgleash_config_reloads_total", {{"result", "failure"}}) >
                 refused;
        },
        20s))
        << what;
    refused = pgleash().metric("pgleash_config_reloads_total", {{"result", "failure"}});
    EXPECT_EQ(pgleash().metric("pgleash_config_last_reload_successful"), 0) << what;
    fs::remove_all(file);
  };
  const auto written = [&](const std::string& text) {
    std::ofstream{file, std::ios::binary} << text;
  };
  std::string noise(100'000, '\0');
  for (std::size_t i = 0; i < noise.size(); ++i)
    noise[i] = static_cast<char>(i * 2654435761U >> 13U);
  written(noise), expect_refused("noise");
  written(""), expect_refused("nothing");
  written(std::string(4096, '\0')), expect_refused("zeros, as after a crash of the file system");
  written(good.substr(0, good.size() / 2)), expect_refused("half of it");
  written(good + good), expect_refused("twice");
  written(std::string(20'000'000, '#')), expect_refused("twenty megabytes");
  written(good + std::string(100'000, '[')), expect_refused("brackets without end");
  expect_refused("no file");
  fs::create_directory(file), expect_refused("a directory");
  fs::create_symlink("/nowhere/at/all", file), expect_refused("a link to nowhere");
  fs::create_symlink("/dev/zero", file), expect_refused("a file without an end");
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  expect_refused("a pipe that nobody writes into");

  auto leaky = login_as("leaky");
  leaky.exec("BEGIN");
  EXPECT_TRUE(leaky.ended(10s)) << "the rules before it are in force";
  written(good);
  pgleash().process().signal(SIGHUP);
  EXPECT_TRUE(wait_until(
      [&] { return pgleash().metric("pgleash_config_last_reload_successful") == 1; }, 10s));
  house.expect_in_order();
}

// ---------------------------------------------------------------- the clock

class ClockFault : public Fault {
 protected:
  static constexpr const char* library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

  ClockFault() {
    jump("+0");
    ::chmod(directory_.path().c_str(), 0755);  // the server is another user
  }
  /// For whose date is the real one, plus what the file says.
  [[nodiscard]] std::vector<std::string> environment() const {
    return {std::string{"LD_PRELOAD="} + library, "FAKETIME_TIMESTAMP_FILE=" + file(),
            "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"};
  }
  void jump(const std::string& by) { std::ofstream{file()} << by << '\n'; }
  [[nodiscard]] std::string file() const { return directory_ / "clock"; }
  /// When a leaky transaction was ended, by the audit log's date.
  std::string day_of_a_kill() {
    auto leaky = login_as("leaky");
    leaky.exec("BEGIN");
    const auto error = leaky.ended(20s);
    EXPECT_TRUE(error);
    if (!error) return {};
    const auto line = outcome_line(error->incident());
    EXPECT_EQ(text(line, "outcome"), "confirmed");
    EXPECT_LT(number(line, "measured_ms"), 20'000) << "measured by a clock that does not jump";
    return text(line, "ts").substr(0, 10);
  }

 private:
  TempDir directory_;
};

TEST_F(ClockFault, ADateThatJumpsByDaysEndsNobodyAndSparesNobody) {
  if (!fs::exists(library)) GTEST_SKIP() << "NO LIBFAKETIME HERE: scripts/install-deps test";
  auto& house =
      this->house({.rules = end_leaky_transactions() + rule("idle", "idle", "1h", "terminate") +
                            rule("old", "session_age", "2h", "terminate") +
                            rule("long", "statement", "1h", "terminate"),
                   .environment = environment()});
  house.watch("pgleash_actions_total", {{"rule", "idle-tx"}, {"outcome", "confirmed"}});
  auto idle = login_as("idle");
  auto working = login_as("working");
  working.send("SELECT pg_sleep(600)");
  const auto today = day_of_a_kill();
  jump("+3d");
  const auto later = day_of_a_kill();
  EXPECT_GT(later, today) << "the clock did not jump";
  EXPECT_TRUE(house.steady().works_on(100));
  jump("-5d");
  EXPECT_LT(day_of_a_kill(), today) << "the clock did not jump back";
  EXPECT_TRUE(house.steady().works_on(100));

  EXPECT_FALSE(idle.ended(10ms)) << "idle for seconds, not for days";
  EXPECT_TRUE(backend_lives(working.pid()));
  EXPECT_EQ(pgleash().metric("pgleash_monitor_up"), 1);
  postgres().sql(fmt::format("SELECT pg_terminate_backend({})", working.pid()));
  jump("+0");
  house.expect_in_order();
}

/// What does not pass in clear, or not at all, is judged by the server's view, and ages in it are
/// of the server's clock.
TEST_F(ClockFault, AServersDateThatJumpsEndsNobodyWhoIsJudgedByItsView) {
  if (!fs::exists(library)) GTEST_SKIP() << "NO LIBFAKETIME HERE: scripts/install-deps test";
  MonitoredServer there{PostgresOptions{.environment = environment()}};
  PgleashProcess watching{
      PGLEASH_BINARY, there, *there,
      PgleashOptions{.rules = rule("idle", "idle", "1h", "terminate") +
                              rule("open", "idle_in_transaction", "1h", "terminate") +
                              rule("old", "session_age", "2h", "terminate") +
                              rule("long", "statement", "1h", "terminate") +
                              rule("leaky", "idle_in_transaction", "300ms", "terminate",
                                   for_application("leaky")),
                     .server = "direct_sessions = \"judge\""}};
  ASSERT_TRUE(wait_until([&] { return watching.metric("pgleash_monitor_up") == 1; }, 10s));
  House house{*there, watching, SteadyClient::WhenLost::error};
  house.watch("pgleash_actions_total", {{"rule", "leaky"}, {"outcome", "confirmed"}});
  const auto direct = [&](const std::string& name) {
    return Application{{{"host", "127.0.0.1"},
                        {"port", std::to_string(there->port())},
                        {"user", "app"},
                        {"password", "app"},
                        {"dbname", "orders"},
                        {"application_name", name}}};
  };
  {
    Application idle = direct("idle");
    Application open = direct("open");
    open.exec("BEGIN");
    Application holder = direct("holder");
    holder.exec("SELECT pg_advisory_lock(1)");
    Application waiting = direct("waiting");
    waiting.send("SELECT pg_advisory_lock(1)");  // pg_sleep would be over at a jump
    const auto seen = [&] {
      return watching.metric("pgleash_monitor_query_duration_seconds_count");
    };
    const auto expect_all_left_alone = [&](const std::string& when) {
      const double before = seen();
      EXPECT_TRUE(wait_until([&] { return seen() >= before + 20; }, 20s)) << when;
      for (const Application* one : {&idle, &open, &waiting})
        EXPECT_EQ(there->value(fmt::format("SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
                                           one->pid())),
                  "1")
            << when;
      Application leaky = direct("leaky");
      leaky.exec("BEGIN");
      EXPECT_TRUE(leaky.ended(15s)) << "who began since is judged: " << when;
    };
    const auto day = [&] { return there->value("SELECT current_date"); };
    const std::string today = day();
    expect_all_left_alone("before");
    jump("+3d");
    ASSERT_GT(day(), today) << "the clock did not jump";
    expect_all_left_alone("three days ahead");
    jump("-5d");
    ASSERT_LT(day(), today) << "the clock did not jump back";
    expect_all_left_alone("five days back");
    jump("+0");
    expect_all_left_alone("put right");
  }
  for (const char* name : {"idle", "open", "old", "long"})
    EXPECT_EQ(watching.metric("pgleash_actions_total", {{"rule", name}}), 0) << name;
  house.expect_in_order();
}

}  // namespace
}  // namespace pgleash::test
