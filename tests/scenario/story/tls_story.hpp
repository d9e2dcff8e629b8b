#pragma once

#include "tests/scenario/story/story.hpp"
#include "tests/support/certificates.hpp"

#include <map>
#include <memory>
#include <string>

namespace pgleash::test {

/// Stories of a PostgreSQL with TLS, and what becomes of logins and ends through pgleash.
class Tls : public testing::Test {
 protected:
  struct World {
    World()
        : server([this] {
            Certificates::give_to_server(servers);
            return PostgresOptions{
                .max_connections = 100,
                .settings = {"ssl = on", "ssl_cert_file = '" + servers.cert + "'",
                             "ssl_key_file = '" + servers.key + "'"}};
          }()) {}
    Certificates certificates;
    CertificateFiles servers = certificates.issue("server");
    CertificateFiles own = certificates.issue("pgleash");
    MonitoredServer server;
  };

  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    static World shared;
    world_ = &shared;
  }
  void TearDown() override {
    if (pgleash_ && HasFailure()) std::fputs(pgleash_->process().err().c_str(), stderr);
  }

  World& world() { return *world_; }
  Postgres& postgres() { return *world_->server; }
  static std::string client_leg(const CertificateFiles& files, const std::string& mode = "prefer") {
    return fmt::format("tls = \"{}\"\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n", mode,
                       files.cert, files.key);
  }
  std::string server_leg() {
    return fmt::format("tls = \"verify-full\"\ntls_ca_file = \"{}\"\n", world().certificates.ca());
  }
  /// For behind server_leg().
  static constexpr const char* outright = "tls_negotiation = \"direct\"\n";
  bool takes_tls_outright() {
    return std::stoi(postgres().value("SHOW server_version_num")) >= 170000;
  }
  PgleashProcess& pgleash(PgleashOptions options) {
    pgleash_ = std::make_unique<PgleashProcess>(PGLEASH_BINARY, world().server, postgres(),
                                                std::move(options));
    return *pgleash_;
  }
  PgleashProcess& pgleash() { return *pgleash_; }
  std::map<std::string, std::string> verifying(std::map<std::string, std::string> more = {}) {
    more.insert({{"sslmode", "verify-full"},
                 {"sslrootcert", world().certificates.ca()},
                 {"host", "localhost"},
                 {"hostaddr", "127.0.0.1"}});
    return more;
  }
  Application login() { return Application{pgleash_->words(verifying())}; }
  /// Empty when the login succeeds, else what libpq says.
  std::string failure(std::map<std::string, std::string> more) {
    try {
      LibpqClient client{pgleash_->words(std::move(more))};
      return client.exec("SELECT 1") == "1" ? "" : "no answer";
    } catch (const std::exception& e) {
      return e.what();
    }
  }
  bool backend_lives(pid_t pid) {
    return postgres().value(fmt::format("SELECT 1 FROM pg_stat_activity WHERE pid = {}", pid)) ==
           "1";
  }

 private:
  World* world_ = nullptr;
  std::unique_ptr<PgleashProcess> pgleash_;
};

}  // namespace pgleash::test
