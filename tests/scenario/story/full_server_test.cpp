#include "tests/scenario/story/story.hpp"

#include <vector>

/// Every slot is taken, those for superusers too, and the monitor is out: pgleash still ends what
/// it carries, as it needs no login for that.
namespace pgleash::test {
namespace {

constexpr unsigned slots = 16;

class FullServer : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    static MonitoredServer shared{{.max_connections = slots}};
    server_ = &shared;
    if (postgres().value("SELECT 1 FROM pg_roles WHERE rolname = 'boss'").empty())
      postgres().create_role("boss", "boss", "SUPERUSER");
  }
  void TearDown() override {
    if (pgleash_ && HasFailure()) std::fputs(pgleash_->process().err().c_str(), stderr);
    fillers_.clear();
  }

  Postgres& postgres() { return **server_; }
  PgleashProcess& pgleash() { return *pgleash_; }
  void start(PgleashOptions options) {
    pgleash_ = std::make_unique<PgleashProcess>(PGLEASH_BINARY, *server_, postgres(), options);
    const auto up = [this] { return pgleash().metric("pgleash_monitor_up") == 1; };
    ASSERT_TRUE(!options.monitor || wait_until(up, 10s));
    kill_switch(true);  // nothing is ended before the server is full
  }
  void kill_switch(bool on) {
    pgleash().process().signal(SIGUSR2);
    ASSERT_TRUE(wait_until(
        [&] { return pgleash().metric("pgleash_enforcement_paused") == (on ? 1 : 0); }, 10s));
  }
  Application login(const std::string& application) {
    return Application{pgleash().words({{"application_name", application}})};
  }
  std::map<std::string, std::string> superuser() {
    return {{"user", "boss"}, {"password", "boss"}, {"application_name", "filler"}};
  }
  /// Why nobody may log in any more, not even a superuser.
  std::string fill() {
    for (;;) {
      try {
        fillers_.push_back(std::make_unique<LibpqClient>(server_->login(superuser())));
      } catch (const std::runtime_error& refused) {
        return refused.what();
      }
    }
  }
  void expect_full() {
    EXPECT_THAT(fill(), HasSubstr("too many clients already"));
    EXPECT_EQ(postgres().value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = "
                               "'client backend'"),
              std::to_string(slots));
    try {
      login("late");
      FAIL() << "a client found a slot";
    } catch (const std::runtime_error& refused) {
      EXPECT_THAT(refused.what(), HasSubstr("too many clients already"));
    }
  }
  /// The monitor loses its connection, and finds that superusers alone may log in, and then nobody.
  void push_the_monitor_out() {
    postgres().sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE usename = 'pgleash_monitor'");
    ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 0; }, 10s));
    expect_full();
  }
  bool backend_lives(pid_t pid) {
    return postgres().value(fmt::format("SELECT 1 FROM pg_stat_activity WHERE pid = {}", pid)) ==
           "1";
  }
  std::string state_of(pid_t pid) {
    return postgres().value(fmt::format("SELECT state FROM pg_stat_activity WHERE pid = {}", pid));
  }
  /// Whether a verdict of that rule waits for the kill switch.
  bool deferred(const std::string& rule_name) {
    return pgleash().metric("pgleash_actions_total",
                            {{"rule", rule_name}, {"outcome", "deferred"}}) >= 1;
  }
  /// The one outcome of that rule; waits for it.
  std::string outcome_of(const std::string& rule_name) {
    std::vector<std::string> found;
    EXPECT_TRUE(wait_until(
        [&] {
          found.clear();
          for (const auto& line : pgleash().audit("outcome"))
            if (text(line, "rule") == rule_name && text(line, "outcome") != "deferred")
              found.push_back(text(line, "outcome"));
          return !found.empty();
        },
        20s))
        << rule_name;
    EXPECT_THAT(found, SizeIs(1)) << rule_name;
    return found.empty() ? "" : found[0];
  }
  /// Ends one session of each kind in the full server, and the slots are free again.
  void end_chosen_sessions(bool push_out);

 private:
  MonitoredServer* server_ = nullptr;
  std::unique_ptr<PgleashProcess> pgleash_;
  std::vector<std::unique_ptr<LibpqClient>> fillers_;
};

