#include "config/schema.hpp"

#include "config/address.hpp"
#include "config/defaults.hpp"
#include "config/duration_text.hpp"
#include "config/measure.hpp"
#include "config/names.hpp"
#include "config/nearest.hpp"
#include "config/network.hpp"
#include "config/reader.hpp"
#include "config/url.hpp"

#include <limits>
#include <utility>

namespace pgleash::config {

namespace {

constexpr Duration most_milliseconds_in_int{std::numeric_limits<int>::max()};

void read(Section& at, Process& process) {
  at.text("name", process.name, parse_instance_name);
  at.number("workers", process.workers, 1U, 1024U, "auto");
  at.word("engine", process.engine, engine_words);
  at.number("max_sessions", process.max_sessions, 1U, 1'000'000U);
  at.number("max_logins", process.max_logins, 1U, 1'000'000U);
  at.duration("drain_delay", process.drain_delay, {.may_be_off = true});
  at.duration("drain_timeout", process.drain_timeout);
  at.word("log_format", process.log_format, log_format_words);
  at.boolean("watch_config", process.watch_config);
  at.file_or_word("journal", process.journal, {"auto", "off"});
}

void read(Section& at, Keepalive& keepalive) {
  // The kernel counts in whole seconds, and no further than this.
  at.duration("idle", keepalive.idle, {.min = 1s, .max = 32767s});
  at.duration("interval", keepalive.interval, {.min = 1s, .max = 32767s});
  at.number("count", keepalive.count, 1U, 127U);
}

void read_leg(Section& at, Keepalive& keepalive) {
  at.section("keepalive", keepalive,
             [](Section& within, Keepalive& target) { read(within, target); });
  at.duration("user_timeout", keepalive.user_timeout, {.max = most_milliseconds_in_int});
}

void read_tls(Section& at, ListenerTls& tls) {
  at.word("tls", tls.mode, listener_tls_words);
  at.readable_file("tls_cert_file", tls.cert_file);
  at.secret_file("tls_key_file", tls.key_file);
  at.readable_file("tls_client_ca_file", tls.client_ca_file);
  at.readable_file("tls_client_crl_file", tls.client_crl_file);
  at.word("tls_client_cert", tls.client_cert, client_cert_words);
  at.word("tls_min_version", tls.min_version, tls_version_words);
}

void read_tls(Section& at, ServerTls& tls) {
  at.word("tls", tls.mode, ssl_mode_words);
  at.word("tls_negotiation", tls.negotiation, tls_negotiation_words);
  at.readable_file("tls_ca_file", tls.ca_file, "system");
  at.readable_file("tls_crl_file", tls.crl_file);
  at.readable_file("tls_cert_file", tls.cert_file);
  at.secret_file("tls_key_file", tls.key_file);
  at.word("tls_min_version", tls.min_version, tls_version_words);
}

void read(Section& at, Listener& listener) {
  listener = default_listener();
  at.text("name", listener.name, parse_name);
  at.texts("listen", listener.listen, WhenEmpty::faulty, parse_listen_address);
  at.text("server", listener.server, parse_name);
  at.texts("allow", listener.allow, WhenEmpty::faulty, parse_network);
  at.word("require_challenge", listener.require_challenge, challenge_words);
  at.word("proxy_protocol", listener.proxy_protocol, proxy_protocol_words);
  at.texts("proxy_trusted", listener.proxy_trusted, WhenEmpty::allowed, parse_network);
  read_tls(at, listener.tls);
  at.word("scram", listener.scram, scram_words);
  at.text("application", listener.application, parse_application);
  at.word("client_kind", listener.client_kind, client_kind_words);
  at.duration("login_timeout", listener.login_timeout);
  at.word("on_client_gone", listener.on_client_gone, client_gone_words);
  at.duration("client_gone_grace", listener.client_gone_grace);
  read_leg(at, listener.keepalive);
}

void read(Section& at, Monitor& monitor) {
  at.text("user", monitor.user, parse_identifier);
  at.text("database", monitor.database, parse_identifier);
  at.secret_file("password_file", monitor.password_file);
  at.duration("poll_interval", monitor.poll_interval);
  at.duration("statement_timeout", monitor.statement_timeout, {.max = most_milliseconds_in_int});
}

void read(Section& at, Server& server) {
  at.require({{"name", R"("orders")"}, {"host", R"("db1.internal")"}});
  at.text("name", server.name, parse_name);
  at.text("host", server.address.host, parse_host);
  server.address.is_unix = server.address.host.starts_with('/');
  server.address.port = default_server_port;
  at.number<std::uint16_t>("port", server.address.port, 1, 65535);
  read_tls(at, server.tls);
  at.duration("connect_timeout", server.connect_timeout);
  read_leg(at, server.keepalive);
  at.word("direct_sessions", server.direct_sessions, direct_words);
  at.word("application_name_suffix", server.application_name_suffix, suffix_words);
  const bool none = at.section(
      "monitor", server.monitor, [](Section& within, Monitor& target) { read(within, target); },
      "none");
  server.monitor.enabled = !none;
}

void read(Section& at, Pace& pace) {
  constexpr std::uint32_t most = 100'000;
  at.number("kills_per_minute", pace.kills_per_minute, 1U, most);
  at.number("kills_per_minute_per_application", pace.kills_per_minute_per_application, 1U, most);
  at.number("kills_per_minute_per_rule", pace.kills_per_minute_per_rule, 1U, most);
}

void read(Section& at, Fuse& fuse) {
  at.percent("share_of_sessions", fuse.share_of_sessions);
  at.number("at_least", fuse.at_least, 1U, 100'000U);
  at.percent("recovered_share", fuse.recovered_share);
  at.number("survived", fuse.survived, 1U, 100'000U);
  at.limit("reset", fuse.reset, "manual");
}

void read(Section& at, Enforcement& enforcement) {
  at.word("mode", enforcement.mode, mode_words);
  at.duration("hold_after_start", enforcement.hold_after_start, {.may_be_off = true});
  at.duration("hold_after_failover", enforcement.hold_after_failover, {.may_be_off = true});
  at.duration("hold_after_reload", enforcement.hold_after_reload, {.may_be_off = true});
  at.duration("evidence_max_age", enforcement.evidence_max_age);
  at.section("pace", enforcement.pace, [](Section& within, Pace& target) { read(within, target); });
  at.section("fuse", enforcement.fuse, [](Section& within, Fuse& target) { read(within, target); });
}

void read(Section& at, ProtectEntry& entry) {
  entry.position = at.position();
  at.require(
      {{"application", "'pg_dump'"}, {"users", "['backup'], since a name alone never exempts"}});
  at.pattern("application", entry.application, PatternMay::not_be_empty);
  std::vector<Pattern> users;
  at.patterns("users", users, WhenEmpty::faulty, PatternMay::not_be_empty);
  for (Pattern& user : users) entry.users.push_back(std::move(user.text));
}

void read(Section& at, Protect& protect) {
  at.patterns("users", protect.users, WhenEmpty::allowed, PatternMay::not_be_empty);
  at.texts("clients", protect.clients, WhenEmpty::allowed, parse_network);
  at.boolean("superusers", protect.superusers);
  at.each("entries", protect.entries,
          [](Section& within, ProtectEntry& entry) { read(within, entry); });
  at.text("marker", protect.marker, parse_marker);
  at.patterns("marker_users", protect.marker_users, WhenEmpty::allowed, PatternMay::not_be_empty);
  at.duration("marker_max", protect.marker_max);
}

void read(Section& at, Match& match) {
  at.patterns("applications", match.applications, WhenEmpty::faulty, PatternMay::be_empty);
  at.patterns("users", match.users, WhenEmpty::faulty, PatternMay::not_be_empty);
  at.patterns("databases", match.databases, WhenEmpty::faulty, PatternMay::not_be_empty);
  at.texts("clients", match.clients, WhenEmpty::faulty, parse_network);
}

void read(Section& at, Rule& rule) {
  rule.position = at.position();
  at.require({{"name", R"("idle-in-tx-web")"},
              {"kind", R"("idle_in_transaction")"},
              {"limit", R"("5m", or "off")"}});
  at.text("name", rule.name, parse_name);
  at.word("kind", rule.kind, kind_words);
  at.measure("value", rule.value, rule.kind);
  at.limit("limit", rule.limit);
  at.limit("warn", rule.warn);
  at.word("action", rule.action, action_words);
  at.duration("grace", rule.grace);
  at.word("notify", rule.notify, notify_words);
  at.duration("notify_within", rule.notify_within);
  at.text("sqlstate", rule.sqlstate, parse_sqlstate);
  at.text("hint", rule.hint, parse_hint);
  at.number("blocked_at_least", rule.blocked_at_least, 1U, 1'000'000U);
  at.word("victim", rule.victim, victim_words);
  at.word("group_by", rule.group_by, group_by_words);
  at.number("at_least", rule.at_least, 2U, 1'000'000U);
  at.word("victims", rule.victims, group_victims_words);
  const auto read_match = [](Section& within, Match& match) { read(within, match); };
  at.section("match", rule.match, read_match);
  at.section("except", rule.except, read_match);
}

void read(Section& at, Leak& leak) {
  at.texts("windows", leak.windows, WhenEmpty::faulty, parse_duration);
  at.duration("horizon", leak.horizon, {.min = 1s});
  at.duration("idle_longer_than", leak.idle_longer_than);
  at.number("min_sessions", leak.min_sessions, 3U, 100'000U);
  at.word("action", leak.action, leak_action_words);
}

Parsed<IdentitySource> parse_identity_source(std::string_view text) {
  std::vector<std::string_view> words;
  for (const auto& word : identity_source_words) {
    if (word.text == text) return word.value;
    words.push_back(word.text);
  }
  const auto meant = nearest(text, words);
  return Fault{in_quotes(text) + " is no source of an application's name",
               meant ? "did you mean " + in_quotes(*meant) + '?' : "one of " + listed(words)};
}

void read(Section& at, ClientName& name) {
  at.require({{"clients", R"(["10.20.4.0/24"])"}, {"as", R"("billing")"}});
  at.texts("clients", name.clients, WhenEmpty::faulty, parse_network);
  at.text("as", name.as, parse_application_label);
}

void read(Section& at, FoldedName& name) {
  at.require({{"match", "'checkout-.*'"}, {"as", R"("checkout")"}});
  at.pattern("match", name.match, PatternMay::not_be_empty);
  at.text("as", name.as, parse_application_label);
}

void read(Section& at, Identity& identity) {
  at.texts("sources", identity.sources, WhenEmpty::faulty, parse_identity_source);
  identity.driver_defaults = default_driver_names();
  at.patterns("driver_defaults", identity.driver_defaults, WhenEmpty::allowed,
              PatternMay::not_be_empty);
  at.each("client_map", identity.client_map,
          [](Section& within, ClientName& name) { read(within, name); });
  at.each("fold", identity.fold, [](Section& within, FoldedName& name) { read(within, name); });
  at.boolean("follow_set", identity.follow_set);
}

void read(Section& at, Quota& quota) {
  at.require({{"name", R"("per-application")"}, {"key", R"("application")"}});
  at.text("name", quota.name, parse_name);
  at.word("key", quota.key, quota_key_words);
  std::uint32_t sessions = 0;
  at.number("sessions", sessions, 1U, 1'000'000U);
  if (sessions != 0) quota.sessions = sessions;
  std::uint32_t new_per_second = 0;
  at.number("new_per_second", new_per_second, 1U, 1'000'000U);
  if (new_per_second != 0) quota.new_per_second = new_per_second;
  at.text("sqlstate", quota.sqlstate, parse_sqlstate);
  if (quota.sqlstate.empty()) quota.sqlstate = "53300";
}

void read(Section& at, Audit& audit) {
  at.file("file", audit.file);
  if (!audit.file.empty()) audit.sink = AuditSink::file;  // who names a file wants it written
  at.word("sink", audit.sink, sink_words);
  at.word("fsync", audit.fsync_each, fsync_words);
  at.word("statement_text", audit.statement_text, statement_text_words);
}

Parsed<std::string> parse_socket_directory(std::string_view text) {
  constexpr std::size_t longest = 90;  // sun_path has 108, the socket's name takes its share
  if (text == "off") return std::string{};
  if (!text.starts_with('/') || text.size() > longest)
    return Fault{in_quotes(text) + " is no directory for a Unix socket",
                 "give an absolute path of at most 90 bytes, or \"off\""};
  return std::string{text};
}

void read(Section& at, Console& console) {
  at.text("database", console.database, parse_identifier);
  at.texts("viewers", console.viewers, WhenEmpty::allowed, parse_identifier);
  at.texts("operators", console.operators, WhenEmpty::allowed, parse_identifier);
  at.texts("admins", console.admins, WhenEmpty::allowed, parse_identifier);
  at.text("socket", console.socket, parse_socket_directory);
}

Parsed<WebhookEvent> parse_webhook_event(std::string_view text) {
  std::array<std::string_view, webhook_event_words.size()> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = webhook_event_words[i].text;
    if (words[i] == text) return webhook_event_words[i].value;
  }
  const auto meant = nearest(text, words);
  return Fault{"there is no event " + in_quotes(text),
               meant ? "did you mean \"" + std::string(*meant) + "\"?" : "one of " + listed(words)};
}

std::optional<Fault> url_fault(std::string_view text) {
  auto parsed = parse_webhook_url(text);
  if (auto* fault = std::get_if<Fault>(&parsed)) return std::move(*fault);
  return std::nullopt;
}

std::optional<Fault> hmac_key_fault(std::string_view text) {
  if (text.size() >= Webhook::shortest_key) return std::nullopt;
  return Fault{"the key is shorter than 16 bytes", "make one: openssl rand -hex 32"};
}

void read(Section& at, Webhook& webhook) {
  at.require({{"name", R"("oncall")"},
              {"url", R"({ env = "PGLEASH_WEBHOOK_URL" })"},
              {"hmac_key", R"({ file = "secrets/webhook.key" })"}});
  at.text("name", webhook.name, parse_name);
  at.secret("url", webhook.url, MayStandHere::yes, url_fault);
  at.secret("hmac_key", webhook.hmac_key, MayStandHere::no, hmac_key_fault);
  at.texts("events", webhook.events, WhenEmpty::faulty, parse_webhook_event);
  at.readable_file("ca_file", webhook.ca_file);
  at.duration("timeout", webhook.timeout, {.max = 1min});
  at.number("queue", webhook.queue, 1U, 100'000U);
  at.duration("retry_for", webhook.retry_for, {.max = 24h});
}

Parsed<std::uint64_t> parse_recording_size(std::string_view text) {
  constexpr std::uint64_t least = std::uint64_t{64} << 10U;
  auto parsed = parse_measure(MeasureUnit::bytes, text);
  const auto* size = std::get_if<std::uint64_t>(&parsed);
  if (size != nullptr && *size < least)
    return Fault{in_quotes(text) + " is too little for a recording",
                 "write 64KiB or more: \"64MiB\""};
  return parsed;
}

void read(Section& at, Recording& recording) {
  at.file("file", recording.file);
  at.duration("interval", recording.interval);
  at.text("max_size", recording.max_size, parse_recording_size);
  at.number("keep", recording.keep, 1U, 999U);
}

void read(Section& at, Metrics& metrics) {
  at.text("listen", metrics.listen, parse_http_address);
  at.number("max_applications", metrics.max_applications, 1U, 1000U);
}

std::optional<Fault> token_fault(std::string_view text) {
  if (text.size() < Http::shortest_token)
    return Fault{"the token is shorter than 16 bytes", "make one: openssl rand -hex 32"};
  if (std::ranges::any_of(text, [](char c) { return c <= ' ' || c > '~'; }))
    return Fault{"the token holds what no HTTP header may: blanks, or what is not ASCII",
                 "make one: openssl rand -hex 32"};
  return std::nullopt;
}

void read(Section& at, Http& http) {
  at.text("listen", http.listen, parse_http_address);
  at.secret_file("token_file", http.token_file, token_fault);
  at.readable_file("tls_cert_file", http.tls_cert_file);
  at.secret_file("tls_key_file", http.tls_key_file);
}

}  // namespace

void read_document(Section& root, Config& config) {
  const auto read_one = [](Section& within, auto& target) { read(within, target); };
  root.number("config_version", config.config_version, 1U, 1U);
  root.section("process", config.process, read_one);
  root.each("listener", config.listeners, read_one);
  root.each("server", config.servers, read_one);
  root.section("enforcement", config.enforcement, read_one);
  root.section("protect", config.protect, read_one);
  root.each("rule", config.rules, read_one);
  root.section("leak", config.leak, read_one);
  root.section("identity", config.identity, read_one);
  root.each("quota", config.quotas, read_one);
  root.section("audit", config.audit, read_one);
  root.each("webhook", config.webhooks, read_one);
  root.section("console", config.console, read_one);
  root.section("recording", config.recording, read_one);
  root.section("metrics", config.metrics, read_one);
  root.section("http", config.http, read_one);
  root.finish();
}

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys = [] {
    Reading reading{"", ""};
    Section root{reading, nullptr, "", Place{}};
    Config nothing;
    read_document(root, nothing);
    return std::vector<std::string>{reading.known.begin(), reading.known.end()};
  }();
  return keys;
}

}  // namespace pgleash::config
