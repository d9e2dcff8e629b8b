#include "config/check.hpp"

#include "config/address.hpp"
#include "config/duration.hpp"
#include "config/fault.hpp"
#include "config/measure.hpp"
#include "config/nearest.hpp"
#include "config/words.hpp"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

namespace pgleash::config {

namespace {

using Paths = std::vector<std::string>;

std::string item(std::string_view list, std::size_t index) {
  return std::string(list) + '[' + std::to_string(index) + ']';
}

/// Whether who is ended by such a rule waits for nothing from the server, so that silence is what
/// it expects.
bool may_stay_silent(RuleKind kind) {
  return kind == RuleKind::idle || kind == RuleKind::idle_in_transaction ||
         kind == RuleKind::aborted || kind == RuleKind::session_age;
}

/// Which actions can work in the state that a kind judges. A session that waits for its client has
/// nothing to cancel.
std::span<const Action> possible_actions(const Rule& rule) {
  const RuleKind kind = rule.kind;
  static constexpr std::array reporting{Action::observe};
  static constexpr std::array waiting{Action::observe, Action::terminate};
  static constexpr std::array in_transaction{Action::observe, Action::terminate, Action::escalate};
  static constexpr std::array running{Action::observe, Action::cancel, Action::terminate,
                                      Action::escalate};
  if (kind == RuleKind::statement || kind == RuleKind::group || is_cost(kind)) return running;
  if (kind == RuleKind::blocking) {
    if (rule.victim == Victim::none) return reporting;
    // Who waits in a queue has a statement to cancel; a root may be idle.
    return rule.victim == Victim::queue_head ? std::span<const Action>{running}
                                             : std::span<const Action>{in_transaction};
  }
  if (kind == RuleKind::transaction_age) return in_transaction;
  return waiting;
}

class Checker {
 public:
  Checker(const Config& config, const Provenance& provenance,
          const std::set<std::string>& unreadable, std::vector<Diagnostic>& diagnostics)
      : config_(config),
        provenance_(provenance),
        unreadable_(unreadable),
        diagnostics_(diagnostics) {}

  void run() {
    check_names("listener", config_.listeners);
    check_names("server", config_.servers);
    check_names("rule", config_.rules);
    check_names("quota", config_.quotas);
    check_names("webhook", config_.webhooks);
    if (config_.webhooks.size() > Webhook::most)
      error({item("webhook", Webhook::most)},
            {"too many webhooks: " + std::to_string(config_.webhooks.size()),
             std::to_string(Webhook::most) + " at most; let one receiver tell the others"});
    check_servers();
    check_listeners();
    check_addresses();
    check_http();
    check_tls();
    check_proxy_protocol();
    for (std::size_t i = 0; i < config_.rules.size(); ++i)
      check_rule(config_.rules[i], item("rule", i));
    check_quotas();
    check_enforcement();
    check_leak();
    check_audit();
  }

 private:
  /// A fault of these keys together, shown at the first of them; unsaid when one of them could not
  /// be read.
  void report(Severity severity, const Paths& paths, Fault fault,
              const SourcePosition& otherwise = {}) {
    if (std::ranges::any_of(paths,
                            [&](const std::string& path) { return unreadable_.contains(path); }))
      return;
    diagnostics_.push_back({severity,
                            position_of(paths.front(), otherwise),
                            std::move(fault.message),
                            std::move(fault.hint),
                            {}});
  }
  void error(const Paths& paths, Fault fault, const SourcePosition& otherwise = {}) {
    report(Severity::error, paths, std::move(fault), otherwise);
  }
  void warning(const Paths& paths, Fault fault, const SourcePosition& otherwise = {}) {
    report(Severity::warning, paths, std::move(fault), otherwise);
  }

  /// Of the key, or of the nearest section around it that was written.
  [[nodiscard]] SourcePosition position_of(std::string path,
                                           const SourcePosition& otherwise) const {
    while (!path.empty()) {
      if (const auto found = provenance_.find(path); found != provenance_.end())
        return found->second;
      const auto dot = path.rfind('.');
      path.resize(dot == std::string::npos ? 0 : dot);
    }
    return otherwise;
  }

