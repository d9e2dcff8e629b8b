#include "app/application.hpp"
#include "config/duration.hpp"
#include "config/measure.hpp"
#include "config/words.hpp"
#include "proxy/socket.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pgleash::app {
namespace {

std::string connection_string(const config::Address& address) {
  if (address.is_unix)
    return fmt::format("postgresql:///DATABASE?host={}&port={}", address.host, address.port);
  std::string host = address.host == "*" || address.host == "0.0.0.0" || address.host == "::"
                         ? "THIS-HOST"
                         : address.host;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return fmt::format("postgresql://USER@{}:{}/DATABASE", host, address.port);
}

std::string rule_line(const config::Rule& rule) {
  std::string line = fmt::format("{:<32} {:<20}", rule.name, config::name(rule.kind));
  if (rule.value)
    line += fmt::format(" value {}",
                        config::format_measure(config::measure_unit(rule.kind), *rule.value));
  line += rule.limit ? fmt::format(" limit {:<7}", config::format_duration(*rule.limit))
                     : fmt::format(" limit {:<7}", "off");
  if (rule.warn) line += fmt::format(" warn {}", config::format_duration(*rule.warn));
  return line + fmt::format("  -> {}", config::name(rule.action));
}

/// Which way of SCRAM applies between a listener and its server: the modes of docs/tls.md.
std::string scram_way(const config::Listener& listener, const config::Server& server) {
  if (listener.tls.mode == config::ListenerTlsMode::opaque)
    return "mode F (the clients' TLS passes): all pass, end to end. pgleash reads nothing: rules "
           "judge "
           "idle, idle_in_transaction, aborted, statement, transaction_age and session_age by "
           "pg_stat_activity, end by SQL alone, and require_challenge is pg_hba.conf's to keep";
  if (listener.scram == config::Scram::reoriginate)
    return "mode E (pgleash verifies members of scram_group and logs in for them): each leg binds "
           "to "
           "its own certificate, channel_binding=require included where clients come by TLS; other "
           "roles are refused";
  const bool client = listener.tls.mode != config::ListenerTlsMode::off;
  const bool never = server.tls.mode == config::SslMode::disable || server.address.is_unix;
  const bool always = server.tls.mode >= config::SslMode::require && !server.address.is_unix;
  if (!client && never)
    return "mode A (no TLS): all ways of logging in pass, but for channel_binding=require";
  if (!client)
    return std::string{always ? "mode B" : "mode B, or A where the server has no TLS"} +
           " (TLS to the server only): all pass, but for channel_binding=require";
  if (never) return "mode A (TLS to clients only): all pass, but for channel_binding=require";
  return std::string{always ? "" : "where the server has TLS: "} +
         "mode C, all pass, if both show the same certificate; else mode D: SCRAM needs "
         "channel_binding=disable";
}

std::string server_tls(const config::Server& server) {
  if (server.address.is_unix) return "none";
  std::string text{config::word_for(config::ssl_mode_words, server.tls.mode)};
  if (server.tls.negotiation == config::TlsNegotiation::direct) text += " begun outright";
  return text;
}

}  // namespace

std::string start_card(const config::Config& config, bool colour) {
  const auto bold = [&](std::string_view text) {
    return colour ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string{text};
  };
  std::string card =
      fmt::format("{} {}  ({})\n", bold("pgleash"), PGLEASH_VERSION, config.process.name);
  for (const config::Listener& listener : config.listeners)
    for (const config::Address& address : listener.listen)
      card += fmt::format(
          "  connect to    {}   (server \"{}\"{})\n", connection_string(address), listener.server,
          listener.tls.mode == config::ListenerTlsMode::off || address.is_unix
              ? std::string{}
              : fmt::format(", TLS {}",
                            config::word_for(config::listener_tls_words, listener.tls.mode)));
  for (const config::Server& server : config.servers)
    card += fmt::format(
        "  server        {} at {}, TLS {}, monitor {}\n", server.name,
        proxy::to_text(server.address), server_tls(server),
        server.monitor.enabled
            ? fmt::format("{}@{} every {}", server.monitor.user, server.monitor.database,
                          config::format_duration(server.monitor.poll_interval))
            : std::string{"none (rules judge what passes through; nothing is verified by SQL)"});
  if (config.metrics.listen)
    card += fmt::format("  metrics       http://{}/metrics  /healthz  /readyz\n",
                        proxy::to_text(*config.metrics.listen));
  if (config.http.listen)
    card += fmt::format("  status page   http{}://{}/{}\n", config.http.tls() ? "s" : "",
                        proxy::to_text(*config.http.listen),
                        config.http.token_file.empty() ? "" : "  with the token");
  if (config.console.enabled()) {
    const std::size_t users = config.console.viewers.size() + config.console.operators.size() +
                              config.console.admins.size();
    card += fmt::format(
        "  console       psql -d {}, on the same address; {} user{} may, with the server's "
        "password\n",
        config.console.database, users, users == 1 ? "" : "s");
    if (!config.console.socket.empty())
      card += fmt::format("                psql -h {} -d {}, without one, as the OS user\n",
                          config.console.socket, config.console.database);
  } else {
    card +=
        "  console       off; list users under [console] to switch it on, then: psql -d pgleash\n";
  }
  card +=
      "  names         sessions without application_name, or with a driver's default, go by "
      "[identity], else by user@database;\n"
      "                which there are, and the line that names each: ";
  card += std::any_of(config.servers.begin(), config.servers.end(),
                      [](const config::Server& server) { return server.monitor.enabled; })
              ? "below, when the monitor has looked; later by\n"
                "                check --server, or watch\n"
              : "check --server, or watch\n";
  const bool enforce = config.enforcement.mode == config::Mode::enforce;
  card += fmt::format(
      "  mode          {}\n",
      enforce ? fmt::format("enforce; the first act is possible {} after the start",
                            config::format_duration(config.enforcement.hold_after_start))
              : std::string{"observe: nothing is ended; would-acts are counted and logged"});
  card += "  rules\n";
  std::size_t acting = 0;
  for (const config::Rule& rule : config.rules) {
    card += "    " + rule_line(rule) + "\n";
    if (rule.action != config::Action::observe) ++acting;
  }
  for (const config::Listener& listener : config.listeners)
    for (const config::Server& server : config.servers)
      if (server.name == listener.server)
        card += fmt::format("  passwords     {}: {}\n", listener.name, scram_way(listener, server));
  if (!enforce) {
    card +=
        "  to enforce    set [enforcement] mode = \"enforce\" and a rule's action: see the "
        "comments of the example file\n";
  } else if (acting == 0) {
    card +=
        "  note          mode is enforce, but every rule's action is observe: nothing will be "
        "ended\n";
  }
  return card;
}

std::string names_card(std::string_view server, const std::vector<watchdog::Advice>& advice) {
  std::string card;
  for (const watchdog::Advice& one : advice)
    if (one.about == watchdog::names_advice)
      card += fmt::format("  names         {}: {}\n                {}\n", server, one.message,
                          one.remedy);
  if (card.empty())
    card = fmt::format("  names         {}: no session there is without a name\n", server);
  return card;
}

}  // namespace pgleash::app
