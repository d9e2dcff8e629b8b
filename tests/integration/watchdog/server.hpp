#pragma once

#include "tests/support/monitored_server.hpp"
#include "tests/support/run_task.hpp"
#include "watchdog/pg_connection.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>

namespace pgleash::watchdog {

using namespace std::chrono_literals;

/// Tests against one server, started once a program. A test that changes what others rely on
/// changes it back, or starts a server of its own.
class WithServer : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    static test::MonitoredServer shared;
    server_ = &shared;
  }

  test::MonitoredServer& server() { return *server_; }
  static Instant in(Duration time) { return std::chrono::steady_clock::now() + time; }

  boost::asio::io_context io{1};

 private:
  test::MonitoredServer* server_ = nullptr;
};

}  // namespace pgleash::watchdog