  template <typename Named>
  void check_names(std::string_view list, const std::vector<Named>& items) {
    for (std::size_t later = 1; later < items.size(); ++later) {
      for (std::size_t first = 0; first < later; ++first) {
        if (items[first].name.empty() || items[first].name != items[later].name) continue;
        error({item(list, later) + ".name", item(list, first) + ".name"},
              {"a second [[" + std::string(list) + "]] is named " + in_quotes(items[later].name),
               "give each a name of its own; it is the label in metrics and logs"});
        break;
      }
    }
  }

  void check_quotas() {
    for (std::size_t i = 0; i < config_.quotas.size(); ++i) {
      const Quota& quota = config_.quotas[i];
      const std::string path = item("quota", i);
      if (!quota.sessions && !quota.new_per_second)
        error({path, path + ".sessions", path + ".new_per_second"},
              {"the quota limits nothing", "write sessions = 60, or new_per_second = 20"});
      if (quota.key == QuotaKey::application)
        for (const Listener& listener : config_.listeners)
          if (listener.client_kind == ClientKind::pooler)
            warning({path + ".key", path},
                    {"listener " + in_quotes(listener.name) +
                         " serves a pooler, whose sessions change their application",
                     "they count under the name that they log in with"});
    }
  }

  void check_servers() {
    if (config_.servers.empty()) {
      error({"server"},
            {"no [[server]]", "write [[server]], name = \"orders\" and host = \"db1.internal\""});
    }
    for (std::size_t i = 0; i < config_.servers.size(); ++i) {
      const Server& server = config_.servers[i];
      const std::string path = item("server", i);
      if (server.direct_sessions == DirectSessions::judge && !server.monitor.enabled) {
        warning({path + ".direct_sessions", path + ".monitor"},
                {"direct_sessions = \"judge\" of server " + in_quotes(server.name) +
                     " has no monitor to see them",
                 "give it a [server.monitor], or leave direct_sessions at \"count\""});
      }
      if (server.monitor.enabled &&
          config_.enforcement.evidence_max_age < server.monitor.poll_interval) {
        warning({"enforcement.evidence_max_age", path + ".monitor.poll_interval"},
                {"evidence_max_age is shorter than the poll_interval of server " +
                     in_quotes(server.name),
                 "what only the server knows would always be too old, and every session exempt"});
      }
    }
  }

  void check_listeners() {
    std::vector<std::string_view> servers;
    for (const Server& server : config_.servers) {
      if (!server.name.empty()) servers.push_back(server.name);
    }
    const bool all_known =
        servers.size() ==
        config_.servers.size();  // else the missing one may be the one that is meant
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const Listener& listener = config_.listeners[i];
      const std::string path = item("listener", i) + ".server";
      if (listener.server.empty()) {
        if (servers.size() > 1) {
          error({path},
                {"listener " + in_quotes(listener.name) + " does not say which server it leads to",
                 "write server = " + in_quotes(servers.front()) + " or another of them"});
        }
        continue;
      }
      if (std::ranges::find(servers, listener.server) != servers.end() || !all_known ||
          servers.empty())
        continue;
      const auto meant = nearest(listener.server, servers);
      error({path},
            {"listener " + in_quotes(listener.name) + " leads to an unknown server " +
                 in_quotes(listener.server),
             meant ? "did you mean " + in_quotes(*meant) + '?' : "there is " + listed(servers)});
    }
  }

  void check_proxy_protocol() {
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const Listener& listener = config_.listeners[i];
      const std::string path = item("listener", i);
      const bool required = listener.proxy_protocol == ProxyProtocol::require;
      if (required && listener.proxy_trusted.empty())
        error({path + ".proxy_protocol", path + ".proxy_trusted"},
              {"nobody may connect to listener " + in_quotes(listener.name) +
                   ": no balancer's PROXY protocol header is believed",
               "write proxy_trusted = [\"10.20.0.5/32\"] with the balancers' addresses"});
      if (!required && !listener.proxy_trusted.empty())
        warning({path + ".proxy_trusted", path + ".proxy_protocol"},
                {"listener " + in_quotes(listener.name) + " expects no PROXY protocol header",
                 "write proxy_protocol = \"require\", or leave this key out"});
      for (const Network& network : listener.proxy_trusted)
        if (required && network.prefix == 0)
          warning({path + ".proxy_trusted", path + ".proxy_protocol"},
                  {"anybody may name any client address on listener " + in_quotes(listener.name),
                   "list the balancers' addresses, not " + in_quotes(network.text)});
    }
  }

