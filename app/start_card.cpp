#include "app/application.hpp"
#include "config/duration.hpp"
#include "config/measure.hpp"
#include "proxy/socket.hpp"

#include <fmt/format.h>

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

}  // namespace

std::string start_card(const config::Config& config, bool colour) {
  const auto bold = [&](std::string_view text) {
    return colour ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string{text};
  };
  std::string card =
      fmt::format("{} {}  ({})\n", bold("pgleash"), PGLEASH_VERSION, config.process.name);
  for (const config::Listener& listener : config.listeners)
    for (const config::Address& address : listener.listen)
      card += fmt::format("  connect to    {}   (server \"{}\")\n", connection_string(address),
                          listener.server);
  for (const config::Server& server : config.servers)
    card += fmt::format(
        "  server        {} at {}, monitor {}\n", server.name, proxy::to_text(server.address),
        server.monitor.enabled
            ? fmt::format("{}@{} every {}", server.monitor.user, server.monitor.database,
                          config::format_duration(server.monitor.poll_interval))
            : std::string{"none (rules judge what passes through; nothing is verified by SQL)"});
  if (config.metrics.listen)
    card += fmt::format("  metrics       http://{}/metrics  /healthz  /readyz\n",
                        proxy::to_text(*config.metrics.listen));
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
  card +=
      "  passwords     SCRAM, md5 and others pass through unchanged; clients that demand "
      "channel_binding=require cannot\n"
      "                log in, as neither leg has TLS\n";
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

}  // namespace pgleash::app
