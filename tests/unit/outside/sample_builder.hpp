#pragma once

#include "watchdog/activity.hpp"

#include <chrono>
#include <cstdint>
#include <string>

/// Samples as PostgreSQL gives them, by a clock that the test moves.
namespace pgleash::app {

using namespace std::chrono_literals;

inline const Instant noon = Instant{} + 1000h;

/// A row of app@orders from 10.0.0.7 that has been in its state since `since`, as of `now`.
inline watchdog::ActivityRow row(std::int32_t pid, const std::string& application,
                                 const std::string& state, Instant since, Instant now,
                                 const std::string& query = "SELECT 1") {
  const auto server_time = [](Instant when) {
    return watchdog::ServerTime{
        std::chrono::duration_cast<std::chrono::microseconds>(when.time_since_epoch()).count()};
  };
  watchdog::ActivityRow made;
  made.backend = {protocol::BackendPid{pid}, watchdog::ServerTime{pid + 1}};
  made.user = "app";
  made.database = "orders";
  made.application_name = application;
  made.client_addr = "10.0.0.7";
  made.client_port = 40000 + pid;
  made.state = state;
  made.query = query;
  made.state_change = made.query_start = server_time(since);
  made.state_age = made.query_age = now - since;
  made.backend_age = now - since + 1h;
  if (state != "idle") {
    made.xact_start = server_time(since);
    made.transaction_age = now - since;
  }
  return made;
}

inline watchdog::ActivitySample sample(Instant now) {
  watchdog::ActivitySample made;
  made.taken = now;
  made.server_version = 150018;
  made.max_connections = 100;
  made.reserved_connections = 3;
  made.synchronous_replication = false;
  return made;
}

}  // namespace pgleash::app
