#include "tests/scenario/story/story.hpp"
#include "tests/support/free_port.hpp"
#include "tests/support/notify_socket.hpp"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

/// pgleash under systemd, as far as it can be seen without one: what it tells, and what it takes.
namespace pgleash::test {
namespace {

class ServiceManager : public Story {};

TEST_F(ServiceManager, IsToldOfReadinessReloadsBeatsAndTheEnd) {
  NotifySocket manager;
  pgleash({.mode = "observe",
           .environment = {"NOTIFY_SOCKET=" + manager.address(), "WATCHDOG_USEC=20000"}});
  EXPECT_THAT(manager.hears("READY=1"), HasSubstr("STATUS=observing"));
  // Nobody has listened since the start: it went on all the same, as its monitor is up.
  EXPECT_EQ(pgleash().metric("pgleash_monitor_up"), 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(manager.hears("WATCHDOG=1"), "WATCHDOG=1");

  pgleash().process().signal(SIGHUP);
  EXPECT_THAT(manager.hears("RELOADING=1"), HasSubstr("MONOTONIC_USEC="));
  EXPECT_THAT(manager.hears("READY=1"), HasSubstr("STATUS=observing"));
  std::ofstream{pgleash().config_file(), std::ios::app} << "\nno_such_key = 1\n";
  pgleash().process().signal(SIGHUP);
  EXPECT_THAT(manager.hears("READY=1"), HasSubstr("refused")) << "it serves on, and says so";

  pgleash().process().signal(SIGTERM);
  EXPECT_THAT(manager.hears("STOPPING=1"), HasSubstr("draining"));
}

/// A core file, or another process of the same user, would have its secrets: the kernel gives what
/// must not be dumped to root.
TEST_F(ServiceManager, ItsMemoryIsNobodysToRead) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT ROOT: nobody to run it as";
  TempDir folder;
  const std::string file = folder / "pgleash.toml";
  std::ofstream{file} << fmt::format(
      "[process]\njournal = \"off\"\n[[listener]]\nname = \"main\"\nlisten = "
      "[\"127.0.0.1:{}\"]\n[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\nmonitor = "
      "\"none\"\n[metrics]\nlisten = \"off\"\n",
      free_port());
  ::chmod(file.c_str(), 0644);
  ::chmod(std::string{folder.path()}.c_str(), 0755);
  const std::string program = folder / "pgleash";  // the checkout may be root's alone
  std::filesystem::copy_file(PGLEASH_BINARY, program);
  Command command;
  command.argv = {program, "run", "--config", file};
  command.user = "nobody";
  Process process{std::move(command)};
  const auto listens = [&] {
    return process.err().find("listener.listening") != std::string::npos;
  };
  ASSERT_TRUE(wait_until(listens, 20s)) << process.err();
  struct stat memory {};
  ASSERT_EQ(::stat(fmt::format("/proc/{}/mem", process.pid()).c_str(), &memory), 0);
  EXPECT_EQ(memory.st_uid, 0U);
}

class SocketActivation : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    if (::access("/usr/bin/systemd-socket-activate", X_OK) != 0)
      GTEST_SKIP() << "NO SYSTEMD HERE: scripts/install-deps test";
  }
  /// As systemd does it: the port is open, the program starts with the first connection.
  std::unique_ptr<Process> start(std::uint16_t opened, std::uint16_t configured,
                                 std::uint16_t server) {
    const std::string file = folder_ / "pgleash.toml";
    std::ofstream{file} << fmt::format(
        "[process]\njournal = \"off\"\ndrain_delay = \"off\"\n[[listener]]\nname = "
        "\"main\"\nlisten = "
        "[\"127.0.0.1:{}\"]\n[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\nport = {}\n"
        "monitor = \"none\"\n[metrics]\nlisten = \"off\"\n[http]\nlisten = \"off\"\n",
        configured, server);
    Command command;
    command.argv = {"/usr/bin/systemd-socket-activate",
                    "-l",
                    fmt::format("127.0.0.1:{}", opened),
                    PGLEASH_BINARY,
                    "run",
                    "--config",
                    file};
    return std::make_unique<Process>(std::move(command));
  }
  TempDir folder_;
};

TEST_F(SocketActivation, TheFirstConnectionWaitsForTheProgramAndIsServed) {
  MonitoredServer server;
  const auto port = free_port();
  const auto process = start(port, port, server->port());
  std::optional<LibpqClient> client;
  const auto connected = [&] {
    try {
      client.emplace(std::map<std::string, std::string>{{"host", "127.0.0.1"},
                                                        {"port", std::to_string(port)},
                                                        {"user", "app"},
                                                        {"password", "app"},
                                                        {"dbname", "orders"}});
      return true;
    } catch (const std::runtime_error&) {
      return false;  // the manager itself is not up yet
    }
  };
  ASSERT_TRUE(wait_until(connected, 10s)) << process->err();
  EXPECT_EQ(client->exec("SELECT 'served'"), "served");
  EXPECT_EQ(process->terminate(20s), 0);
}

TEST_F(SocketActivation, ASocketThatNoListenerNamesStopsTheStart) {
  const auto port = free_port();
  const auto process = start(port, free_port(), free_port());
  ASSERT_TRUE(wait_until(
      [&] {
        try {
          LibpqClient{std::map<std::string, std::string>{{"host", "127.0.0.1"},
                                                         {"port", std::to_string(port)}}};
        } catch (const std::runtime_error&) {
        }
        return !process->running();
      },
      20s));
  EXPECT_THAT(process->err(), HasSubstr(fmt::format("inherited socket 127.0.0.1:{}", port)));
}

/// The unit files are what systemd takes without a complaint, and hardened.
TEST(SystemdUnits, VerifyAndAreHardened) {
  if (::access("/usr/bin/systemd-analyze", X_OK) != 0)
    GTEST_SKIP() << "NO SYSTEMD HERE: scripts/install-deps test";
  const std::string units = std::string{PGLEASH_SOURCE_DIR} + "/deploy/systemd/";
  TempDir folder;
  std::ifstream file{units + "pgleash.service"};
  std::string text{std::istreambuf_iterator<char>{file}, {}};
  const std::string installed = "/usr/bin/pgleash";
  text.replace(text.find(installed), installed.size(), PGLEASH_BINARY);
  std::ofstream{folder / "pgleash.service"} << text;
  std::ifstream socket{units + "pgleash.socket"};
  std::ofstream{folder / "pgleash.socket"} << socket.rdbuf();
  Command verify;
  verify.argv = {"/usr/bin/systemd-analyze", "verify", folder / "pgleash.service",
                 folder / "pgleash.socket"};
  const Finished verified = run(std::move(verify));
  EXPECT_EQ(verified.status, 0) << verified.err;
  EXPECT_THAT(verified.err, testing::Not(HasSubstr("pgleash.s"))) << "no complaint about ours";
  Command security;
  security.argv = {"/usr/bin/systemd-analyze", "security", "--offline=true", "--threshold=20",
                   folder / "pgleash.service"};
  const Finished secured = run(std::move(security));
  EXPECT_EQ(secured.status, 0) << "exposure above 2.0 of 10:\n" << secured.out;
}

}  // namespace
}  // namespace pgleash::test