std::string rules() {
  const auto of = [](const std::string& name, const std::string& kind, const std::string& action) {
    return rule(name, kind, "100ms", action, "grace = \"10s\"\n" + for_application(name));
  };
  return of("leaker", "idle_in_transaction", "terminate") + of("forgotten", "idle", "terminate") +
         of("sleeper", "statement", "terminate") + of("burner", "statement", "terminate") +
         of("mistake", "statement", "cancel");
}

void FullServer::end_chosen_sessions(bool push_out) {
  auto leaker = login("leaker");
  leaker.exec("BEGIN");
  auto forgotten = login("forgotten");
  auto sleeper = login("sleeper");
  sleeper.send("SELECT pg_sleep(600)");
  auto burner = login("burner");
  burner.send(
      "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b "
      "WHERE a + b < 0");
  auto mistake = login("mistake");
  mistake.send("SELECT pg_sleep(600)");
  auto bystander = login("bystander");
  ASSERT_TRUE(wait_until([&] { return state_of(mistake.pid()) == "active"; }, 10s));
  if (push_out) {
    // By then the monitor has seen them all: of those it knows that no commit waits, and of the
    // idle one that it holds no advisory lock.
    for (const auto* of : {"leaker", "forgotten", "sleeper", "burner", "mistake"})
      ASSERT_TRUE(wait_until([&] { return deferred(of); }, 10s)) << of;
    push_the_monitor_out();
  } else {
    expect_full();
  }
  if (HasFatalFailure()) return;

  kill_switch(false);
  for (auto* ended : {&leaker, &forgotten, &sleeper, &burner}) {
    const auto error = ended->ended(20s);
    ASSERT_TRUE(error);
    EXPECT_THAT(error->message, HasSubstr("(pgleash rule '"));
    EXPECT_TRUE(wait_until([&] { return !backend_lives(ended->pid()); }, 10s)) << error->message;
  }
  const auto error = mistake.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_EQ(mistake.exec("SELECT 'the session lives on'"), "the session lives on");
  EXPECT_EQ(bystander.exec("SELECT 'served'"), "served");
  bystander.close();

  // The server's end of file proves a death, its ReadyForQuery the end of a statement. Of a backend
  // that was reset nobody can tell without a login, and the first slots that get free are the
  // superusers' own.
  EXPECT_EQ(outcome_of("leaker"), "confirmed");
  EXPECT_EQ(outcome_of("forgotten"), "confirmed");
  EXPECT_EQ(outcome_of("mistake"), "confirmed");
  for (const auto* rule_name : {"sleeper", "burner"})
    EXPECT_THAT(outcome_of(rule_name), testing::AnyOf("confirmed", "unverified")) << rule_name;
  EXPECT_FALSE(pgleash().audit("intent").empty());
  for (const auto& line : pgleash().audit("outcome"))
    EXPECT_EQ(text(line, "why").find("pg_terminate_backend"), std::string::npos);
  EXPECT_EQ(login("next").exec("SELECT 'a slot is free again'"), "a slot is free again");
}

TEST_F(FullServer, AChosenActiveAndAChosenIdleSessionAreEndedWhileTheMonitorFindsNoSlot) {
  start({.rules = rules()});
  end_chosen_sessions(true);
}

TEST_F(FullServer, TheMonitorThatHoldsItsConnectionSeesToItWithoutAnotherLogin) {
  start({.rules = rules()});
  end_chosen_sessions(false);
  EXPECT_EQ(pgleash().metric("pgleash_monitor_up"), 1);
}

TEST_F(FullServer, WithoutAMonitorADeathThatNobodySawIsSaidToBeUnverified) {
  start({.rules = rules(), .monitor = false});
  end_chosen_sessions(false);
  EXPECT_EQ(outcome_of("sleeper"), "unverified");
  EXPECT_EQ(outcome_of("burner"), "unverified");
}

}  // namespace
}  // namespace pgleash::test
