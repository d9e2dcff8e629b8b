#include "config/address.hpp"
#include "config/duration.hpp"
#include "config/loader.hpp"
#include "config/measure.hpp"
#include "config/words.hpp"

#include <array>
#include <string>
#include <string_view>

namespace pgleash::config {

namespace {

/// A TOML basic string.
std::string string(std::string_view text) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out{'"'};
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += hex[byte >> 4U];
      out += hex[byte & 0xFU];
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// Patterns stand in single quotes, where a backslash is a backslash, unless they hold what cannot
/// stand there.
std::string pattern(std::string_view text) {
  for (const char c : text) {
    if (c == '\'' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return string(text);
  }
  return '\'' + std::string(text) + '\'';
}

std::string duration(Duration value) {
  return value == Duration::zero() ? "\"off\"" : '"' + format_duration(value) + '"';
}
std::string duration(const OptionalDuration& value) {
  return value ? duration(*value) : "\"off\"";
}

std::string percent(Percent value) {
  return '"' + std::to_string(value.value) + "%\"";
}

template <typename Items, typename Show>
std::string list(const Items& items, Show show) {
  std::string out{'['};
  for (const auto& one : items) {
    if (out.size() > 1) out += ", ";
    out += show(one);
  }
  return out + ']';
}

std::string patterns(const std::vector<Pattern>& items) {
  return list(items, [](const Pattern& one) { return pattern(one.text); });
}
std::string networks(const std::vector<Network>& items) {
  return list(items, [](const Network& one) { return string(one.text); });
}

template <typename Choice, std::size_t Count>
std::string word(const std::array<Word<Choice>, Count>& words, Choice value) {
  return string(word_for(words, value));
}

class Writer {
 public:
  explicit Writer(const Provenance* provenance) : provenance_(provenance) {}

  /// Opens a section: `header` as it is written, `path` as the provenance names it.
  void section(std::string_view header, std::string path) {
    path_ = std::move(path);
    text_ += '\n';
    text_ += header;
    text_ += '\n';
  }
  void key(std::string_view name, const std::string& value) {
    values_[path_.empty() ? std::string(name) : path_ + '.' + std::string(name)] = value;
    std::string line = std::string(name) + " = " + value;
    if (provenance_ != nullptr) {
      if (line.size() < comment_column) line.append(comment_column - line.size(), ' ');
      line +=
          " # " + origin_of(path_.empty() ? std::string(name) : path_ + '.' + std::string(name));
    }
    text_ += line + '\n';
  }
  void key(std::string_view name, bool value) { key(name, std::string(value ? "true" : "false")); }
  template <std::unsigned_integral Number>
  requires(!std::same_as<Number, bool>) void key(std::string_view name, Number value) {
    key(name, std::to_string(value));
  }
  [[nodiscard]] std::string take() { return std::move(text_); }
  [[nodiscard]] std::map<std::string, std::string> take_values() { return std::move(values_); }

 private:
  static constexpr std::size_t comment_column = 48;

  [[nodiscard]] std::string origin_of(std::string path) const {
    auto found = provenance_->find(path);
    if (found == provenance_->end())
      found = provenance_->lower_bound(path + '[');  // options fill a list item by item
    if (found == provenance_->end() || !found->first.starts_with(path)) return "default";
    const SourcePosition& origin = found->second;
    std::string text;
    for (const char c : origin.source)
      text += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    return origin.line == 0 ? text : text + ':' + std::to_string(origin.line);
  }

  const Provenance* provenance_;
  std::string path_;
  std::string text_;
  std::map<std::string, std::string> values_;
};

std::string item(std::string_view name, std::size_t index) {
  return std::string(name) + '[' + std::to_string(index) + ']';
}

void write_leg(Writer& out, const Keepalive& keepalive) {
  out.key("keepalive", "{ idle = " + duration(keepalive.idle) +
                           ", interval = " + duration(keepalive.interval) +
                           ", count = " + std::to_string(keepalive.count) + " }");
  out.key("user_timeout", duration(keepalive.user_timeout));
}

void write_file(Writer& out, std::string_view name, const std::string& path) {
  if (!path.empty()) out.key(name, string(path));
}

void write(Writer& out, const ListenerTls& tls) {
  out.key("tls", word(listener_tls_words, tls.mode));
  write_file(out, "tls_cert_file", tls.cert_file);
  write_file(out, "tls_key_file", tls.key_file);
  write_file(out, "tls_client_ca_file", tls.client_ca_file);
  write_file(out, "tls_client_crl_file", tls.client_crl_file);
  out.key("tls_client_cert", word(client_cert_words, tls.client_cert));
  out.key("tls_min_version", word(tls_version_words, tls.min_version));
}

void write(Writer& out, const ServerTls& tls) {
  out.key("tls", word(ssl_mode_words, tls.mode));
  out.key("tls_negotiation", word(tls_negotiation_words, tls.negotiation));
  write_file(out, "tls_ca_file", tls.ca_file);
  write_file(out, "tls_crl_file", tls.crl_file);
  write_file(out, "tls_cert_file", tls.cert_file);
  write_file(out, "tls_key_file", tls.key_file);
  out.key("tls_min_version", word(tls_version_words, tls.min_version));
}

void write(Writer& out, const Process& process) {
  out.section("[process]", "process");
  out.key("name", string(process.name));
  out.key("workers", process.workers == 0 ? "\"auto\"" : std::to_string(process.workers));
  out.key("engine", word(engine_words, process.engine));
  out.key("max_sessions", process.max_sessions);
  out.key("max_logins", process.max_logins);
  out.key("drain_delay", duration(process.drain_delay));
  out.key("drain_timeout", duration(process.drain_timeout));
  out.key("log_format", word(log_format_words, process.log_format));
  out.key("watch_config", process.watch_config);
  out.key("journal", string(process.journal));
}

void write(Writer& out, const Listener& listener, std::size_t index) {
  out.section("[[listener]]", item("listener", index));
  out.key("name", string(listener.name));
  out.key("listen",
          list(listener.listen, [](const Address& one) { return string(format_address(one)); }));
  out.key("server", string(listener.server));
  out.key("allow", networks(listener.allow));
  out.key("require_challenge", word(challenge_words, listener.require_challenge));
  out.key("proxy_protocol", word(proxy_protocol_words, listener.proxy_protocol));
  out.key("proxy_trusted", networks(listener.proxy_trusted));
  write(out, listener.tls);
  out.key("scram", word(scram_words, listener.scram));
  out.key("application", listener.application.empty() ? "\"off\"" : string(listener.application));
  out.key("client_kind", word(client_kind_words, listener.client_kind));
  out.key("login_timeout", duration(listener.login_timeout));
  out.key("on_client_gone", word(client_gone_words, listener.on_client_gone));
  out.key("client_gone_grace", duration(listener.client_gone_grace));
  write_leg(out, listener.keepalive);
}

void write(Writer& out, const Server& server, std::size_t index) {
  out.section("[[server]]", item("server", index));
  out.key("name", string(server.name));
  out.key("host", string(server.address.host));
  out.key("port", server.address.port);
  write(out, server.tls);
  out.key("connect_timeout", duration(server.connect_timeout));
  write_leg(out, server.keepalive);
  out.key("direct_sessions", word(direct_words, server.direct_sessions));
  out.key("application_name_suffix", word(suffix_words, server.application_name_suffix));
  if (!server.monitor.enabled) {
    out.key("monitor", string("none"));
    return;
  }
  out.section("[server.monitor]", item("server", index) + ".monitor");
  out.key("user", string(server.monitor.user));
  out.key("database", string(server.monitor.database));
  if (!server.monitor.password_file.empty())
    out.key("password_file", string(server.monitor.password_file));
  out.key("poll_interval", duration(server.monitor.poll_interval));
  out.key("statement_timeout", duration(server.monitor.statement_timeout));
}

void write(Writer& out, const Pace& pace) {
  out.section("[enforcement.pace]", "enforcement.pace");
  out.key("kills_per_minute", pace.kills_per_minute);
  out.key("kills_per_minute_per_application", pace.kills_per_minute_per_application);
  out.key("kills_per_minute_per_rule", pace.kills_per_minute_per_rule);
}

void write(Writer& out, const Fuse& fuse) {
  out.section("[enforcement.fuse]", "enforcement.fuse");
  out.key("share_of_sessions", percent(fuse.share_of_sessions));
  out.key("at_least", fuse.at_least);
  out.key("recovered_share", percent(fuse.recovered_share));
  out.key("survived", fuse.survived);
  out.key("reset", fuse.reset ? duration(*fuse.reset) : string("manual"));
}

void write(Writer& out, const Protect& protect) {
  out.section("[protect]", "protect");
  out.key("users", patterns(protect.users));
  out.key("clients", networks(protect.clients));
  out.key("superusers", protect.superusers);
  out.key("entries", list(protect.entries, [](const ProtectEntry& entry) {
            return "{ application = " + pattern(entry.application) + ", users = " +
                   list(entry.users, [](const std::string& user) { return pattern(user); }) + " }";
          }));
  out.key("marker", string(protect.marker));
  out.key("marker_users", patterns(protect.marker_users));
  out.key("marker_max", duration(protect.marker_max));
}

void write(Writer& out, const Match& match, std::string_view header, std::string path) {
  if (match.empty()) return;
  out.section(header, std::move(path));
  if (!match.applications.empty()) out.key("applications", patterns(match.applications));
  if (!match.users.empty()) out.key("users", patterns(match.users));
  if (!match.databases.empty()) out.key("databases", patterns(match.databases));
  if (!match.clients.empty()) out.key("clients", networks(match.clients));
}

void write(Writer& out, const Rule& rule, std::size_t index) {
  const std::string path = item("rule", index);
  out.section("[[rule]]", path);
  out.key("name", string(rule.name));
  out.key("kind", string(name(rule.kind)));
  if (rule.value) {
    const MeasureUnit unit = measure_unit(rule.kind);
    const std::string text = format_measure(unit, *rule.value);
    out.key("value", unit == MeasureUnit::count ? text : string(text));
  }
  out.key("limit", duration(rule.limit));
  out.key("warn", duration(rule.warn));
  out.key("action", string(name(rule.action)));
  out.key("grace", duration(rule.grace));
  out.key("notify", word(notify_words, rule.notify));
  if (rule.notify == Notify::on_next_use) out.key("notify_within", duration(rule.notify_within));
  out.key("sqlstate", rule.sqlstate.empty() ? string("native") : string(rule.sqlstate));
  out.key("hint", string(rule.hint));
  if (rule.kind == RuleKind::blocking) {
    out.key("blocked_at_least", rule.blocked_at_least);
    out.key("victim", word(victim_words, rule.victim));
  }
  if (rule.kind == RuleKind::group) {
    out.key("group_by", word(group_by_words, rule.group_by));
    out.key("at_least", rule.at_least);
    out.key("victims", word(group_victims_words, rule.victims));
  }
  write(out, rule.match, "[rule.match]", path + ".match");
  write(out, rule.except, "[rule.except]", path + ".except");
}

void write(Writer& out, const Quota& quota, std::size_t index) {
  out.section("[[quota]]", item("quota", index));
  out.key("name", string(quota.name));
  out.key("key", word(quota_key_words, quota.key));
  if (quota.sessions) out.key("sessions", *quota.sessions);
  if (quota.new_per_second) out.key("new_per_second", *quota.new_per_second);
  out.key("sqlstate", string(quota.sqlstate));
}

/// Where it is, never what it is.
std::string secret(const SecretSource& source) {
  if (source.kind == SecretSource::Kind::text) return string(source.name);
  const bool env = source.kind == SecretSource::Kind::env;
  return std::string("{ ") + (env ? "env" : "file") + " = " + string(source.name) + " }";
}

void write(Writer& out, const Webhook& webhook, std::size_t index) {
  out.section("[[webhook]]", item("webhook", index));
  out.key("name", string(webhook.name));
  out.key("url", secret(webhook.url));
  out.key("hmac_key", secret(webhook.hmac_key));
  out.key("events",
          list(webhook.events, [](WebhookEvent one) { return word(webhook_event_words, one); }));
  if (!webhook.ca_file.empty()) out.key("ca_file", string(webhook.ca_file));
  out.key("timeout", duration(webhook.timeout));
  out.key("queue", webhook.queue);
  out.key("retry_for", duration(webhook.retry_for));
}

void write(Writer& out, const Config& config) {
  out.key("config_version", config.config_version);
  write(out, config.process);
  for (std::size_t i = 0; i < config.listeners.size(); ++i) write(out, config.listeners[i], i);
  for (std::size_t i = 0; i < config.servers.size(); ++i) write(out, config.servers[i], i);
  out.section("[enforcement]", "enforcement");
  out.key("mode", string(name(config.enforcement.mode)));
  out.key("hold_after_start", duration(config.enforcement.hold_after_start));
  out.key("hold_after_failover", duration(config.enforcement.hold_after_failover));
  out.key("hold_after_reload", duration(config.enforcement.hold_after_reload));
  out.key("evidence_max_age", duration(config.enforcement.evidence_max_age));
  write(out, config.enforcement.pace);
  write(out, config.enforcement.fuse);
  write(out, config.protect);
  for (std::size_t i = 0; i < config.rules.size(); ++i) write(out, config.rules[i], i);
  out.section("[leak]", "leak");
  out.key("windows", list(config.leak.windows, [](Duration one) { return duration(one); }));
  out.key("horizon", duration(config.leak.horizon));
  out.key("idle_longer_than", duration(config.leak.idle_longer_than));
  out.key("min_sessions", config.leak.min_sessions);
  out.key("action", word(leak_action_words, config.leak.action));
  out.section("[identity]", "identity");
  out.key("sources", list(config.identity.sources,
                          [](IdentitySource one) { return word(identity_source_words, one); }));
  out.key("driver_defaults", patterns(config.identity.driver_defaults));
  out.key("client_map", list(config.identity.client_map, [](const ClientName& one) {
            return "{ clients = " + networks(one.clients) + ", as = " + string(one.as) + " }";
          }));
  out.key("fold", list(config.identity.fold, [](const FoldedName& one) {
            return "{ match = " + pattern(one.match) + ", as = " + string(one.as) + " }";
          }));
  out.key("follow_set", config.identity.follow_set);
  for (std::size_t i = 0; i < config.quotas.size(); ++i) write(out, config.quotas[i], i);
  out.section("[audit]", "audit");
  out.key("sink", word(sink_words, config.audit.sink));
  if (!config.audit.file.empty()) out.key("file", string(config.audit.file));
  out.key("fsync", word(fsync_words, config.audit.fsync_each));
  out.key("statement_text", word(statement_text_words, config.audit.statement_text));
  for (std::size_t i = 0; i < config.webhooks.size(); ++i) write(out, config.webhooks[i], i);
  const auto quoted = [](const std::string& one) { return string(one); };
  out.section("[console]", "console");
  out.key("database", string(config.console.database));
  out.key("viewers", list(config.console.viewers, quoted));
  out.key("operators", list(config.console.operators, quoted));
  out.key("admins", list(config.console.admins, quoted));
  out.key("socket", string(config.console.socket.empty() ? "off" : config.console.socket));
  out.section("[recording]", "recording");
  if (!config.recording.file.empty()) out.key("file", string(config.recording.file));
  out.key("interval", duration(config.recording.interval));
  out.key("max_size", string(format_measure(MeasureUnit::bytes, config.recording.max_size)));
  out.key("keep", config.recording.keep);
  out.section("[metrics]", "metrics");
  out.key("listen",
          config.metrics.listen ? string(format_address(*config.metrics.listen)) : string("off"));
  out.key("max_applications", config.metrics.max_applications);
  out.section("[http]", "http");
  out.key("listen",
          config.http.listen ? string(format_address(*config.http.listen)) : string("off"));
  if (!config.http.token_file.empty()) out.key("token_file", string(config.http.token_file));
  if (!config.http.tls_cert_file.empty())
    out.key("tls_cert_file", string(config.http.tls_cert_file));
  if (!config.http.tls_key_file.empty()) out.key("tls_key_file", string(config.http.tls_key_file));
}

std::string write(const Config& config, const Provenance* provenance) {
  Writer out{provenance};
  write(out, config);
  return out.take();
}

}  // namespace

std::string effective_toml(const Config& config) {
  return write(config, nullptr);
}

std::map<std::string, std::string> effective_values(const Config& config) {
  Writer out{nullptr};
  write(out, config);
  return out.take_values();
}

std::string effective_toml(const LoadResult& loaded) {
  return loaded.config ? write(*loaded.config, &loaded.provenance) : std::string{};
}

}  // namespace pgleash::config
