#include "app/check_server.hpp"

#include "watchdog/clock.hpp"
#include "watchdog/own_connections.hpp"
#include "watchdog/server_probe.hpp"
#include "watchdog/utf8.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

namespace pgleash::app {

namespace {

using watchdog::Advice;
using watchdog::Gravity;
using Facts = watchdog::PgResult<watchdog::ServerFacts>;

Advice unreachable(const watchdog::PgError& error, const config::Server& server) {
  return {Gravity::error, "monitor",
          fmt::format("the monitor cannot work as {}: {}{}", server.monitor.user, error.message,
                      error.sqlstate.empty() ? "" : fmt::format(" (SQLSTATE {})", error.sqlstate)),
          "make its role and database with: pgleash bootstrap-sql | psql -v password=..."};
}

/// Asio wants results that can be made without a value; a PgResult cannot.
watchdog::Task<void> probe_into(boost::asio::any_io_executor executor, const config::Server& server,
                                Instant deadline, std::optional<Facts>& facts) {
  facts = co_await watchdog::probe(std::move(executor), server, std::string{watchdog::check_name},
                                   deadline);
}

std::vector<Advice> ask(const config::Config& config, const config::Server& server) {
  boost::asio::io_context context{1};
  std::optional<Facts> facts;
  const Instant deadline =
      watchdog::now() + server.connect_timeout + server.monitor.statement_timeout;
  boost::asio::co_spawn(context, probe_into(context.get_executor(), server, deadline, facts),
                        [](const std::exception_ptr& failure) {
                          if (failure) std::rethrow_exception(failure);
                        });
  context.run();
  if (!facts) return {};
  if (!*facts) return {unreachable(facts->error(), server)};
  return watchdog::advise(**facts, config, server);
}

}  // namespace

std::vector<ServerFindings> check_servers(const config::Config& config) {
  std::vector<ServerFindings> all;
  for (const config::Server& server : config.servers) {
    ServerFindings& one = all.emplace_back();
    one.server = server.name;
    if (server.monitor.enabled) {
      one.advice = ask(config, server);
    } else {
      one.advice.push_back({Gravity::note,
                            "monitor",
                            "no monitor: nobody looks into this server, and nothing is verified by "
                            "SQL",
                            {}});
    }
  }
  return all;
}

Gravity gravest(const std::vector<ServerFindings>& findings) noexcept {
  Gravity worst = Gravity::note;
  for (const ServerFindings& one : findings)
    for (const Advice& advice : one.advice) worst = std::max(worst, advice.gravity);
  return worst;
}

std::string to_text(const std::vector<ServerFindings>& findings) {
  std::string text;
  for (const ServerFindings& one : findings) {
    if (one.advice.empty()) text += fmt::format("server {}: ready\n", one.server);
    for (const Advice& advice : one.advice) {
      text += fmt::format("server {}: {}: {}: {}\n", one.server, watchdog::name(advice.gravity),
                          advice.about, advice.message);
      if (!advice.remedy.empty()) text += fmt::format("      = {}\n", advice.remedy);
    }
  }
  return watchdog::valid_utf8(text);
}

std::string to_json(const std::vector<ServerFindings>& findings) {
  boost::json::array servers;
  for (const ServerFindings& one : findings) {
    boost::json::array all;
    for (const Advice& advice : one.advice) {
      boost::json::object entry;
      entry["severity"] = watchdog::name(advice.gravity);
      entry["about"] = advice.about;
      entry["message"] = watchdog::valid_utf8(advice.message);
      entry["remedy"] = watchdog::valid_utf8(advice.remedy);
      all.push_back(std::move(entry));
    }
    boost::json::object server;
    server["server"] = one.server;
    server["advice"] = std::move(all);
    servers.push_back(std::move(server));
  }
  return boost::json::serialize(servers);
}

}  // namespace pgleash::app
