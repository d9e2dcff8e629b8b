#include "watchdog/nameless.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <utility>

namespace pgleash::watchdog {
namespace {

constexpr std::size_t most_users = 3;

struct Driver {
  std::string_view says;
  std::string_view remedy;
};

/// What drivers call every session alike, as INTERFACES' [identity] has it, and what names them.
constexpr std::array<Driver, 5> drivers{{
    {"PostgreSQL JDBC Driver", "JDBC: add ?ApplicationName=NAME to the URL"},
    {"vertx-pg-client", "Vert.x: connectOptions.addProperty(\"application_name\", \"NAME\")"},
    {"postgres.js", "postgres.js: postgres(url, {connection: {application_name: 'NAME'}})"},
    {"node-postgres", "node pg: new Pool({application_name: 'NAME'})"},
    {"",
     "libpq (psycopg, PHP, Ruby): application_name=NAME in the connection string, or PGAPPNAME "
     "in the environment; node pg: new Pool({application_name: 'NAME'}); asyncpg: "
     "server_settings={'application_name': 'NAME'}; Npgsql: Application Name=NAME"},
}};

}  // namespace

std::string_view naming_remedy(std::string_view application_name) noexcept {
  const auto found = std::find_if(drivers.begin(), drivers.end(), [&](const Driver& driver) {
    return driver.says == application_name;
  });
  return found == drivers.end() ? std::string_view{} : found->remedy;
}

std::vector<Nameless> nameless_sessions(std::span<const SharedRow> rows) {
  std::map<std::string, Nameless> by_driver;
  for (const ActivityRow& row : rows) {
    const std::string_view remedy = naming_remedy(row.application_name);
    if (remedy.empty()) continue;
    Nameless& one = by_driver[row.application_name];
    one.said = row.application_name;
    one.remedy = remedy;
    ++one.sessions;
    std::string user = row.user + '@' + row.database;
    if (one.users.size() < most_users &&
        std::find(one.users.begin(), one.users.end(), user) == one.users.end())
      one.users.push_back(std::move(user));
  }
  std::vector<Nameless> all;
  for (auto& [said, one] : by_driver) all.push_back(std::move(one));
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.sessions > b.sessions; });
  return all;
}

}  // namespace pgleash::watchdog
