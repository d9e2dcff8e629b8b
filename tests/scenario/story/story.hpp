#pragma once

#include "tests/scenario/story/application.hpp"
#include "tests/support/monitored_server.hpp"
#include "tests/support/pgleash_process.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait_until.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

namespace pgleash::test {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// A rule as operators write it.
inline std::string rule(const std::string& name, const std::string& kind, const std::string& limit,
                        const std::string& action, const std::string& more = {}) {
  return fmt::format(
      "[[rule]]\nname = \"{}\"\nkind = \"{}\"\nlimit = \"{}\"\naction = \"{}\"\n{}\n", name, kind,
      limit, action, more);
}
inline std::string for_application(const std::string& name) {
  return fmt::format("[rule.match]\napplications = ['{}']\n", name);
}

/// Stories of one PostgreSQL, started once a program, with a pgleash of each test's own before it.
/// A test that changes what others rely on changes it back.
class Story : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    static MonitoredServer shared{
        {.max_connections = 300, .settings = {"log_min_duration_statement = -1"}}};
    server_ = &shared;
  }
  void TearDown() override {
    if (pgleash_ && HasFailure()) std::fputs(pgleash_->process().err().c_str(), stderr);
  }

  MonitoredServer& server() { return *server_; }
  Postgres& postgres() { return **server_; }

  /// Starts it; with a monitor, once that has looked at the server.
  PgleashProcess& pgleash(PgleashOptions options) {
    const bool sees =
        options.monitor && options.server_port == 0 && options.monitor_user == "pgleash_monitor";
    pgleash_ =
        std::make_unique<PgleashProcess>(PGLEASH_BINARY, server(), postgres(), std::move(options));
    if (sees && !wait_until([this] { return pgleash_->metric("pgleash_monitor_up") >= 1; }, 10s))
      throw std::runtime_error{"the monitor does not come up"};
    return *pgleash_;
  }
  PgleashProcess& pgleash() { return *pgleash_; }
  Application login(std::map<std::string, std::string> more = {}) {
    return Application{pgleash_->words(std::move(more))};
  }
  /// Past pgleash, to the server itself.
  Application direct(const std::string& name) {
    return Application{{{"host", "127.0.0.1"},
                        {"port", std::to_string(postgres().port())},
                        {"user", "app"},
                        {"password", "app"},
                        {"dbname", "orders"},
                        {"application_name", name}}};
  }

  bool backend_lives(pid_t pid) {
    return postgres().value(fmt::format("SELECT 1 FROM pg_stat_activity WHERE pid = {}", pid)) ==
           "1";
  }
  std::string state_of(pid_t pid) {
    return postgres().value(fmt::format("SELECT state FROM pg_stat_activity WHERE pid = {}", pid));
  }
  double acted(const std::string& rule_name, const std::string& outcome) {
    return pgleash_->metric("pgleash_actions_total", {{"rule", rule_name}, {"outcome", outcome}});
  }
  /// The audit line with the outcome of the verdict that ended it; waits for it.
  boost::json::object outcome_line(const std::string& verdict) {
    boost::json::object found;
    const bool there = wait_until(
        [&] {
          for (const auto& line : pgleash_->audit("outcome"))
            if (text(line, "verdict") == verdict) found = line;
          return !found.empty();
        },
        10s);
    EXPECT_TRUE(there) << "no outcome of verdict " << verdict;
    return found;
  }

 private:
  MonitoredServer* server_ = nullptr;
  std::unique_ptr<PgleashProcess> pgleash_;
};

}  // namespace pgleash::test
