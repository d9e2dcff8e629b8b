#include "watchdog/pg_endpoint.hpp"

#include "config/words.hpp"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace pgleash::watchdog {
namespace {

long long milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

/// Read-only, nothing that waits long or costs much, nothing that an ALTER ROLE or ALTER DATABASE
/// could change. (pg_terminate_backend is no write: it works in a read-only transaction.)
std::string session_options(const PgEndpoint& where) {
  return fmt::format(
      "-c search_path=pg_catalog -c statement_timeout={}ms -c lock_timeout=1s"
      " -c idle_in_transaction_session_timeout=10s -c jit=off -c max_parallel_workers_per_gather=0"
      " -c default_transaction_read_only=on -c DateStyle=ISO -c TimeZone=UTC",
      milliseconds(where.statement_timeout));
}

}  // namespace

PgEndpoint monitor_endpoint(const config::Server& server, std::string application_name) {
  PgEndpoint where;
  where.address = server.address;
  where.keepalive = server.keepalive;
  where.tls = server.tls;
  where.user = server.monitor.user;
  where.database = server.monitor.database;
  where.password_file = server.monitor.password_file;
  where.application_name = std::move(application_name);
  where.statement_timeout = server.monitor.statement_timeout;
  return where;
}

std::string place(const PgEndpoint& where, const std::string& hostaddr) {
  const auto& address = where.address;
  if (address.is_unix) return fmt::format("{}/.s.PGSQL.{}", address.host, address.port);
  if (hostaddr.empty() || hostaddr == address.host)
    return fmt::format("{} port {}", address.host, address.port);
  return fmt::format("{} ({}) port {}", address.host, hostaddr, address.port);
}

LibpqParameters::LibpqParameters(const PgEndpoint& where, const std::string& hostaddr) {
  using std::chrono::duration_cast, std::chrono::seconds;
  add("host", where.address.host);
  if (!hostaddr.empty())
    add("hostaddr", hostaddr);  // a name alone would make libpq ask the DNS, and block
  add("port", std::to_string(where.address.port));
  add("user", where.user);
  add("dbname", where.database);
  add("application_name", where.application_name);
  add("options", session_options(where));
  add("client_encoding", "SQL_ASCII");
  add("gssencmode", "disable");
  add("sslmode", std::string{config::word_for(config::ssl_mode_words, where.tls.mode)});
  // A word of libpq 17; before, it asks, which a server that takes TLS outright answers as well.
  if (where.tls.negotiation == config::TlsNegotiation::direct && PQlibVersion() >= 170000)
    add("sslnegotiation", "direct");
  add("ssl_min_protocol_version",
      "TLSv" + std::string{config::word_for(config::tls_version_words, where.tls.min_version)});
  // "system" is a word of libpq 16; before, it would be a file's name.
  if (!where.tls.ca_file.empty() && (where.tls.ca_file != "system" || PQlibVersion() >= 160000))
    add("sslrootcert", where.tls.ca_file);
  if (!where.tls.crl_file.empty()) add("sslcrl", where.tls.crl_file);
  if (!where.tls.cert_file.empty()) {
    add("sslcert", where.tls.cert_file);
    add("sslkey", where.tls.key_file);
  }
  add("keepalives", "1");
  add("keepalives_idle", std::to_string(duration_cast<seconds>(where.keepalive.idle).count()));
  add("keepalives_interval",
      std::to_string(duration_cast<seconds>(where.keepalive.interval).count()));
  add("keepalives_count", std::to_string(where.keepalive.count));
  add("tcp_user_timeout", std::to_string(milliseconds(where.keepalive.user_timeout)));
}

void LibpqParameters::add(const char* keyword, std::string value) {
  keywords_.push_back(keyword);
  values_.push_back(std::move(value));
}

PGconn* LibpqParameters::start(const char* password) const {
  auto keywords = keywords_;
  std::vector<const char*> values;
  for (const auto& value : values_) values.push_back(value.c_str());
  keywords.insert(keywords.end(), {"password", nullptr});
  values.insert(values.end(), {password, nullptr});
  return PQconnectStartParams(keywords.data(), values.data(), 0);
}

}  // namespace pgleash::watchdog
