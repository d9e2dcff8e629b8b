#pragma once

#include "tests/support/run_task.hpp"
#include "tests/support/temp_dir.hpp"
#include "watchdog/audit_chain.hpp"
#include "watchdog/audit_log.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace pgleash::watchdog {

using namespace std::chrono_literals;

/// An audit log in a directory of the test's own.
class AuditFileTest : public testing::Test {
 protected:
  config::Audit settings() const {
    config::Audit audit;
    audit.sink = config::AuditSink::file;
    audit.file = path;
    return audit;
  }
  std::unique_ptr<AuditLog> open() { return open(settings()); }
  std::unique_ptr<AuditLog> open(const config::Audit& audit) {
    std::string problem;
    auto log = AuditLog::open(audit, problem);
    if (!log) throw std::runtime_error{problem};
    return log;
  }
  std::string problem_of(const config::Audit& audit) {
    std::string problem;
    EXPECT_EQ(AuditLog::open(audit, problem), nullptr);
    return problem;
  }

  static AuditRecord record(std::string why) {
    AuditRecord made;
    made.ts = std::chrono::system_clock::time_point{1793701800s};
    made.event = AuditEvent::intent;
    made.verdict = "0123456789ABCDEF";
    made.rule = "idle-in-tx";
    made.kind = "idle_in_transaction";
    made.action = "terminate";
    made.mode = "enforce";
    made.measured = 312'000ms;
    made.limit = 300'000ms;
    made.why = std::move(why);
    return made;
  }
  bool write(AuditLog& log, AuditRecord made) {
    return test::run_task(io, log.write(std::move(made)));
  }
  bool write(AuditLog& log, std::string why) { return write(log, record(std::move(why))); }

  static std::string contents(const std::string& file) {
    std::ifstream in{file, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  static std::vector<std::string> lines(const std::string& file) {
    std::vector<std::string> all;
    std::istringstream in{contents(file)};
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
  static void put(const std::string& file, const std::string& text) {
    std::ofstream{file, std::ios::binary} << text;
  }

  boost::asio::io_context io{1};
  test::TempDir directory;
  std::string path = directory / "audit.jsonl";
};

}  // namespace pgleash::watchdog
