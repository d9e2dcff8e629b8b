#include "watchdog/server_advice.hpp"

#include "watchdog/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace pgleash::watchdog {
namespace {

constexpr std::int32_t oldest_version = 120000;
constexpr std::int64_t huge_query_size = 65536;
constexpr std::int64_t short_keepalive_seconds = 600;

class Adviser {
 public:
  Adviser(const ServerFacts& facts, const config::Config& config, const config::Server& server)
      : facts_(facts), config_(config), server_(server) {}

  std::vector<Advice> run() {
    check_version();
    check_role();
    check_activity();
    check_slots();
    check_lost_clients();
    check_timeouts();
    check_trust();
    check_names();
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Advice& a, const Advice& b) { return a.gravity > b.gravity; });
    return std::move(found_);
  }

 private:
  void add(Gravity gravity, std::string about, std::string message, std::string remedy = {}) {
    found_.push_back({gravity, std::move(about), std::move(message), std::move(remedy)});
  }
  [[nodiscard]] std::optional<std::string_view> setting(std::string_view name) const {
    const auto found = facts_.settings.find(name);
    if (found == facts_.settings.end()) return std::nullopt;
    return found->second;
  }
  [[nodiscard]] std::optional<std::int64_t> number(std::string_view name) const {
    const auto text = setting(name);
    std::int32_t value = 0;  // as all of PostgreSQL's whole numbers
    if (!text ||
        std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc{})
      return std::nullopt;
    return value;
  }

  void check_version() {
    if (facts_.version >= oldest_version) return;
    add(Gravity::error, "server_version",
        fmt::format("the server is PostgreSQL {}; pgleash knows 12 and newer",
                    facts_.version / 10000));
  }

  void check_role() {
    if (facts_.superuser) {
      add(Gravity::error, "superuser",
          fmt::format("the monitor role {} is a superuser, which pgleash refuses", facts_.role),
          fmt::format("ALTER ROLE {} NOSUPERUSER", facts_.role));
      return;  // it has all rights, and all of them must go
    }
    if (!facts_.sees_sessions)
      add(Gravity::error, "pg_monitor",
          fmt::format("the role {} does not see other roles' sessions: nothing can be sampled",
                      facts_.role),
          fmt::format("GRANT pg_monitor TO {}", facts_.role));
    if (!facts_.may_signal)
      add(Gravity::warning, "pg_signal_backend",
          fmt::format("the role {} may end nobody: what the in-band step does not end survives, "
                      "and orphans and direct sessions cannot be ended at all",
                      facts_.role),
          fmt::format("GRANT pg_signal_backend TO {}", facts_.role));
    if (!facts_.may_use_reserved)
      add(Gravity::warning, "pg_use_reserved_connections",
          fmt::format("the role {} finds no slot when the server is full", facts_.role),
          fmt::format("GRANT pg_use_reserved_connections TO {}", facts_.role));
    if (facts_.public_may_connect)
      add(Gravity::note, "database",
          fmt::format("anybody may connect to the monitor's database {}", facts_.database),
          fmt::format("REVOKE CONNECT ON DATABASE {} FROM PUBLIC, or a database of its own as "
                      "bootstrap-sql makes it",
                      facts_.database));
  }

  void check_activity() {
    if (setting("track_activities") == "off")
      add(Gravity::warning, "track_activities",
          "the server does not show what sessions do: rules and exemptions that need it pause, and "
          "guarded SQL ends nothing",
          "ALTER SYSTEM SET track_activities = on");
    if (const auto size = number("track_activity_query_size"); size && *size > huge_query_size)
      add(Gravity::note, "track_activity_query_size",
          fmt::format("{} bytes are copied for every backend at each sample", *size),
          "16384 is plenty; pgleash reads 256");
  }

  void check_slots() {
    const auto most = number("max_connections");
    if (!most) return;
    const std::int64_t superuser_reserved = number("superuser_reserved_connections").value_or(0);
    const std::int64_t reserved = number("reserved_connections").value_or(0);
    const std::int64_t usable = *most - superuser_reserved - reserved;
    if (config_.process.max_sessions > usable)
      add(Gravity::note, "max_connections",
          fmt::format(
              "max_sessions is {}, the server takes {}: when it is full clients hear so from "
              "the server",
              config_.process.max_sessions, usable));
    if (superuser_reserved == 0)
      add(Gravity::warning, "superuser_reserved_connections",
          "nobody can log in to a full server, not even a superuser",
          "ALTER SYSTEM SET superuser_reserved_connections = 3, then restart");
    if (setting("reserved_connections") && reserved == 0)
      add(Gravity::note, "reserved_connections",
          "no slot is kept for the monitor: when the server is full and the monitor is not "
          "connected "
          "yet, sessions are ended in-band only and unverified",
          "ALTER SYSTEM SET reserved_connections = 3, then restart");
  }

  void check_lost_clients() {
    if (const auto interval = setting("client_connection_check_interval");
        interval && *interval == "0")
      add(Gravity::note, "client_connection_check_interval",
          "a backend at work does not notice that its client is gone: if pgleash itself is killed, "
          "its statements run on as orphans",
          "ALTER SYSTEM SET client_connection_check_interval = '10s'");
    const auto idle = number("tcp_keepalives_idle");
    if (!server_.address.is_unix && idle && (*idle == 0 || *idle > short_keepalive_seconds))
      add(Gravity::note, "tcp_keepalives_idle",
          fmt::format("the server notices a lost network after {}",
                      *idle == 0 ? std::string{"what its system says, two hours mostly"}
                                 : in_seconds(std::chrono::seconds{*idle})),
          "ALTER SYSTEM SET tcp_keepalives_idle = '60s'");
  }

  /// A timeout of PostgreSQL's own that strikes before a rule's limit leaves that rule nothing to
  /// do, and tells the client less.
  void check_timeouts() {
    constexpr std::pair<std::string_view, config::RuleKind> judged_too[] = {
        {"idle_in_transaction_session_timeout", config::RuleKind::idle_in_transaction},
        {"idle_session_timeout", config::RuleKind::idle},
        {"statement_timeout", config::RuleKind::statement}};
    for (const ServerFacts::RoleSetting& one : facts_.role_settings) {
      if (one.whose == "role " + facts_.role) continue;  // bootstrap-sql gave the monitor these
      for (const auto& [setting_name, kind] : judged_too)
        if (one.name == setting_name && one.value != "0") compare(one, kind);
    }
  }

  void compare(const ServerFacts::RoleSetting& one, config::RuleKind kind) {
    for (const config::Rule& rule : config_.rules)
      if (rule.kind == kind && rule.limit)
        return add(Gravity::note, one.name,
                   fmt::format("{} has {} = {}: where that is shorter than the limit of rule '{}' "
                               "({}), PostgreSQL ends the session first",
                               one.whose, one.name, one.value, rule.name, in_seconds(*rule.limit)));
  }

  void check_trust() {
    if (!facts_.trust_lines) {
      add(Gravity::note, "pg_hba.conf",
          fmt::format("the role {} may not read pg_hba_file_rules, so nobody looked for lines that "
                      "let our address in without a password",
                      facts_.role),
          fmt::format("GRANT SELECT ON pg_hba_file_rules TO {0}; GRANT EXECUTE ON FUNCTION "
                      "pg_hba_file_rules() TO {0}",
                      facts_.role));
      return;
    }
    for (const ServerFacts::TrustLine& line : *facts_.trust_lines)
      add(Gravity::warning, "pg_hba.conf",
          fmt::format(
              "line {} of pg_hba.conf ({}) lets pgleash's address in without a proof, and so "
              "whoever connects through it",
              line.line, line.method),
          "give that line scram-sha-256; meanwhile require_challenge refuses such logins of remote "
          "clients");
  }

  const ServerFacts& facts_;
  const config::Config& config_;
  const config::Server& server_;
  /// Rules, metrics and the leak detector go by the application's name.
  void check_names() {
    for (const Nameless& one : facts_.nameless) {
      std::string users;
      for (const std::string& user : one.users) users += (users.empty() ? "" : ", ") + user;
      add(Gravity::note, std::string{names_advice},
          fmt::format("{} of {} sessions {} ({}): they go by user@database, or by [identity]",
                      one.sessions, facts_.sessions,
                      one.said.empty() ? "carry no name"
                                       : fmt::format("are called \"{}\" by their driver", one.said),
                      printable(users)),
          one.remedy);
    }
  }

  std::vector<Advice> found_;
};

}  // namespace

std::string_view name(Gravity gravity) noexcept {
  switch (gravity) {
    case Gravity::note:
      return "note";
    case Gravity::warning:
      return "warning";
    case Gravity::error:
      break;
  }
  return "error";
}

std::vector<Advice> advise(const ServerFacts& facts, const config::Config& config,
                           const config::Server& server) {
  return Adviser{facts, config, server}.run();
}

}  // namespace pgleash::watchdog
