#pragma once

#include "config/diagnostic.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The configuration as plain values. Each default is written here and nowhere else;
/// `config/pgleash.example.toml` shows every key with its default, and a test keeps the two equal.
/// A component takes its own section.
namespace pgleash::config {

using Duration = std::chrono::milliseconds;
/// A limit that may be "off".
using OptionalDuration = std::optional<Duration>;

using namespace std::chrono_literals;

enum class LogFormat : std::uint8_t { automatic, text, json };
enum class Mode : std::uint8_t { observe, enforce };
enum class RequireChallenge : std::uint8_t { remote, always, never };
/// Whether a listener speaks TLS with its clients; `opaque`: the server does, pgleash sees bytes.
enum class ListenerTlsMode : std::uint8_t { off, prefer, require, opaque };
/// What of the client's address a server's views are told, behind its application_name.
enum class ApplicationNameSuffix : std::uint8_t { off, address, address_port };
/// Who proves a SCRAM login to whom: the client to the server, or each to pgleash.
enum class Scram : std::uint8_t { pass, reoriginate };
/// Whether a balancer has to say, by a PROXY protocol header, whom it connects for.
enum class ProxyProtocol : std::uint8_t { off, require };
enum class ClientCertificate : std::uint8_t { request, require };
/// libpq's sslmode, for the server leg.
enum class SslMode : std::uint8_t { disable, allow, prefer, require, verify_ca, verify_full };
/// libpq's sslnegotiation: ask with SSLRequest, or begin with TLS outright (PostgreSQL 17).
enum class TlsNegotiation : std::uint8_t { postgres, direct };
enum class TlsVersion : std::uint8_t { v1_2, v1_3 };
enum class OnClientGone : std::uint8_t { cancel, finish };
/// What connects to a listener: applications, or a pooler whose sessions carry many of them.
enum class ClientKind : std::uint8_t { application, pooler };
enum class DirectSessions : std::uint8_t { count, judge };
enum class RuleKind : std::uint8_t {
  idle,
  idle_in_transaction,
  aborted,
  held,
  stalled,
  statement,
  transaction_age,
  session_age,
  // What a running statement costs, above `value`: see config/measure.hpp.
  sent_bytes,
  rows,
  temp_bytes,
  xmin_age,
  locks,
  parallel_workers,
  cpu_time,
  cpu_share,
  memory,
  read_rate,
  write_rate,
  wal,
  blocking,
  group,
  leak,  ///< not a [[rule]]: the leak detector's verdicts
};
enum class Action : std::uint8_t { observe, cancel, terminate, escalate };
/// Whom a rule of kind `blocking` is about.
enum class Victim : std::uint8_t {
  automatic,   ///< an idle root; where the root works, a strong lock queued behind it
  root,        ///< who holds what the others wait for
  queue_head,  ///< the first of the queue, if those behind wait for nobody else
  none,        ///< nobody: blocking is reported
};
/// What statements of a rule of kind `group` have in common.
enum class GroupBy : std::uint8_t { fingerprint, application, client };
enum class GroupVictims : std::uint8_t { oldest, all, all_but_oldest };
enum class Notify : std::uint8_t { eager, on_next_use };
/// Where a session's application name comes from, see Identity.
enum class IdentitySource : std::uint8_t { application_name, listener, client_map, user_database };
enum class AuditSink : std::uint8_t { off, file, standard_output };
enum class WebhookEvent : std::uint8_t { ended, survived, fuse, leak };
enum class StatementTextPolicy : std::uint8_t { none, fingerprint, full };

/// The word of the configuration file for it, which is also the word of logs, metrics and the audit
/// log.
[[nodiscard]] std::string_view name(Mode mode) noexcept;
[[nodiscard]] std::string_view name(RuleKind kind) noexcept;
[[nodiscard]] std::string_view name(Action action) noexcept;
[[nodiscard]] std::string_view name(Victim victim) noexcept;
[[nodiscard]] std::string_view name(WebhookEvent event) noexcept;

/// Of a hundred, whole: "20%".
struct Percent {
  unsigned value = 0;
  bool operator==(const Percent&) const = default;
};

/// How the relay's small messages are written: each by a system call, or those of a turn by one.
enum class Engine : std::uint8_t { epoll, io_uring, automatic };

struct Process {
  std::string name;      ///< "hostname" is resolved by the loader
  unsigned workers = 0;  ///< 0: one for every two cores
  Engine engine = Engine::epoll;
  std::uint32_t max_sessions = 5000;
  std::uint32_t max_logins =
      256;  ///< sessions that have not finished logging in, half-sent startup packets among them
  Duration drain_delay = 5s;
  Duration drain_timeout = 25s;
  LogFormat log_format = LogFormat::automatic;
  bool watch_config = false;     ///< reload when the file changes, as at SIGHUP
  std::string journal = "auto";  ///< path; "auto": in $STATE_DIRECTORY when there is one; "off"
  bool operator==(const Process&) const = default;
};

/// TCP keepalive and TCP_USER_TIMEOUT of one leg.
struct Keepalive {
  Duration idle;
  Duration interval;
  unsigned count;
  Duration user_timeout;
  bool operator==(const Keepalive&) const = default;
};

/// One address to listen on, or to connect to: an IP literal or host name with a port, or the
/// directory of a Unix socket (then the socket is `directory/.s.PGSQL.port`).
struct Address {
  std::string host;
  std::uint16_t port = 0;
  bool is_unix = false;
  bool operator==(const Address&) const = default;
};

/// A CIDR network; the address in network byte order, 4 or 16 bytes significant.
struct Network {
  std::array<std::uint8_t, 16> address{};
  bool v6 = false;
  std::uint8_t prefix = 0;
  std::string text;  ///< as written
  bool operator==(const Network&) const = default;
};

/// The client leg. Files are read at the start and at each reload; sessions keep what they have.
struct ListenerTls {
  ListenerTlsMode mode = ListenerTlsMode::off;  ///< key `tls`
  std::string cert_file;                        ///< PEM, leaf first
  std::string key_file;                         ///< PEM; a secret
  std::string client_ca_file;   ///< clients are asked for a certificate that these have signed
  std::string client_crl_file;  ///< those that do not count any more
  ClientCertificate client_cert = ClientCertificate::require;  ///< only with client_ca_file
  TlsVersion min_version = TlsVersion::v1_2;
  bool operator==(const ListenerTls&) const = default;
};

/// The server leg. Means nothing for a Unix socket.
struct ServerTls {
  SslMode mode = SslMode::prefer;  ///< key `tls`
  std::string ca_file;             ///< PEM, or "system"
  std::string crl_file;
  std::string cert_file;  ///< of our own, for servers that ask for one
  std::string key_file;
  TlsVersion min_version = TlsVersion::v1_2;
  TlsNegotiation negotiation = TlsNegotiation::postgres;
  bool operator==(const ServerTls&) const = default;
};

struct Listener {
  std::string name;
  std::vector<Address> listen;
  std::string server;  ///< name of a [[server]]; may be omitted in the file when there is one only
  std::vector<Network>
      allow;  ///< default 0.0.0.0/0 and ::/0; Unix-socket clients are always allowed
  RequireChallenge require_challenge = RequireChallenge::remote;
  ProxyProtocol proxy_protocol = ProxyProtocol::off;
  std::vector<Network> proxy_trusted;  ///< whose headers count; nobody else connects
  ListenerTls tls;
  Scram scram = Scram::pass;
  std::string application;  ///< name for sessions that bring none; empty: off
  ClientKind client_kind = ClientKind::application;
  Duration login_timeout = 10s;
  OnClientGone on_client_gone = OnClientGone::cancel;
  Duration client_gone_grace = 500ms;
  Keepalive keepalive{60s, 10s, 3, 90s};
  bool operator==(const Listener&) const = default;
};

struct Monitor {
  bool enabled = true;  ///< false: "none", in-band rules only
  std::string user = "pgleash_monitor";
  std::string database = "pgleash";
  std::string password_file;  ///< empty: libpq's own sources (PGPASSWORD, passfile)
  Duration poll_interval = 2s;
  Duration statement_timeout = 5s;
  bool operator==(const Monitor&) const = default;
};

struct Server {
  std::string name;
  Address address;
  ServerTls tls;
  Duration connect_timeout = 5s;
  Keepalive keepalive{30s, 10s, 3, 60s};
  DirectSessions direct_sessions = DirectSessions::count;  ///< those that do not come through us
  ApplicationNameSuffix application_name_suffix = ApplicationNameSuffix::off;
  Monitor monitor;
  bool operator==(const Server&) const = default;
};

/// How many may be ended in a minute; the excess waits.
struct Pace {
  std::uint32_t kills_per_minute = 30;
  std::uint32_t kills_per_minute_per_application = 10;
  std::uint32_t kills_per_minute_per_rule = 30;
  bool operator==(const Pace&) const = default;
};

/// What smells of a wrong rule.
struct Fuse {
  Percent share_of_sessions{20};
  std::uint32_t at_least = 10;
  Percent recovered_share{30};
  std::uint32_t survived = 3;
  OptionalDuration reset = 30min;  ///< none: "manual"
  bool operator==(const Fuse&) const = default;
};

struct Enforcement {
  Mode mode = Mode::observe;  ///< the first of the two locks
  Duration hold_after_start =
      2min;  ///< delays acts in enforce mode, labels would-acts in observe mode
  Duration hold_after_failover = 5min;
  Duration hold_after_reload = 30s;
  Duration evidence_max_age = 30s;
  Pace pace;
  Fuse fuse;
  bool operator==(const Enforcement&) const = default;
};

struct ProtectEntry {
  std::string application;         ///< anchored RE2
  std::vector<std::string> users;  ///< anchored RE2; never empty: a name alone never exempts
  SourcePosition position;
  bool operator==(const ProtectEntry&) const = default;
};

struct Protect {
  std::vector<Pattern> users;
  std::vector<Network> clients;
  bool superusers = true;
  std::vector<ProtectEntry> entries;
  std::string marker = "pgleash:keep";  ///< in a comment of the transaction's first statement
  std::vector<Pattern> marker_users;    ///< whose marker counts; empty: nobody's
  Duration marker_max = 1h;             ///< how long it protects the transaction
  bool operator==(const Protect&) const = default;
};

/// Keys are AND, values of one key are OR. Patterns are anchored RE2. An empty list means that the
/// key was not given.
struct Match {
  std::vector<Pattern> applications;
  std::vector<Pattern> users;
  std::vector<Pattern> databases;
  std::vector<Network> clients;
  [[nodiscard]] bool empty() const noexcept {
    return applications.empty() && users.empty() && databases.empty() && clients.empty();
  }
  bool operator==(const Match&) const = default;
};

struct Rule {
  std::string name;  ///< [a-z0-9_-]{1,40}, unique; the metric label
  RuleKind kind = RuleKind::idle_in_transaction;
  std::optional<std::uint64_t>
      value;               ///< of the kinds of cost, in the kind's unit: config/measure.hpp
  OptionalDuration limit;  ///< of the kinds of cost: how long without a break above `value`
  OptionalDuration warn;
  Action action = Action::observe;  ///< the second lock
  Duration grace = 5s;
  Notify notify = Notify::eager;   ///< when the client learns that its session was ended
  Duration notify_within = 10min;  ///< of on_next_use: it is told by then, used or not
  std::string sqlstate;            ///< empty: native
  std::string hint;
  std::uint32_t blocked_at_least = 3;                   ///< blocking: for longer than `limit`
  Victim victim = Victim::automatic;                    ///< blocking
  GroupBy group_by = GroupBy::fingerprint;              ///< group
  std::uint32_t at_least = 20;                          ///< group: statements over `limit`
  GroupVictims victims = GroupVictims::all_but_oldest;  ///< group
  Match match;
  Match except;
  SourcePosition position;
  bool operator==(const Rule&) const = default;
};

struct Audit {
  AuditSink sink =
      AuditSink::off;  ///< enforce mode without a sink is a load error: no audit line, no kill
  std::string file;
  bool fsync_each = true;
  StatementTextPolicy statement_text = StatementTextPolicy::fingerprint;
  bool operator==(const Audit&) const = default;
};

/// Snapshots of the sessions, for `pgleash replay`.
struct Recording {
  std::string file;  ///< empty: off
  Duration interval = 10s;
  std::uint64_t max_size = std::uint64_t{64} << 20U;  ///< bytes; then FILE becomes FILE.1
  unsigned keep = 8;                                  ///< files, the newest among them
  bool operator==(const Recording&) const = default;
};

struct Metrics {
  std::optional<Address> listen = Address{"127.0.0.1", 9732, false};
  unsigned max_applications = 50;
  bool operator==(const Metrics&) const = default;
};

/// The status page and its API, which name users, applications and addresses. Off loopback only
/// with TLS and token.
struct Http {
  static constexpr std::size_t shortest_token = 16;  ///< bytes

