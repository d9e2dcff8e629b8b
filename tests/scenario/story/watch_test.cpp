#include "tests/scenario/story/story.hpp"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <poll.h>
#include <pty.h>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utility>
#include <utmp.h>
#include <vector>

/// `pgleash watch`, `record` and `replay`: no proxy in the path, a role that has pg_monitor only.
namespace pgleash::test {
namespace {

using testing::Not;

/// A pseudo-terminal with the program on it.
class OnTerminal {
 public:
  explicit OnTerminal(std::vector<std::string> argv) {
    winsize size{};
    size.ws_col = 100;
    size.ws_row = 30;
    int slave = -1;
    if (::openpty(&master_, &slave, nullptr, nullptr, &size) != 0)
      throw std::runtime_error{std::string{"openpty: "} + std::strerror(errno)};
    ::tcgetattr(master_, &before_);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::login_tty(slave);
      ::setenv("TERM", "xterm-256color", 1);
      ::unsetenv("NO_COLOR");
      std::vector<char*> words;
      for (std::string& word : argv) words.push_back(word.data());
      words.push_back(nullptr);
      ::execv(words[0], words.data());
      ::_exit(127);
    }
    ::close(slave);
    ::fcntl(master_, F_SETFL, O_NONBLOCK);
  }
  ~OnTerminal() {
    if (!status_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(master_);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  /// All that was drawn so far.
  const std::string& drawn() {
    std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t got = ::read(master_, buffer.data(), buffer.size());
      if (got <= 0) break;
      drawn_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return drawn_;
  }
  void type(char key) { ASSERT_EQ(::write(master_, &key, 1), 1); }
  void signal(int number) const { ::kill(pid_, number); }
  void resize(unsigned short columns, unsigned short lines) {
    winsize size{};
    size.ws_col = columns;
    size.ws_row = lines;
    ::ioctl(master_, TIOCSWINSZ, &size);
  }
  std::optional<int> status() {
    if (status_) return status_;
    drawn();
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_)
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return status_;
  }
  [[nodiscard]] bool echoes() const {
    termios now{};
    ::tcgetattr(master_, &now);
    return (now.c_lflag & ECHO) != 0;
  }
  [[nodiscard]] bool restored() const {
    termios now{};
    ::tcgetattr(master_, &now);
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag &&
           now.c_oflag == before_.c_oflag &&
           std::memcmp(now.c_cc, before_.c_cc, sizeof now.c_cc) == 0;
  }

 private:
  int master_ = -1;
  pid_t pid_ = -1;
  termios before_{};
  std::string drawn_;
  std::optional<int> status_;
};

class Watching : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    server_ = std::make_unique<MonitoredServer>(PostgresOptions{
        .max_connections = 60, .settings = {"log_statement = all", "log_line_prefix = '%a '"}});
    server()->create_role("watcher", "secret");
    server()->sql("GRANT pg_monitor TO watcher");
    server()->create_role("stranger", "secret");
  }
  MonitoredServer& server() { return *server_; }

  std::string url(const std::string& user = "watcher") {
    return fmt::format("postgres://{}@127.0.0.1:{}/postgres", user, server()->port());
  }
  Command command(const std::string& what, std::vector<std::string> words) {
    Command made;
    made.argv = {PGLEASH_BINARY, what};
    made.argv.insert(made.argv.end(), words.begin(), words.end());
    made.environment = {"PGPASSWORD=secret"};
    return made;
  }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream{folder_ / name} << text;
    return folder_ / name;
  }
  static std::vector<boost::json::object> lines_of(const std::string& text) {
    std::vector<boost::json::object> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line) && !stream.eof();)
      lines.push_back(boost::json::parse(line).as_object());
    return lines;
  }

  std::unique_ptr<MonitoredServer> server_;
  TempDir folder_;
};

