#include "watchdog/server_probe.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::watchdog {
namespace {

constexpr const char* role_sql = R"(
SELECT pg_catalog.quote_ident(r.rolname), r.rolsuper,
       pg_catalog.pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE'),
       pg_catalog.pg_has_role(r.oid, 'pg_signal_backend', 'USAGE'),
       COALESCE((SELECT pg_catalog.pg_has_role(r.oid, reserve.oid, 'USAGE')
                 FROM pg_catalog.pg_roles AS reserve
                 WHERE reserve.rolname = 'pg_use_reserved_connections'), true),
       pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT'),
       pg_catalog.quote_ident(pg_catalog.current_database())
FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER)";

constexpr const char* settings_sql = R"(
SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s
WHERE s.name IN ('track_activities', 'track_activity_query_size', 'max_connections',
                 'superuser_reserved_connections', 'reserved_connections',
                 'client_connection_check_interval', 'tcp_keepalives_idle'))";

// Our own session hides the server's timeouts behind its options; those of roles and databases
// show.
constexpr const char* role_settings_sql = R"(
SELECT pg_catalog.concat_ws(' in ', 'role ' || pg_catalog.quote_ident(r.rolname),
                            'database ' || pg_catalog.quote_ident(d.datname)),
       pg_catalog.split_part(one.text, '=', 1),
       pg_catalog.substr(one.text, pg_catalog.strpos(one.text, '=') + 1)
FROM pg_catalog.pg_db_role_setting AS s
     CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS one(text)
     LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
     LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
WHERE pg_catalog.split_part(one.text, '=', 1) IN
      ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'statement_timeout')
ORDER BY 1, 2)";

// Lines that ask for nothing and match where we come from. Host names and "samehost" cannot be
// judged from here and are left out.
constexpr const char* trust_sql = R"(
SELECT h.line_number, h.auth_method
FROM pg_catalog.pg_hba_file_rules AS h
WHERE h.auth_method IN ('trust', 'peer', 'ident') AND h.error IS NULL
  AND NOT ('replication' = ALL (h.database))
  AND CASE WHEN pg_catalog.inet_client_addr() IS NULL THEN h.type = 'local'
           WHEN h.type NOT LIKE 'host%' THEN false
           WHEN h.address = 'all' THEN true
           WHEN h.address ~ '^[0-9a-fA-F.:]+$' AND h.netmask IS NOT NULL
            AND pg_catalog.family(h.address::pg_catalog.inet)
                = pg_catalog.family(pg_catalog.inet_client_addr())
           THEN (h.address::pg_catalog.inet & h.netmask::pg_catalog.inet)
                = (pg_catalog.host(pg_catalog.inet_client_addr())::pg_catalog.inet
                   & h.netmask::pg_catalog.inet)
           ELSE false END
ORDER BY 1)";

constexpr const char* names_sql = R"(
SELECT a.application_name, a.usename, a.datname FROM pg_catalog.pg_stat_activity AS a
WHERE a.datname IS NOT NULL AND a.usename IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.application_name <> 'pgleash' AND a.application_name NOT LIKE 'pgleash %'
  AND (a.backend_type = 'client backend' OR a.backend_type IS NULL))";

bool denied(const PgError& error) {
  return error.sqlstate == "42501";
}

}  // namespace

Task<PgResult<ServerFacts>> probe(boost::asio::any_io_executor executor,
                                  const config::Server& server, std::string application_name,
                                  Instant deadline) {
  const auto connection = std::make_unique<PgConnection>(executor);
  co_return co_await probe(*connection, server, std::move(application_name), deadline);
}

Task<PgResult<ServerFacts>> probe(PgConnection& fresh, const config::Server& server,
                                  std::string application_name, Instant deadline) {
  PgConnection* const connection = &fresh;
  PgEndpoint where = monitor_endpoint(server, std::move(application_name));
  std::optional<PgError> refused = co_await connection->open(std::move(where), deadline);
  if (refused) co_return std::move(*refused);
  ServerFacts facts;
  facts.version = connection->server_version();
  {
    const auto rows = co_await connection->query(role_sql, {}, deadline);
    if (!rows) co_return rows.error();
    facts.role = rows->text(0, 0);
    facts.superuser = rows->boolean(0, 1);
    facts.sees_sessions = rows->boolean(0, 2);
    facts.may_signal = rows->boolean(0, 3);
    facts.may_use_reserved = rows->boolean(0, 4);
    facts.public_may_connect = rows->boolean(0, 5);
    facts.database = rows->text(0, 6);
  }
  {
    const auto rows = co_await connection->query(settings_sql, {}, deadline);
    if (!rows) co_return rows.error();
    for (int i = 0; i < rows->size(); ++i)
      facts.settings.emplace(rows->text(i, 0), rows->text(i, 1));
  }
  {
    const auto rows = co_await connection->query(role_settings_sql, {}, deadline);
    if (!rows && !denied(rows.error())) co_return rows.error();
    for (int i = 0; rows && i < rows->size(); ++i)
      facts.role_settings.push_back({std::string{rows->text(i, 0)}, std::string{rows->text(i, 1)},
                                     std::string{rows->text(i, 2)}});
  }
  {
    const auto rows = co_await connection->query(trust_sql, {}, deadline);
    if (!rows && !denied(rows.error())) co_return rows.error();
    if (rows) {
      facts.trust_lines.emplace();
      for (int i = 0; i < rows->size(); ++i)
        facts.trust_lines->push_back({rows->int4(i, 0), std::string{rows->text(i, 1)}});
    }
  }
  {
    const auto rows = co_await connection->query(names_sql, {}, deadline);
    if (!rows && !denied(rows.error())) co_return rows.error();
    std::vector<SharedRow> sessions;
    for (int i = 0; rows && i < rows->size(); ++i) {
      ActivityRow& one = sessions.emplace_back().edit();
      one.application_name = rows->text(i, 0);
      one.user = rows->text(i, 1);
      one.database = rows->text(i, 2);
    }
    facts.sessions = static_cast<std::uint32_t>(sessions.size());
    facts.nameless = nameless_sessions(sessions);
  }
  co_return facts;
}

}  // namespace pgleash::watchdog
