#include "app/watch/outside_sampling.hpp"

#include "config/defaults.hpp"
#include "config/duration.hpp"
#include "config/fault.hpp"
#include "config/loader.hpp"
#include "watchdog/connection_text.hpp"
#include "watchdog/pg_endpoint.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <variant>

namespace pgleash::app {

std::optional<Outside> read_outside(const std::string& server, const std::string& config_file,
                                    const std::string& interval, std::string& why,
                                    std::vector<config::Diagnostic>& diagnostics) {
  Outside outside;
  if (!config_file.empty()) {
    config::LoadResult loaded =
        server.empty() ? config::load_file(config_file) : load_rules(config_file);
    diagnostics = std::move(loaded.diagnostics);
    if (!loaded.config) return std::nullopt;
    outside.config = std::move(*loaded.config);
  }
  const auto poll = config::parse_duration(interval, why);
  if (!poll) {
    why = "--interval: " + why;
    return std::nullopt;
  }
  auto& servers = outside.config.servers;
  const bool of_file = server.empty() && !servers.empty();
  if (of_file && servers.size() > 1) {
    why = "the file has " + std::to_string(servers.size()) +
          " servers: name the one to look at, as postgres://user@host:5432";
    return std::nullopt;
  }
  if (!of_file) {
    auto read = watchdog::read_connection_text(server);
    if (const auto* fault = std::get_if<config::Fault>(&read)) {
      why = fault->message + ": " + fault->hint;
      return std::nullopt;
    }
    servers = {std::get<watchdog::ConnectionText>(read).server};
  }
  servers.front().monitor.enabled = true;
  servers.front().monitor.poll_interval = *poll;
  if (config_file.empty()) {
    outside.config.identity.driver_defaults = config::default_driver_names();
    config::complete(outside.config);
  }
  outside.config.enforcement.mode = config::Mode::observe;
  outside.place = watchdog::place(watchdog::monitor_endpoint(servers.front(), {}), {});
  return outside;
}

config::LoadResult load_rules(const std::string& file) {
  std::ifstream stream{file, std::ios::binary};
  const std::string text{std::istreambuf_iterator<char>{stream}, {}};
  // Sections come last in TOML, so that one more behind them changes none.
  if (stream && text.find("[[server]]") == std::string::npos)
    return config::load_text(text + "\n[[server]]\nname = \"main\"\nhost = \"localhost\"\n", file);
  return config::load_file(file);
}

std::string remedy_for(std::string_view problem) {
  struct Remedy {
    std::string_view sign;
    std::string_view text;
  };
  constexpr std::array<Remedy, 8> remedies{{
      {"no password supplied", "set PGPASSWORD, or put the password into ~/.pgpass"},
      {"28P01", "check user and password: PGPASSWORD, or ~/.pgpass"},
      {"28000", "let this address and role in: pg_hba.conf of the server"},
      {"3D000", "name a database that exists: postgres://user@host/DATABASE"},
      {"53300",
       "all slots are taken: connect as a role with pg_use_reserved_connections "
       "(PostgreSQL 16 and later), or as a superuser"},
      {"refused", "is PostgreSQL listening there? See listen_addresses and port"},
      {"could not translate", "check the host name"},
      {"No such file",
       "is PostgreSQL running there? Its socket directory is "
       "unix_socket_directories"},
  }};
  for (const Remedy& one : remedies)
    if (problem.find(one.sign) != std::string_view::npos) return std::string{one.text};
  return {};
}

bool hide_password(char* argument) noexcept {
  char* begin = nullptr;
  char* end = nullptr;
  if (char* authority = std::strstr(argument, "://")) {
    char* at = std::strchr(authority + 3, '@');
    char* colon = std::strchr(authority + 3, ':');
    if (at != nullptr && colon != nullptr && colon < at) {
      begin = colon + 1;
      end = at;
    }
  }
  if (char* word = std::strstr(argument, "password="); begin == nullptr && word != nullptr) {
    begin = word + std::strlen("password=");
    const bool quoted = *begin == '\'';
    for (end = begin + (quoted ? 1 : 0); *end != '\0'; ++end)
      if (quoted ? *end == '\'' : *end == ' ' || *end == '&') break;
  }
  if (begin == nullptr) return false;
  std::fill(begin, end, 'x');
  return true;
}

}  // namespace pgleash::app