  std::optional<Address> listen = Address{"127.0.0.1", 9733, false};
  std::string token_file;     ///< a secret: its first line is asked for; empty: none is
  std::string tls_cert_file;  ///< PEM, leaf first; empty: no TLS
  std::string tls_key_file;   ///< PEM; a secret
  [[nodiscard]] bool tls() const noexcept { return !tls_cert_file.empty(); }
  bool operator==(const Http&) const = default;
};

struct Leak {
  std::vector<Duration> windows{30min, 6h, 72h};  ///< ascending; a leak is judged in each
  Duration horizon = 168h;           ///< growth that would take the last slot within it is a leak
  Duration idle_longer_than = 5min;  ///< only a session unused for so long is a suspect
  std::uint32_t min_sessions = 5;
  Action action = Action::observe;  ///< observe or terminate: the second lock
  bool operator==(const Leak&) const = default;
};

/// Sessions of these networks are called `as`.
struct ClientName {
  std::vector<Network> clients;
  std::string as;
  bool operator==(const ClientName&) const = default;
};

/// Names that match are called `as`.
struct FoldedName {
  std::string match;  ///< anchored RE2
  std::string as;
  bool operator==(const FoldedName&) const = default;
};

/// What "application" means: of `sources`, the first that is not empty or a driver's default.
struct Identity {
  std::vector<IdentitySource> sources{IdentitySource::application_name, IdentitySource::listener,
                                      IdentitySource::client_map, IdentitySource::user_database};
  std::vector<Pattern>
      driver_defaults;  ///< default: PostgreSQL JDBC Driver, vertx-pg-client, postgres.js
  std::vector<ClientName> client_map;
  std::vector<FoldedName> fold;
  bool follow_set = false;  ///< a later SET application_name renames the session
  bool operator==(const Identity&) const = default;
};

/// What a quota counts by.
enum class QuotaKey : std::uint8_t { application, user, database, address };

/// How many sessions each value of a key may have, and how fast new ones may come. At least one of
/// the two is set.
struct Quota {
  std::string name;  ///< unique; the metric label
  QuotaKey key = QuotaKey::application;
  std::optional<std::uint32_t> sessions;
  std::optional<std::uint32_t> new_per_second;
  std::string sqlstate = "53300";
  bool operator==(const Quota&) const = default;
};

/// Who may use the console: literal user names. Nobody: it is off, and its database is one like
/// others.
struct Console {
  std::string database = "pgleash";  ///< connecting to this one through any listener is the console
  std::vector<std::string> viewers;
  std::vector<std::string> operators;
  std::vector<std::string> admins;
  std::string socket;  ///< directory of a Unix socket, authentication by OS user; empty: off
  [[nodiscard]] bool enabled() const noexcept {
    return !viewers.empty() || !operators.empty() || !admins.empty();
  }
  bool operator==(const Console&) const = default;
};

/// Where a secret is kept. The value itself is never part of the configuration: config/secret.hpp.
struct SecretSource {
  enum class Kind : std::uint8_t { text, env, file };
  Kind kind = Kind::text;  ///< text: no secret, it stands in the file
  std::string name;        ///< of the variable, or path; of `text` the text
  bool operator==(const SecretSource&) const = default;
};

/// Who is told by an HTTPS request. docs/webhook.md.
struct Webhook {
  static constexpr std::size_t shortest_key = 16;  ///< bytes of hmac_key
  static constexpr std::size_t most = 16;          ///< of them

