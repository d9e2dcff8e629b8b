#include "tests/scenario/story/story.hpp"
#include "tests/support/free_port.hpp"

#include <arpa/inet.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/// What goes wrong around pgleash is said plainly, and disturbs nobody else.
namespace pgleash::test {
namespace {

class Adversity : public Story {
 protected:
  void write(const std::string& toml) { std::ofstream{file_} << toml; }
  Finished pgleash_with_file(const std::string& command, const std::string& user = {}) {
    return run({.argv = {binary_, command, "--config", file_}, .environment = {}, .user = user});
  }

  TempDir directory_;
  std::string file_ = directory_ / "pgleash.toml";
  std::string binary_ = PGLEASH_BINARY;
};

TEST_F(Adversity, AServerThatIsDownIsToldToTheClient) {
  const auto nobody = free_port();
  pgleash({.server_port = nobody});
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(pgleash().port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const std::string message{"\0\0\0\x12\0\3\0\0user\0app\0", 18};
  ASSERT_EQ(::send(fd, message.data(), message.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(message.size()));
  std::string answer;
  char part[1024];
  for (ssize_t n = 0; (n = ::recv(fd, part, sizeof part, 0)) > 0;)
    answer.append(part, static_cast<std::size_t>(n));
  ::close(fd);
  EXPECT_THAT(answer, AllOf(HasSubstr("SFATAL"), HasSubstr("C08006"),
                            HasSubstr(fmt::format("127.0.0.1:{}", nobody))));
  EXPECT_EQ(
      pgleash().metric("pgleash_client_connections_total", {{"result", "server_unreachable"}}), 1);
  EXPECT_THAT(pgleash().page("/healthz"), testing::Not(IsEmpty())) << "pgleash itself is well";
}

TEST_F(Adversity, AMonitorRoleWithoutRightsIsToldWhichGrantItLacks) {
  postgres().sql("DROP ROLE IF EXISTS bare");
  postgres().create_role("bare", "bare");
  postgres().sql("GRANT CONNECT ON DATABASE pgleash TO bare");
  pgleash({.monitor_user = "bare", .password_file = server().write_secret("bare.pw", "bare\n")});
  const auto said_so = [&] {
    for (const auto& line : pgleash().log())
      if (text(line, "event").starts_with("monitor.") &&
          text(line, "problem").find("GRANT pg_monitor") != std::string::npos)
        return true;
    return false;
  };
  EXPECT_TRUE(wait_until(said_so, 10s));
  EXPECT_EQ(login().exec("SELECT 'served'"), "served");
}

TEST_F(Adversity, TheRelayServesWhateverTheMonitorDoesAndBothComeBack) {
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "500ms", "terminate",
                         for_application("leaky"))});
  auto application = login();
  postgres().sql("ALTER ROLE pgleash_monitor NOLOGIN");
  postgres().sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pgleash_monitor'");
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 0; }, 10s));
  EXPECT_EQ(application.exec("SELECT 'served'"), "served");
  auto leaky = login({{"application_name", "leaky"}});
  leaky.exec("BEGIN");
  const auto error = leaky.ended(10s);
  ASSERT_TRUE(error) << "rules that need no monitor go on without it";
  EXPECT_EQ(text(outcome_line(error->incident()), "outcome"), "confirmed");

  postgres().sql("ALTER ROLE pgleash_monitor LOGIN");
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 20s));
  EXPECT_EQ(application.exec("SELECT 'served'"), "served");
}

TEST_F(Adversity, AServerThatRestartsIsServedAgain) {
  pgleash({});
  auto before = login();
  postgres().restart();
  const auto error = before.ended(10s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P01");
  EXPECT_EQ(login().exec("SELECT 'back'"), "back");
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 20s));
}

TEST_F(Adversity, APortThatIsTakenStopsTheStart) {
  pgleash({});
  write(fmt::format(
      "[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\nmonitor = \"none\"\n[[listener]]\n"
      "listen = [\"127.0.0.1:{}\"]\n[metrics]\nlisten = \"off\"\n[http]\nlisten = \"off\"\n",
      pgleash().port()));
  const auto done = pgleash_with_file("run");
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err,
              AllOf(HasSubstr(fmt::format("cannot listen on 127.0.0.1:{}", pgleash().port())),
                    HasSubstr("another program listens there")));
}

TEST_F(Adversity, AWrongConfigurationIsToldWithAllItsFaults) {
  write(
      "[[server]]\nname = \"main\"\nhots = \"127.0.0.1\"\n[enforcement]\nmode = "
      "\"enforced\"\n[[rule]]\nname = \"Web\"\n"
      "kind = \"idel\"\nlimit = 90\n");
  for (const auto* command : {"check", "run"}) {
    const auto done = pgleash_with_file(command);
    EXPECT_EQ(done.status, 2) << command;
    for (const auto* fault :
         {":3:", "hots", ":5:", "enforced", ":7:", "Web", ":8:", "idel", ":9:", "\"90s\""})
      EXPECT_THAT(done.err, HasSubstr(fault)) << command;
  }
}

TEST_F(Adversity, TheServersOwnUserMayNotServeOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "NOT ROOT: cannot become the user postgres";
  // A copy, since the user postgres may not come where this program is.
  binary_ = directory_ / "pgleash";
  std::filesystem::copy_file(PGLEASH_BINARY, binary_);
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(binary_.c_str(), 0755), 0);
  write(fmt::format(
      "[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\nmonitor = \"none\"\n[[listener]]\n"
      "listen = [\"0.0.0.0:{}\"]\n[metrics]\nlisten = \"off\"\n[http]\nlisten = \"off\"\n",
      free_port()));
  const auto done = pgleash_with_file("run", "postgres");
  EXPECT_EQ(done.status, 1);
  EXPECT_THAT(done.err,
              AllOf(HasSubstr("must not run as the OS user postgres"), HasSubstr("pg_hba.conf")));
}

}  // namespace
}  // namespace pgleash::test