  [[nodiscard]] const Server* server_of(const Listener& listener) const {
    const auto found = std::ranges::find(config_.servers, listener.server, &Server::name);
    if (found != config_.servers.end()) return &*found;
    return listener.server.empty() && config_.servers.size() == 1 ? &config_.servers.front()
                                                                  : nullptr;
  }

  void check_scram(const Listener& listener, const std::string& path) {
    if (listener.scram == Scram::pass) return;
    const Server* server = server_of(listener);
    if (listener.tls.mode == ListenerTlsMode::opaque)
      error({path + ".scram", path + ".tls"},
            {"pgleash takes no part in the logins of a listener that passes TLS through",
             "leave scram out: with tls = \"opaque\" channel binding holds end to end"});
    if (server != nullptr && !server->monitor.enabled)
      error({path + ".scram", path + ".server"},
            {"nobody tells the secrets of roles: server " + in_quotes(server->name) +
                 " has no monitor",
             "give it a [server.monitor], and run bootstrap-sql with scram_group"});
  }

  void check_tls() {
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      check_listener_tls(config_.listeners[i], item("listener", i));
      check_scram(config_.listeners[i], item("listener", i));
    }
    for (std::size_t i = 0; i < config_.servers.size(); ++i)
      check_server_tls(config_.servers[i], item("server", i));
  }

  void check_listener_tls(const Listener& listener, const std::string& path) {
    const ListenerTls& tls = listener.tls;
    if (tls.mode == ListenerTlsMode::off) {
      for (const char* key :
           {".tls_cert_file", ".tls_key_file", ".tls_client_ca_file", ".tls_client_crl_file"}) {
        if (!provenance_.contains(path + key)) continue;
        warning({path + key, path + ".tls"},
                {"listener " + in_quotes(listener.name) + " does not speak TLS: its tls is \"off\"",
                 "write tls = \"require\", or \"prefer\", or leave this key out"});
        break;
      }
      return;
    }
    if (tls.mode == ListenerTlsMode::opaque) return check_opaque(listener, path);
    if (tls.cert_file.empty() || tls.key_file.empty()) {
      error({path + ".tls", path + ".tls_cert_file", path + ".tls_key_file"},
            {"listener " + in_quotes(listener.name) + " has no certificate, or no key to it",
             "write tls_cert_file and tls_key_file; the server's own pair keeps SCRAM channel "
             "binding working"});
    }
    if (tls.client_ca_file.empty()) {
      if (!tls.client_crl_file.empty())
        error({path + ".tls_client_crl_file", path + ".tls_client_ca_file"},
              {"nobody says which client certificates are good",
               "write tls_client_ca_file, or leave this key out"});
    } else if (tls.mode == ListenerTlsMode::prefer &&
               tls.client_cert == ClientCertificate::require) {
      warning({path + ".tls_client_ca_file", path + ".tls"},
              {"who comes without TLS is asked for no certificate",
               "write tls = \"require\" to keep out those who have none"});
    }
  }

  /// Clients and server speak TLS with each other: what pgleash cannot see there it cannot promise.
  void check_opaque(const Listener& listener, const std::string& path) {
    for (const char* key :
         {".tls_cert_file", ".tls_key_file", ".tls_client_ca_file", ".tls_client_crl_file"}) {
      if (!provenance_.contains(path + key)) continue;
      error({path + key, path + ".tls"},
            {"listener " + in_quotes(listener.name) + " ends no TLS: its tls is \"opaque\"",
             "the server's own certificate is what clients see; leave this key out"});
      break;
    }
    if (listener.require_challenge != RequireChallenge::never)
      error({path + ".tls", path + ".require_challenge"},
            {"nobody can see through TLS whether the server asks for a password",
             "write require_challenge = \"never\" once no trust, peer or ident line of pg_hba.conf "
             "matches pgleash's address; \"pgleash check --login\" tries it"});
    const Server* server = server_of(listener);
    if (server == nullptr) return;
    if (server->address.is_unix)
      error({path + ".tls", path + ".server"},
            {"there is no TLS to pass through: server " + in_quotes(server->name) +
                 " is reached by a Unix socket",
             "write host = \"127.0.0.1\" in its [[server]]"});
    if (!server->monitor.enabled)
      warning({path + ".tls", path + ".server"},
              {"nobody judges the sessions of listener " + in_quotes(listener.name) + ": server " +
                   in_quotes(server->name) + " has no monitor",
               "their state is known from pg_stat_activity alone; give it a [server.monitor]"});
    if (server->application_name_suffix != ApplicationNameSuffix::off)
      warning({path + ".tls", path + ".server"},
              {"application_name_suffix does not reach the sessions of listener " +
                   in_quotes(listener.name),
               "what they say at their login is encrypted"});
    for (std::size_t i = 0; i < config_.quotas.size(); ++i)
      if (config_.quotas[i].key != QuotaKey::address)
        warning({item("quota", i) + ".key", path + ".tls"},
                {"quota " + in_quotes(config_.quotas[i].name) +
                     " does not count the sessions of listener " + in_quotes(listener.name),
                 "who they are is encrypted when they come; only a quota by address holds there"});
  }

  void check_server_tls(const Server& server, const std::string& path) {
    const ServerTls& tls = server.tls;
    const bool verifies = tls.mode == SslMode::verify_ca || tls.mode == SslMode::verify_full;
    if (verifies && tls.ca_file.empty()) {
      error({path + ".tls", path + ".tls_ca_file"},
            {"nothing to verify the certificate of server " + in_quotes(server.name) + " with",
             "write tls_ca_file = \"ca.crt\", or \"system\" for the CAs this machine trusts"});
    }
    if (!verifies && tls.ca_file == "system") {
      error({path + ".tls_ca_file", path + ".tls"},
            {"any certificate of a public CA would do for server " + in_quotes(server.name),
             "write tls = \"verify-full\" with the CAs this machine trusts"});
    }
    if (tls.cert_file.empty() != tls.key_file.empty()) {
      error({path + (tls.cert_file.empty() ? ".tls_key_file" : ".tls_cert_file")},
            {"a certificate without its key, or the other way round",
             "write both tls_cert_file and tls_key_file"});
    }
    if (!tls.crl_file.empty() && tls.ca_file.empty()) {
      error({path + ".tls_crl_file", path + ".tls_ca_file"},
            {"a list of revoked certificates, but no CA to check any with", "write tls_ca_file"});
    }
    if (server.address.is_unix && (tls.mode == SslMode::require || verifies)) {
      error({path + ".tls", path + ".host"},
            {"PostgreSQL has no TLS on Unix sockets", "leave tls out: nobody can listen there"});
    }
    if (tls.negotiation == TlsNegotiation::direct && tls.mode < SslMode::require) {
      error({path + ".tls_negotiation", path + ".tls"},
            {"tls = " + in_quotes(word_for(ssl_mode_words, tls.mode)) + " of server " +
                 in_quotes(server.name) +
                 " may go on in clear, and who begins with TLS outright cannot",
             "write tls = \"require\", \"verify-ca\" or \"verify-full\" with tls_negotiation = "
             "\"direct\""});
    }
    if (tls.mode == SslMode::disable && !tls.ca_file.empty()) {
      warning(
          {path + ".tls_ca_file", path + ".tls"},
          {"tls_ca_file of server " + in_quotes(server.name) + " is not used: tls is \"disable\"",
           "write tls = \"verify-full\", or leave tls_ca_file out"});
    }
  }

  struct Bound {
    std::string path;
    const Address* address;
  };

  /// Whether binding both would fail, or connect the proxy to itself. Host names are compared as
  /// written.
  static bool collide(const Address& a, const Address& b) {
    if (a.port != b.port || a.is_unix != b.is_unix) return false;
    if (a.host == b.host) return true;
    if (a.is_unix) return false;
    const auto v6 = [](const Address& address) {
      return address.host.find(':') != std::string::npos;
    };
    const auto all = [](const Address& address) {
      return address.host == "0.0.0.0" || address.host == "::";
    };
    return v6(a) == v6(b) && (all(a) || all(b));
  }

  void check_http() {
    const Http& http = config_.http;
    if (http.tls_cert_file.empty() != http.tls_key_file.empty())
      error({http.tls_cert_file.empty() ? "http.tls_key_file" : "http.tls_cert_file"},
            {"a certificate without its key, or the other way round",
             "write both tls_cert_file and tls_key_file"});
    if (!http.listen || is_loopback(http.listen->host)) return;
    const std::string what = http.token_file.empty() ? http.tls() ? "a token" : "TLS and a token"
                             : http.tls()            ? ""
                                                     : "TLS";
    if (what.empty()) return;
    error({"http.listen", "http.token_file", "http.tls_cert_file", "http.tls_key_file"},
          {format_address(*http.listen) + " is not loopback, and the status page is without " +
               what + ": it shows users, addresses and what they do",
           "write token_file, tls_cert_file and tls_key_file, or listen on 127.0.0.1 and reach it "
           "by ssh -L 9733:127.0.0.1:9733; /metrics has an address of its own, [metrics] listen"});
  }

  void check_addresses() {
    std::vector<Bound> bound;
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      for (std::size_t j = 0; j < config_.listeners[i].listen.size(); ++j) {
        bound.push_back(
            {item(item("listener", i) + ".listen", j), &config_.listeners[i].listen[j]});
      }
    }
    if (config_.metrics.listen) bound.push_back({"metrics.listen", &*config_.metrics.listen});
    if (config_.http.listen) bound.push_back({"http.listen", &*config_.http.listen});
    for (std::size_t later = 0; later < bound.size(); ++later) {
      const Bound& own = bound[later];
      const auto first =
          std::find_if(bound.begin(), bound.begin() + static_cast<std::ptrdiff_t>(later),
                       [&](const Bound& other) { return collide(*own.address, *other.address); });
      if (first != bound.begin() + static_cast<std::ptrdiff_t>(later)) {
        error({own.path, first->path},
              {format_address(*own.address) + " is taken by " + first->path + " already",
               "each address can be listened on once"});
      }
      for (std::size_t i = 0; i < config_.servers.size(); ++i) {
        const Server& server = config_.servers[i];
        if (server.address.host.empty() || !(*own.address == server.address)) continue;
        error({own.path, item("server", i) + ".host", item("server", i) + ".port"},
              {format_address(*own.address) + " is the address of server " + in_quotes(server.name),
               "pgleash would connect to itself; listen on another port"});
      }
    }
  }

  void check_rule(const Rule& rule, const std::string& path) {
    check_action(rule, path);
    check_keys_of_kind(rule, path);
    check_notify(rule, path);
    if (rule.warn && rule.limit && *rule.warn >= *rule.limit) {
      error({path + ".warn", path + ".limit"},
            {"the warning after " + format_duration(*rule.warn) +
                 " comes no earlier than the limit of " + format_duration(*rule.limit),
             "warn below the limit, or leave warn out"},
            rule.position);
    }
    if (rule.name == "orphan" || rule.name == "manual") {
      error(
          {path + ".name"},
          {"no rule may be named " + in_quotes(rule.name),
           std::string{rule.name == "orphan" ? "verdicts on backends without a session"
                                             : "what a person ordered on the console"} +
               (rule.name == "orphan" ? " have this name" : " has this name") + "; choose another"},
          rule.position);
    }
    if (!rule.limit && rule.action != Action::observe) {
      warning({path + ".limit", path + ".action"},
              {"rule " + in_quotes(rule.name) + " never acts: its limit is off",
               "give it a limit, or action = \"observe\""},
              rule.position);
    } else if (!rule.limit && !rule.warn) {
      warning({path + ".limit", path + ".warn"},
              {"rule " + in_quotes(rule.name) + " does nothing: neither limit nor warn", {}},
              rule.position);
    }
    check_sampled(rule, path);
    if (rule.sqlstate == "57P01") {
      warning({path + ".sqlstate"},
              {"57P01 for one session makes Npgsql drop its whole pool",
               "write \"native\" for the code that PostgreSQL itself uses for this reason"},
              rule.position);
    }
  }

  /// What the server or its host is asked for now and then cannot be judged between two answers.
  void check_sampled(const Rule& rule, const std::string& path) {
    if (!is_cost(rule.kind) || rule.kind == RuleKind::sent_bytes || rule.kind == RuleKind::rows)
      return;
    if (rule.kind == RuleKind::wal) {
      warning({path + ".kind"},
              {"rule " + in_quotes(rule.name) +
                   " has no data: PostgreSQL up to 18 shows the WAL of a "
                   "transaction only when that is over",
               "judge by write_rate or statement"},
              rule.position);
      return;
    }
    for (std::size_t i = 0; i < config_.servers.size(); ++i) {
      const Server& server = config_.servers[i];
      if (!server.monitor.enabled) {
        warning({path + ".kind", item("server", i) + ".monitor"},
                {"rule " + in_quotes(rule.name) + " has no data of server " +
                     in_quotes(server.name) + ", which has no monitor",
                 "give the server a [server.monitor], or judge by sent_bytes, rows or statement"},
                rule.position);
      } else if (rule.limit && *rule.limit < server.monitor.poll_interval) {
        warning({path + ".limit", item("server", i) + ".monitor.poll_interval"},
                {"the limit of rule " + in_quotes(rule.name) +
                     " is shorter than the poll_interval of server " + in_quotes(server.name),
                 "what it judges is measured once each " +
                     format_duration(server.monitor.poll_interval) +
                     ", so it acts later than its limit says"},
                rule.position);
      }
    }
  }

  void check_action(const Rule& rule, const std::string& path) {
    const auto possible = possible_actions(rule);
    if (std::ranges::find(possible, rule.action) != possible.end()) return;
    std::vector<std::string_view> words;
    for (const Action action : possible) words.push_back(name(action));
    if (rule.kind == RuleKind::blocking && rule.victim == Victim::none) {
      error({path + ".action", path + ".victim"},
            {"a rule without a victim cannot " + std::string(name(rule.action)),
             "write action = \"observe\", or victim = \"auto\""},
            rule.position);
      return;
    }
    const auto why = [&]() -> std::string_view {
      if (rule.kind == RuleKind::transaction_age)
        return "to cancel a statement does not end its transaction";
      if (rule.kind == RuleKind::blocking)
        return "a root may be idle, and has no statement to cancel then; what works is cancelled "
               "all the same";
      return "there is no running statement to cancel in this state";
    };
    error({path + ".action", path + ".kind"},
          {"a rule of kind '" + std::string(name(rule.kind)) + "' cannot " +
               std::string(name(rule.action)),
           "write " + listed(words) + ": " + std::string(why())},
          rule.position);
  }

  void check_notify(const Rule& rule, const std::string& path) {
    if (rule.notify == Notify::eager) {
      if (!provenance_.contains(path + ".notify_within")) return;
      warning({path + ".notify_within", path + ".notify"},
              {"'notify_within' is not used: the rule's notify is \"eager\"",
               "write notify = \"on_next_use\", or leave notify_within out"},
              rule.position);
      return;
    }
    if (may_stay_silent(rule.kind)) return;
    error({path + ".notify", path + ".kind"},
          {"a rule of kind '" + std::string(name(rule.kind)) + "' cannot notify on_next_use",
           "write \"eager\": only the client of an idle, idle_in_transaction, aborted or "
           "session_age rule waits for nothing from the server"},
          rule.position);
  }

  void check_pace() {
    const Pace& pace = config_.enforcement.pace;
    const std::string path = "enforcement.pace.kills_per_minute";
    const auto above = [&](std::string_view which, std::uint32_t value) {
      if (value <= pace.kills_per_minute) return;
      warning({path, path + std::string(which)},
              {"kills_per_minute" + std::string(which) + " is above kills_per_minute",
               "the smaller one rules, for all together"});
    };
    if (provenance_.contains(path) || provenance_.contains(path + "_per_application"))
      above("_per_application", pace.kills_per_minute_per_application);
    if (provenance_.contains(path + "_per_rule"))
      above("_per_rule", pace.kills_per_minute_per_rule);
  }

  /// A key of another kind does nothing, and who wrote it expects something.
  void check_keys_of_kind(const Rule& rule, const std::string& path) {
    struct Key {
      std::string_view name;
      RuleKind kind;
    };
    static constexpr std::array keys{
        Key{"blocked_at_least", RuleKind::blocking}, Key{"victim", RuleKind::blocking},
        Key{"group_by", RuleKind::group}, Key{"at_least", RuleKind::group},
        Key{"victims", RuleKind::group}};
    for (const Key& key : keys) {
      const std::string full = path + '.' + std::string(key.name);
      if (rule.kind == key.kind || !provenance_.contains(full)) continue;
      error({full, path + ".kind"},
            {"'" + std::string(key.name) + "' means nothing to a rule of kind '" +
                 std::string(name(rule.kind)) + "'",
             "it is a key of kind '" + std::string(name(key.kind)) + "'"},
            rule.position);
    }
  }

  void check_enforcement() {
    check_pace();
    if (config_.enforcement.mode != Mode::enforce) return;
    if (config_.audit.sink == AuditSink::off) {
      error({"enforcement.mode", "audit.sink", "audit.file"},
            {"enforce mode without an audit log",
             "write sink = \"stdout\", or file = \"audit.jsonl\", in [audit]: no audit line, no "
             "kill"});
    }
    Paths paths{"enforcement.mode"};
    for (std::size_t i = 0; i < config_.rules.size(); ++i)
      paths.push_back(item("rule", i) + ".action");
    const auto acts = [](const Rule& rule) { return rule.action != Action::observe; };
    paths.push_back("leak.action");
    if (std::ranges::none_of(config_.rules, acts) && config_.leak.action == Action::observe) {
      warning(paths, {"enforce mode, but every rule only observes",
                      "a rule acts when its action says so: action = \"terminate\""});
    }
  }

  void check_leak() {
    const std::vector<Duration>& windows = config_.leak.windows;
    if (windows.size() > 4)
      error({"leak.windows"},
            {"too many windows: " + std::to_string(windows.size()), "four at most"});
    if (!windows.empty() && windows.front() < 1s)
      error({"leak.windows"}, {"the shortest window is below a second", "a second at least"});
    for (std::size_t i = 1; i < windows.size(); ++i) {
      if (windows[i] >= 2 * windows[i - 1]) continue;
      error({"leak.windows"}, {"the windows " + format_duration(windows[i - 1]) + " and " +
                                   format_duration(windows[i]) + " are not apart",
                               "write them ascending, each at least twice the one before"});
      break;
    }
  }

  void check_audit() {
    const Audit& audit = config_.audit;
    if (audit.sink == AuditSink::file && audit.file.empty()) {
      error({"audit.sink", "audit.file"},
            {"the audit log has no file", "write file = \"audit.jsonl\" in [audit]"});
    }
    if (audit.sink != AuditSink::file && !audit.file.empty()) {
      warning({"audit.file", "audit.sink"},
              {"the audit log's file is not used: its sink is \"" +
                   std::string(word_for(sink_words, audit.sink)) + '"',
               "write sink = \"file\", or leave file out"});
    }
  }

  const Config& config_;
  const Provenance& provenance_;
  const std::set<std::string>& unreadable_;
  std::vector<Diagnostic>& diagnostics_;
};

}  // namespace

void check(const Config& config, const Provenance& provenance,
           const std::set<std::string>& unreadable, std::vector<Diagnostic>& diagnostics) {
  Checker{config, provenance, unreadable, diagnostics}.run();
}

void check(const Config& config, const Provenance& provenance,
           std::vector<Diagnostic>& diagnostics) {
  check(config, provenance, {}, diagnostics);
}

void check(const Config& config, std::vector<Diagnostic>& diagnostics) {
  check(config, {}, {}, diagnostics);
}

}  // namespace pgleash::config
