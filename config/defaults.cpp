#include "config/defaults.hpp"

#include "config/address.hpp"
#include "config/network.hpp"
#include "config/words.hpp"

#include <algorithm>
#include <array>
#include <unistd.h>
#include <utility>
#include <variant>

namespace pgleash::config {

std::string_view name(Mode mode) noexcept {
  return word_for(mode_words, mode);
}
std::string_view name(RuleKind kind) noexcept {
  return kind == RuleKind::leak ? "leak" : word_for(kind_words, kind);
}
std::string_view name(Action action) noexcept {
  return word_for(action_words, action);
}
std::string_view name(Victim victim) noexcept {
  return word_for(victim_words, victim);
}
std::string_view name(WebhookEvent event) noexcept {
  return word_for(webhook_event_words, event);
}

namespace {

Rule observing(std::string name, RuleKind kind, OptionalDuration warn, Duration limit) {
  Rule rule;
  rule.name = std::move(name);
  rule.kind = kind;
  rule.warn = warn;
  rule.limit = limit;
  return rule;
}

}  // namespace

std::vector<Rule> default_rules() {
  // `idle` and `session_age` are off: a healthy pool has old idle sessions, and only the owner
  // knows how old is too old.
  return {
      observing("default-idle-in-transaction", RuleKind::idle_in_transaction, 1min, 5min),
      observing("default-aborted", RuleKind::aborted, std::nullopt, 10min),
      observing("default-held", RuleKind::held, std::nullopt, 10min),
      observing("default-stalled", RuleKind::stalled, std::nullopt, 5min),
      observing("default-statement", RuleKind::statement, 5min, 1h),
      observing("default-transaction-age", RuleKind::transaction_age, std::nullopt, 1h),
      observing("default-blocking", RuleKind::blocking, std::nullopt, 60s),
  };
}

std::vector<Network> everywhere() {
  return {std::get<Network>(parse_network("0.0.0.0/0")), std::get<Network>(parse_network("::/0"))};
}

Listener default_listener() {
  Listener listener;
  listener.name = "main";
  listener.listen = {Address{"127.0.0.1", default_listen_port, false}};
  listener.allow = everywhere();
  return listener;
}

std::vector<Pattern> default_driver_names() {
  return {Pattern{"PostgreSQL JDBC Driver", {}}, Pattern{"vertx-pg-client", {}},
          Pattern{R"(postgres\.js)", {}}};
}

std::string host_name() {
  std::array<char, 256> buffer{};
  if (gethostname(buffer.data(), buffer.size() - 1) != 0 || buffer.front() == '\0')
    return "localhost";
  std::string text{buffer.data()};
  text.resize(std::min<std::size_t>(text.size(), 63));
  std::ranges::replace_if(
      text,
      [](char c) {
        return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.' || c == '_' || c == '-');
      },
      '-');
  return text;
}

void complete(Config& config) {
  if (config.process.name.empty() || config.process.name == "hostname")
    config.process.name = host_name();
  if (config.listeners.empty()) config.listeners.push_back(default_listener());
  if (config.servers.size() == 1) {
    for (Listener& listener : config.listeners) {
      if (listener.server.empty()) listener.server = config.servers.front().name;
    }
  }
  if (config.rules.empty()) config.rules = default_rules();
}

}  // namespace pgleash::config
