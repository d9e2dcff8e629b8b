#include "watchdog/connection_text.hpp"

#include "config/address.hpp"
#include "watchdog/pg_result.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace pgleash::watchdog {
namespace {

struct Free {
  void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
  void operator()(char* text) const noexcept { PQfreemem(text); }
};
using Options = std::unique_ptr<PQconninfoOption, Free>;
using Words = std::map<std::string, std::string, std::less<>>;

/// Ours to say, or without meaning for a connection that only looks.
constexpr std::array<std::string_view, 4> ignored{"application_name", "fallback_application_name",
                                                  "client_encoding", "connect_timeout"};

Words words_of(const PQconninfoOption* options) {
  Words words;
  for (; options != nullptr && options->keyword != nullptr; ++options)
    if (options->val != nullptr && *options->val != '\0') words[options->keyword] = options->val;
  return words;
}

std::string word(const Words& words, std::string_view name) {
  const auto found = words.find(name);
  return found == words.end() ? std::string{} : found->second;
}

/// What our own connection does not say is libpq's to find in the environment.
std::optional<config::Fault> hand_on(const PQconninfoOption* options) {
  for (; options->keyword != nullptr; ++options) {
    const std::string_view keyword = options->keyword;
    if (options->val == nullptr || keyword == "host" || keyword == "hostaddr" ||
        keyword == "port" || keyword == "user" || keyword == "dbname" ||
        std::find(ignored.begin(), ignored.end(), keyword) != ignored.end())
      continue;
    if (options->envvar == nullptr || keyword == "options")
      return config::Fault{"'" + std::string{keyword} + "' cannot be chosen here", "leave it out"};
    ::setenv(options->envvar, options->val, 1);
  }
  return std::nullopt;
}

}  // namespace

config::Parsed<ConnectionText> read_connection_text(const std::string& text) {
  ConnectionText read;
  const Options defaults{PQconndefaults()};
  Words words = words_of(defaults.get());
  const bool names_database = std::getenv("PGDATABASE") != nullptr;
  if (!names_database) words["dbname"] = "postgres";

  const bool bare = text.find('=') == std::string::npos && text.find("://") == std::string::npos;
  if (bare && !text.empty()) {
    auto parsed = config::parse_server_address(text);
    if (auto* fault = std::get_if<config::Fault>(&parsed)) return std::move(*fault);
    const auto& address = std::get<config::Address>(parsed);
    words["host"] = address.host;
    words["port"] = std::to_string(address.port);
    words.erase("hostaddr");
  } else if (!text.empty()) {
    char* why = nullptr;
    const Options given{PQconninfoParse(text.c_str(), &why)};
    const std::unique_ptr<char, Free> said{why};
    if (!given) {
      // libpq's words may repeat a part of the text, and that part may be a password.
      return config::Fault{"this is no connection string of PostgreSQL's",
                           "write postgres://user@host:5432/database"};
    }
    if (auto fault = hand_on(given.get())) return std::move(*fault);
    Words said_here = words_of(given.get());
    read.password_in_text = said_here.contains("password");
    if (said_here.contains("host")) words.erase("hostaddr");
    for (auto& [name, value] : said_here) words[name] = std::move(value);
  }

  config::Server& server = read.server;
  server.name = "main";
  std::string host = word(words, "hostaddr");
  if (host.empty()) host = word(words, "host");
  if (host.empty()) host = "/var/run/postgresql";
  if (host.find(',') != std::string::npos)
    return config::Fault{"more than one host", "name the one server to look at"};
  server.address.host = host;
  server.address.is_unix = host.starts_with('/');
  const std::string port = word(words, "port");
  auto address = config::parse_server_address("h:" + (port.empty() ? std::string{"5432"} : port));
  if (auto* fault = std::get_if<config::Fault>(&address)) return std::move(*fault);
  server.address.port = std::get<config::Address>(address).port;
  server.monitor.user = word(words, "user");
  server.monitor.database = word(words, "dbname");
  if (server.monitor.user.empty())
    return config::Fault{"nobody to connect as", "write postgres://USER@host:5432/database"};
  return read;
}

}  // namespace pgleash::watchdog