TEST_F(Watching, TheLeakerIsNamedByARoleThatHasPgMonitorOnlyAndNothingIsSentButQuestions) {
  const std::string config =
      write("watch.toml",
            "[leak]\nwindows = [\"6s\", \"20s\"]\nhorizon = \"1h\"\nidle_longer_than = \"1s\"\n");
  Process watch{command("watch", {url(), "--json", "--interval", "200ms", "--config", config})};
  std::vector<LibpqClient> lost;
  std::optional<boost::json::object> leak;
  const auto end = std::chrono::steady_clock::now() + 40s;
  auto next = std::chrono::steady_clock::now();
  while (!leak && std::chrono::steady_clock::now() < end && lost.size() < 50) {
    lost.push_back(server().login({{"application_name", "checkout-7d9f8b6c5-x2x9z"}}));
    lost.back().exec("SELECT 4711 /*controller='cart',route='%2Fcart'*/");
    next += 400ms;
    (void)wait_until([&] { return std::chrono::steady_clock::now() >= next; }, 1s);
    for (const auto& line : lines_of(watch.out()))
      if (!line.at("leaks").as_array().empty()) leak = line.at("leaks").as_array()[0].as_object();
  }
  ASSERT_TRUE(leak) << watch.err();
  EXPECT_EQ(leak->at("application").as_string(), "checkout");
  EXPECT_GE(leak->at("suspects").to_number<int>(), 5);
  EXPECT_EQ(leak->at("statement").as_string(), "SELECT $1");
  EXPECT_EQ(leak->at("same_statement_share").to_number<double>(), 1);
  EXPECT_EQ(leak->at("tags").as_object().at("route").as_string(), "/cart");
  EXPECT_EQ(leak->at("oldest").as_array()[0].as_object().at("client_addr").as_string(),
            "127.0.0.1");
  EXPECT_EQ(watch.terminate(10s), 0);
  for (LibpqClient& session : lost) EXPECT_NO_THROW(session.exec("SELECT 1")) << "all are alive";

  // What PostgreSQL was sent: questions, and nothing that it refused.
  const std::string log = server()->log();
  const std::regex sent{R"(pgleash watch LOG:  (?:statement|execute [^:]*): \s*(\w+))"};
  std::size_t statements = 0;
  for (auto at = std::sregex_iterator{log.begin(), log.end(), sent}; at != std::sregex_iterator{};
       ++at, ++statements)
    EXPECT_EQ((*at)[1], "SELECT");
  EXPECT_GT(statements, 10U);
  EXPECT_THAT(log, Not(HasSubstr("pgleash watch ERROR")));
  EXPECT_THAT(log, Not(HasSubstr("pg_terminate_backend")));
  EXPECT_THAT(log, Not(HasSubstr("pg_cancel_backend")));
}

TEST_F(Watching, TheBlockingTreeShowsABlockerAndWhoWaitsBehindItsVictim) {
  server()->sql(
      "CREATE TABLE a (i int); CREATE TABLE b (i int); INSERT INTO a VALUES (1); "
      "INSERT INTO b VALUES (1); GRANT ALL ON a, b TO PUBLIC",
      "orders");
  LibpqClient blocker = server().login({{"application_name", "blocker"}});
  blocker.exec("BEGIN");
  blocker.exec("UPDATE a SET i = 2");
  LibpqClient victim = server().login({{"application_name", "victim"}});
  victim.exec("BEGIN");
  victim.exec("UPDATE b SET i = 2");
  victim.send("UPDATE a SET i = 3");
  LibpqClient last = server().login({{"application_name", "behind-it"}});
  last.send("UPDATE b SET i = 3");
  ASSERT_TRUE(wait_until(
      [&] {
        return server()->value(
                   "SELECT count(*) FROM pg_stat_activity "
                   "WHERE wait_event_type = 'Lock' "
                   "AND clock_timestamp() - query_start > interval '1.5 s'") == "2";
      },
      20s));

  const Finished json = run(command("watch", {url(), "--once", "--json"}));
  ASSERT_EQ(json.status, 0) << json.err;
  const auto shown = lines_of(json.out);
  ASSERT_EQ(shown.size(), 1U);
  const auto& roots = shown[0].at("blocking").as_array();
  ASSERT_EQ(roots.size(), 1U);
  EXPECT_EQ(number(roots[0].as_object(), "pid"), blocker.pid());
  EXPECT_EQ(text(roots[0].as_object(), "application"), "blocker");
  std::map<int, boost::json::array> behind;
  for (const auto& wait : roots[0].as_object().at("blocked").as_array())
    behind[wait.as_object().at("pid").to_number<int>()] = wait.as_object().at("behind").as_array();
  ASSERT_EQ(behind.size(), 2U);
  EXPECT_TRUE(behind.at(victim.pid()).empty());
  EXPECT_EQ(behind.at(last.pid()), boost::json::array{victim.pid()});

  const Finished table = run(command("watch", {url(), "--once"}));
  EXPECT_THAT(table.out, HasSubstr(fmt::format("BLOCKS   pid {} blocker (", blocker.pid())));
  const auto first = table.out.find(fmt::format("\n         └ pid {} victim waits ", victim.pid()));
  ASSERT_NE(first, std::string::npos) << table.out;
  EXPECT_NE(
      table.out.find(fmt::format("\n           └ pid {} behind-it waits ", last.pid()), first),
      std::string::npos)
      << table.out;
}