  std::string name;       ///< unique; the metric label
  SecretSource url;       ///< config/url.hpp
  SecretSource hmac_key;  ///< each request is signed with it
  std::vector<WebhookEvent> events{WebhookEvent::ended, WebhookEvent::survived, WebhookEvent::fuse,
                                   WebhookEvent::leak};
  std::string ca_file;         ///< PEM, beside the CAs this machine trusts
  Duration timeout = 10s;      ///< of one attempt, look-up of the name included
  std::uint32_t queue = 1000;  ///< what waits; then the oldest is dropped
  Duration retry_for = 1h;     ///< how old a notice may be when an attempt fails and it is kept
  bool operator==(const Webhook&) const = default;
};

struct Config {
  std::uint32_t config_version = 1;
  Process process;
  std::vector<Listener> listeners;
  std::vector<Server> servers;
  Enforcement enforcement;
  Protect protect;
  std::vector<Rule> rules;  ///< the default rules of default_rules() when the file has none
  Leak leak;
  Identity identity;
  std::vector<Quota> quotas;
  Audit audit;
  std::vector<Webhook> webhooks;
  Console console;
  Recording recording;
  Metrics metrics;
  Http http;
  bool operator==(const Config&) const = default;
};

/// The rules of a configuration without rules; all of them observe.
[[nodiscard]] std::vector<Rule> default_rules();

}  // namespace pgleash::config
