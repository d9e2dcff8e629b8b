#include "tests/scenario/fault/fault.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <vector>

/// What may happen to the server, and what its clients and pgleash make of it.
namespace pgleash::test {
namespace {

/// The postmaster and all its children.
std::vector<pid_t> processes_of(pid_t postmaster) {
  std::vector<pid_t> all{postmaster};
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream status{entry.path() / "status"};
    for (std::string line; std::getline(status, line);)
      if (line == fmt::format("PPid:\t{}", postmaster)) all.push_back(std::stoi(name));
  }
  return all;
}

class ServerFault : public Fault {};

TEST_F(ServerFault, ABackendThatIsKilledTakesAllWithItAndAllComesBack) {
  auto& house =
      this->house({.rules = end_leaky_transactions()}, SteadyClient::WhenLost::log_in_again);
  house.watch("pgleash_session_ends_total", {{"cause", "server_close"}});
  auto victim = login_as("victim");
  victim.send("SELECT pg_sleep(600)");
  auto bystander = login_as("bystander");
  auto leaky = login_as("leaky");
  leaky.exec("BEGIN");
  ASSERT_TRUE(wait_until([&] { return state_of(victim.pid()) == "active"; }, 10s));

  ASSERT_EQ(::kill(victim.pid(), SIGKILL), 0);
  EXPECT_TRUE(victim.ended(10s));
  // PostgreSQL takes no chances with its shared memory: it ends all others and recovers.
  EXPECT_TRUE(bystander.ended(10s));
  EXPECT_TRUE(leaky.ended(10s));
  EXPECT_TRUE(wait_until([&] { return house.steady().lost() > 0; }, 10s));
  EXPECT_TRUE(house.steady().works_on(20, 60s));
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 60s));
  EXPECT_EQ(pgleash().metric("pgleash_orphan_backends"), 0);
  house.expect_in_order();
}

TEST_F(ServerFault, AServerThatStandsStillIsWaitedForAndItsAnswersArrive) {
  auto& house = this->house({.rules = end_leaky_transactions(),
                             .listener = "login_timeout = \"2s\"",
                             .monitor_keys = "statement_timeout = \"1s\""});
  house.watch("pgleash_client_connections_total", {{"result", "login_timeout"}});
  auto working = login_as("working");
  auto leaky = login_as("leaky");
  const pid_t backend = leaky.pid();
  const auto processes = processes_of(postgres().pid());
  ASSERT_GT(processes.size(), 5U);
  working.send("SELECT pg_sleep(0.2), 'answer'");
  leaky.exec("BEGIN");

  for (const pid_t pid : processes) ::kill(pid, SIGSTOP);
  const auto leaky_end = leaky.ended(20s);
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 0; }, 30s));
  EXPECT_FALSE(pgleash().page("/healthz").empty()) << "pgleash itself is well";
  EXPECT_THROW(login_as("late"), std::runtime_error);
  for (const pid_t pid : processes) ::kill(pid, SIGCONT);

  EXPECT_TRUE(leaky_end) << "its client is told at once, whatever the server does";
  const Result answer{PQgetResult(working.raw())};
  ASSERT_EQ(PQresultStatus(answer.get()), PGRES_TUPLES_OK) << PQerrorMessage(working.raw());
  EXPECT_STREQ(PQgetvalue(answer.get(), 0, 1), "answer");
  EXPECT_TRUE(wait_until([&] { return !backend_lives(backend); }, 20s));
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 60s));
  house.expect_in_order();
}

}  // namespace
}  // namespace pgleash::test
