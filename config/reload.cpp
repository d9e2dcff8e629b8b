#include "config/reload.hpp"

#include "config/loader.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace pgleash::config {

namespace {

/// Sections end with a dot; the others are keys, or the order of a list.
constexpr std::array<std::string_view, 16> taken_at_once{"enforcement.",
                                                         "protect.",
                                                         "rule.",
                                                         "rule",
                                                         "identity.",
                                                         "quota.",
                                                         "quota",
                                                         "webhook.",
                                                         "webhook",
                                                         "audit.statement_text",
                                                         "console.viewers",
                                                         "console.operators",
                                                         "console.admins",
                                                         "metrics.max_applications",
                                                         "process.drain_delay",
                                                         "process.drain_timeout"};

using Values = std::map<std::string, std::string>;

/// "rule[0]" becomes "rule.NAME" in the keys, and "rule" the list of the names.
template <typename Named>
void name_items(std::string_view list, const std::vector<Named>& items, Values& values) {
  std::string order;
  for (std::size_t i = 0; i < items.size(); ++i) {
    order += (order.empty() ? "" : ", ") + items[i].name;
    const std::string numbered = std::string(list) + '[' + std::to_string(i) + "].";
    const std::string named = std::string(list) + '.' + items[i].name + '.';
    for (auto at = values.lower_bound(numbered);
         at != values.end() && at->first.starts_with(numbered);) {
      auto node = values.extract(at++);
      node.key().replace(0, numbered.size(), named);
      values.insert(std::move(node));
    }
  }
  values[std::string(list)] = '[' + order + ']';
}

Values named_values(const Config& config) {
  Values values = effective_values(config);
  name_items("listener", config.listeners, values);
  name_items("server", config.servers, values);
  name_items("rule", config.rules, values);
  name_items("quota", config.quotas, values);
  name_items("webhook", config.webhooks, values);
  return values;
}

/// As the values of a listener's `tls` are written.
constexpr std::string_view opaque = "\"opaque\"";

/// "listener.main.tls_cert_file": for sessions to come.
bool is_tls(std::string_view key) {
  if (!key.starts_with("listener.") && !key.starts_with("server.")) return false;
  return key.substr(key.rfind('.') + 1).starts_with("tls");
}

/// Passing TLS through is another way to take connections, not another certificate.
bool same_way(const ListenerTls& then, const ListenerTls& now) noexcept {
  return (then.mode == ListenerTlsMode::opaque) == (now.mode == ListenerTlsMode::opaque);
}
bool same_way(const ServerTls& /*then*/, const ServerTls& /*now*/) noexcept {
  return true;
}

/// Token and certificate of the status page, for requests and connections to come. Whether it has
/// any is settled at the start.
bool is_page_secret(std::string_view key) {
  return key == "http.token_file" || key == "http.tls_cert_file" || key == "http.tls_key_file";
}

/// Items are the same by their names.
template <typename Named>
void take_tls(std::vector<Named>& running, const std::vector<Named>& fresh) {
  for (Named& one : running) {
    const auto found = std::ranges::find(fresh, one.name, &Named::name);
    if (found != fresh.end() && same_way(one.tls, found->tls)) one.tls = found->tls;
  }
}

void forget_positions(Match& match) {
  for (auto* patterns : {&match.applications, &match.users, &match.databases})
    for (Pattern& pattern : *patterns) pattern.position = {};
}

}  // namespace

bool needs_restart(std::string_view key) noexcept {
  if (key == "protect.marker") return true;  // texts that are known were read with the old one
  if (is_tls(key) || is_page_secret(key)) return false;
  return std::ranges::none_of(taken_at_once, [key](std::string_view one) {
    return one.ends_with('.') ? key.starts_with(one) : key == one;
  });
}

std::vector<ChangedKey> changes(const Config& before, const Config& after) {
  const Values then = named_values(before);
  const Values now = named_values(after);
  std::vector<ChangedKey> found;
  const auto differ = [&](const std::string& key, std::string was, std::string is) {
    if (was == is) return;
    bool waits = needs_restart(key);
    if (is_tls(key)) {  // of a listener or server that comes or goes, it comes or goes with that
      const std::string item = key.substr(0, key.rfind('.')) + ".tls";
      waits = !then.contains(item) || !now.contains(item) ||
              (then.at(item) == opaque) != (now.at(item) == opaque);
    }
    if (is_page_secret(key)) waits = was.empty() || is.empty();
    found.push_back({key, std::move(was), std::move(is), waits});
  };
  for (const auto& [key, value] : then) {
    const auto other = now.find(key);
    differ(key, value, other == now.end() ? std::string{} : other->second);
  }
  for (const auto& [key, value] : now) {
    if (!then.contains(key)) differ(key, {}, value);
  }
  std::ranges::sort(found, {}, &ChangedKey::key);
  return found;
}

Config take_over(const Config& running, const Config& fresh) {
  Config result = running;
  result.process.drain_delay = fresh.process.drain_delay;
  result.process.drain_timeout = fresh.process.drain_timeout;
  result.enforcement = fresh.enforcement;
  result.protect = fresh.protect;
  result.protect.marker = running.protect.marker;
  result.rules = fresh.rules;
  result.identity = fresh.identity;
  result.quotas = fresh.quotas;
  result.webhooks = fresh.webhooks;
  take_tls(result.listeners, fresh.listeners);
  take_tls(result.servers, fresh.servers);
  result.audit.statement_text = fresh.audit.statement_text;
  result.console.viewers = fresh.console.viewers;
  result.console.operators = fresh.console.operators;
  result.console.admins = fresh.console.admins;
  const auto replace = [](std::string& old, const std::string& other) {
    if (!old.empty() && !other.empty()) old = other;
  };
  replace(result.http.token_file, fresh.http.token_file);
  replace(result.http.tls_cert_file, fresh.http.tls_cert_file);
  replace(result.http.tls_key_file, fresh.http.tls_key_file);
  result.metrics.max_applications = fresh.metrics.max_applications;
  return result;
}

bool same_rule(Rule a, Rule b) {
  for (Rule* rule : {&a, &b}) {
    rule->position = {};
    forget_positions(rule->match);
    forget_positions(rule->except);
  }
  return a == b;
}

}  // namespace pgleash::config