TEST_F(Watching, InAPipeThereIsNoEscapeWhateverAClientCallsItself) {
  LibpqClient hostile = server().login({{"application_name", "a\x1b[31mb\nc"}});
  hostile.exec("BEGIN");
  hostile.exec("SELECT '\x1b[2J top secret'");
  const Finished plain = run(command("watch", {url(), "--once"}));
  EXPECT_EQ(plain.status, 0) << plain.err;
  EXPECT_THAT(plain.out, HasSubstr("idle in transaction"));
  EXPECT_THAT(plain.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(plain.out, Not(HasSubstr("top secret"))) << "a literal";
  const Finished json = run(command("watch", {url(), "--once", "--json"}));
  EXPECT_THAT(json.out, Not(HasSubstr("\x1b")));
  EXPECT_EQ(lines_of(json.out).size(), 1U);
  const Finished asked = run(command("watch", {url(), "--once", "--literals"}));
  EXPECT_THAT(asked.out, AllOf(HasSubstr("\\x1b[2J top secret"), Not(HasSubstr("\x1b"))));
}

TEST_F(Watching, ARoleWithoutGrantsSeesLessAndIsToldWhich) {
  LibpqClient session = server().login({{"application_name", "checkout"}});
  const Finished found = run(command("watch", {url("stranger"), "--once"}));
  EXPECT_EQ(found.status, 0) << found.err;
  EXPECT_THAT(found.out, HasSubstr("GRANT pg_monitor TO stranger"));
  EXPECT_THAT(found.out, HasSubstr("checkout")) << "names are shown to everybody";
  EXPECT_THAT(found.out, HasSubstr("VEILED"));
}

TEST_F(Watching, WhoCannotConnectIsToldWhereAndWhatToDo) {
  const Finished nobody = run(command("watch", {url("nobody"), "--once"}));
  EXPECT_EQ(nobody.status, 2);
  EXPECT_THAT(nobody.err, AllOf(HasSubstr("127.0.0.1 port"), HasSubstr("PGPASSWORD")));
  const Finished closed = run(command("watch", {"postgres://x@127.0.0.1:1/x"}));
  EXPECT_EQ(closed.status, 2);
  EXPECT_THAT(closed.err, AllOf(HasSubstr("127.0.0.1 port 1"), HasSubstr("listening")));
  const Finished wrong = run(command("watch", {"postgres://x:hidden@[/x"}));
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, Not(HasSubstr("hidden")));
}

TEST_F(Watching, TheTableIsDrawnFollowsTheWindowAndTheTerminalIsPutBack) {
  LibpqClient session = server().login({{"application_name", "checkout"}});
  ::setenv("PGPASSWORD", "secret", 1);
  for (const bool by_key : {true, false}) {
    OnTerminal terminal{{PGLEASH_BINARY, "watch", url(), "--interval", "1h"}};
    ASSERT_TRUE(
        wait_until([&] { return terminal.drawn().find("checkout") != std::string::npos; }, 20s))
        << terminal.drawn();
    EXPECT_THAT(terminal.drawn(), HasSubstr("\x1b[?1049h"));
    EXPECT_THAT(terminal.drawn(), HasSubstr("looks only, ends nobody"));
    EXPECT_FALSE(terminal.echoes());
    const std::size_t before = terminal.drawn().size();
    terminal.resize(30, 10);
    ASSERT_TRUE(
        wait_until([&] { return terminal.drawn().find("…", before) != std::string::npos; }, 20s))
        << "narrower, so that lines are cut";
    by_key ? terminal.type('q') : terminal.signal(SIGTERM);
    ASSERT_TRUE(wait_until([&] { return terminal.status().has_value(); }, 20s));
    EXPECT_EQ(*terminal.status(), 0);
    EXPECT_THAT(terminal.drawn(), HasSubstr("\x1b[?1049l"));
    EXPECT_TRUE(terminal.restored());
  }
  OnTerminal terminal{{PGLEASH_BINARY, "watch", url(), "--interval", "1h"}};
  ASSERT_TRUE(
      wait_until([&] { return terminal.drawn().find("checkout") != std::string::npos; }, 20s));
  terminal.signal(SIGABRT);
  ASSERT_TRUE(wait_until([&] { return terminal.status().has_value(); }, 20s));
  EXPECT_EQ(*terminal.status(), 128 + SIGABRT);
  EXPECT_TRUE(terminal.restored()) << "even when it dies";
  ::unsetenv("PGPASSWORD");
}

