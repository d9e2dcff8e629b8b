#pragma once

#include "config/config.hpp"
#include "protocol/types.hpp"

#include <libpq-fe.h>

#include <string>
#include <vector>

namespace pgleash::watchdog {

/// Where and as whom to connect.
struct PgEndpoint {
  config::Address address;
  config::Keepalive keepalive{};
  config::ServerTls tls{};
  std::string user;
  std::string database;
  std::string password_file;  ///< read at each connect, wiped after; empty: libpq's own sources
                              ///< (PGPASSWORD, passfile)
  std::string application_name;
  Duration statement_timeout{};  ///< the server's own limit; a caller's deadline should lie a
                                 ///< little behind it
};

/// What the [server] and [server.monitor] sections say.
[[nodiscard]] PgEndpoint monitor_endpoint(const config::Server& server,
                                          std::string application_name);

/// Where it is, for people; `hostaddr` is the address that a host name was resolved to, else empty.
[[nodiscard]] std::string place(const PgEndpoint& where, const std::string& hostaddr);

/// What libpq is told: the endpoint, and a read-only session that is frugal with the server.
class LibpqParameters {
 public:
  LibpqParameters(const PgEndpoint& where, const std::string& hostaddr);
  /// Null only when there is no memory. A null password leaves it to libpq's own sources.
  [[nodiscard]] PGconn* start(const char* password) const;

 private:
  void add(const char* keyword, std::string value);

  std::vector<const char*> keywords_;  ///< literals
  std::vector<std::string> values_;
};

}  // namespace pgleash::watchdog
