#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// Where and as whom a tool connects, as a person wrote it.
struct ConnectionText {
  config::Server server;          ///< named "main"; its monitor is who connects
  bool password_in_text = false;  ///< other users of this machine could read it meanwhile
};

/// Reads what psql would take: a URL (`postgres://user@host:5432/database?sslmode=require`) or
/// words (`host=db1 user=dba`). What is missing comes from libpq's environment (PGHOST, PGUSER …);
/// the database is `postgres` where neither says another one. What libpq takes from the environment
/// (password, sslmode, certificates) is put there, for this process alone. At start-up, before
/// there are threads.
/// Source: "libpq - C Library", Connection Strings; Environment Variables.
[[nodiscard]] config::Parsed<ConnectionText> read_connection_text(const std::string& text);

}  // namespace pgleash::watchdog