TEST_F(Watching, WhatWasRecordedIsJudgedLaterByOtherRules) {
  const std::string file = folder_ / "a.jsonl";
  Process record{command("record", {url(), "-o", file, "--interval", "100ms"})};
  LibpqClient session = server().login({{"application_name", "checkout"}});
  session.exec("BEGIN");
  session.exec("SELECT 'top secret'");
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(wait_until([&] { return std::chrono::steady_clock::now() - began > 3s; }, 10s));
  EXPECT_EQ(record.terminate(10s), 0) << record.err();
  std::ifstream stream{file};
  const std::string text{std::istreambuf_iterator<char>{stream}, {}};
  EXPECT_THAT(text, Not(HasSubstr("top secret")));

  const auto counted = [&](const std::string& limit) {
    const std::string config =
        write("rules.toml", rule("tx", "idle_in_transaction", limit, "terminate"));
    const Finished replay = run(command("replay", {file, "--config", config, "--json"}));
    EXPECT_EQ(replay.status, 0) << replay.err;
    return boost::json::parse(replay.out).as_object().at("would_act").as_array();
  };
  const auto found = counted("1s");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].as_object().at("application").as_string(), "checkout");
  EXPECT_EQ(found[0].as_object().at("would_act").to_number<int>(), 1);
  EXPECT_EQ(counted("1h").size(), 0U);
  std::ofstream{file, std::ios::app} << "{\"t\":99";
  const Finished torn = run(command("replay", {file}));
  EXPECT_EQ(torn.status, 1);
  EXPECT_THAT(torn.err, HasSubstr(file + ":"));
}

/// What passes through pgleash is recorded too, with the states that it follows to the byte.
class Recordings : public Story {};

TEST_F(Recordings, OfTheProxyAreJudgedLaterByOtherRules) {
  TempDir folder;
  const std::string file = folder / "sessions.jsonl";
  pgleash({.rules = rule("never", "idle_in_transaction", "1h", "observe") +
                    fmt::format("[recording]\nfile = \"{}\"\ninterval = \"100ms\"\n", file)});
  Application session = login({{"application_name", "checkout"}});
  session.exec("BEGIN");
  session.exec("SELECT 'top secret'");
  ASSERT_TRUE(
      wait_until([&] { return pgleash().metric("pgleash_recording_frames_total") > 30; }, 30s));
  EXPECT_EQ(pgleash().metric("pgleash_recording_lost_total"), 0);
  EXPECT_EQ(pgleash().terminate(), 0);
  std::ifstream stream{file};
  const std::string text{std::istreambuf_iterator<char>{stream}, {}};
  EXPECT_THAT(text, AllOf(HasSubstr("checkout"), Not(HasSubstr("top secret"))));

  const std::string rules = folder / "rules.toml";
  std::ofstream{rules} << rule("tx", "idle_in_transaction", "1s", "terminate");
  Command command;
  command.argv = {PGLEASH_BINARY, "replay", file, "--config", rules, "--json"};
  const Finished replay = run(std::move(command));
  EXPECT_EQ(replay.status, 0) << replay.err;
  const auto found = boost::json::parse(replay.out).as_object().at("would_act").as_array();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].as_object().at("application").as_string(), "checkout");
  EXPECT_EQ(found[0].as_object().at("would_act").to_number<int>(), 1);
}

}  // namespace
}  // namespace pgleash::test
