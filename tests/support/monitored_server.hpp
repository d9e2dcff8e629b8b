#pragma once

#include "config/config.hpp"
#include "tests/support/libpq_client.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/temp_dir.hpp"

#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/stat.h>

namespace pgleash::test {

/// A PostgreSQL set up as the manual tells operators to: bootstrap.sql applied, the monitor's
/// password in a file; and an application's role and database.
class MonitoredServer {
 public:
  static constexpr const char* monitor_password =
      "watch ' me";  // what a shell or SQL could trip over

  explicit MonitoredServer(PostgresOptions options = {}) : postgres_(std::move(options)) {
    postgres_.bootstrap(monitor_password);
    postgres_.create_role("app", "app");
    postgres_.create_database("orders", "OWNER app");
    password_file_ = write_secret("monitor.pw", std::string{monitor_password} + "\n");
  }

  Postgres* operator->() { return &postgres_; }
  Postgres& operator*() { return postgres_; }

  /// The [[server]] section for it, over TCP.
  [[nodiscard]] config::Server section() const {
    config::Server server;
    server.name = "main";
    server.address = {"127.0.0.1", postgres_.port(), false};
    server.monitor.password_file = password_file_;
    server.monitor.poll_interval = std::chrono::milliseconds{50};
    return server;
  }
  /// A file as an operator should leave it: for its owner only.
  std::string write_secret(const std::string& name, const std::string& text) {
    const auto path = secrets_ / name;
    if (!(std::ofstream{path} << text) || ::chmod(path.c_str(), 0600) != 0)
      throw std::runtime_error{"cannot write " + path};
    return path;
  }
  [[nodiscard]] LibpqClient login(std::map<std::string, std::string> parameters = {}) const {
    parameters.insert({{"host", "127.0.0.1"},
                       {"port", std::to_string(postgres_.port())},
                       {"user", "app"},
                       {"password", "app"},
                       {"dbname", "orders"},
                       {"application_name", "checkout"}});
    return LibpqClient{std::move(parameters)};
  }

 private:
  Postgres postgres_;
  TempDir secrets_;
  std::string password_file_;
};

}  // namespace pgleash::test
