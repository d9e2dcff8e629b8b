-- The role with which pgleash watches a server, and a database for it where nobody else may connect.
-- PostgreSQL 12 to 18. Run as a superuser, as often as you like:
--
--   psql -v ON_ERROR_STOP=1 -v password="$(cat secrets/monitor.pw)" -f bootstrap.sql
--
-- Variables: password (needed; a SCRAM-SHA-256 verifier is taken as well), role (pgleash_monitor), database (pgleash),
-- scram_group (none: a role whose members log in through listeners with scram = "reoriginate", see docs/tls.md).
-- What the role gets: to see all sessions (pg_monitor), to end those of roles that are no superusers
-- (pg_signal_backend), and from 16 on a reserved slot when the server is full (pg_use_reserved_connections, which needs
-- reserved_connections > 0). Nothing else: it is no superuser, owns nothing, and may create nothing here.
--
-- pg_hba.conf then needs a line like:  host  pgleash  pgleash_monitor  <address of pgleash>/32  scram-sha-256

\set ON_ERROR_STOP on
\if :{?password}
\else
  \echo 'bootstrap.sql: give the password of the monitor role: -v password=...'
  -- No \quit with a status in psql before 17: an error is the way to fail.
  DO $$ BEGIN RAISE EXCEPTION 'no password given'; END $$;
\endif
\if :{?role}
\else
  \set role pgleash_monitor
\endif
\if :{?database}
\else
  \set database pgleash
\endif

-- The password must not reach the server's log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET password_encryption = 'scram-sha-256';
SET client_min_messages = 'warning';

SELECT format('CREATE ROLE %I', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'role')
\gexec

-- One connection samples, one ends sessions: room for several pgleash and a look by hand.
ALTER ROLE :"role" WITH LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
  CONNECTION LIMIT 10 PASSWORD :'password';

GRANT pg_monitor, pg_signal_backend TO :"role";
SELECT format('GRANT pg_use_reserved_connections TO %I', :'role')
 WHERE current_setting('server_version_num')::int >= 160000
\gexec

-- What pgleash sets for its own sessions anyway, for whoever else logs in as this role.
ALTER ROLE :"role" SET default_transaction_read_only = on;
ALTER ROLE :"role" SET search_path = pg_catalog;
ALTER ROLE :"role" SET statement_timeout = '10s';
ALTER ROLE :"role" SET lock_timeout = '1s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE :"role" SET temp_file_limit = '64MB';
ALTER ROLE :"role" SET jit = off;

-- template0 and the C locale: UTF-8 in any cluster, and free of what was put into template1.
SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING ''UTF8'' LC_COLLATE ''C'' LC_CTYPE ''C'' CONNECTION LIMIT 20',
              :'database')
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = :'database')
\gexec

REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
REVOKE ALL ON DATABASE :"database" FROM :"role";
GRANT CONNECT ON DATABASE :"database" TO :"role";

\connect :"database"
SET client_min_messages = 'warning';
-- Up to 14 everybody may create in the schema public.
REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- For listeners with scram = "reoriginate" only: the SCRAM secrets of the members of one group, for the monitor role
-- alone. Never of a superuser, of a role that replicates, bypasses row security or may act on the server's files and
-- sessions, nor of one that may become such a role, nor of the monitor itself. Without scram_group it is taken away.
DROP FUNCTION IF EXISTS pgleash.scram_verifier(text);  -- no schema of that name is no error either
\if :{?scram_group}
  SELECT format('CREATE ROLE %I NOLOGIN', :'scram_group')
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'scram_group')
  \gexec
  CREATE SCHEMA IF NOT EXISTS pgleash;
  REVOKE ALL ON SCHEMA pgleash FROM PUBLIC;
  GRANT USAGE ON SCHEMA pgleash TO :"role";
  -- One statement, so that nobody else may execute it in between.
  BEGIN;
  SELECT format($outer$
    CREATE FUNCTION pgleash.scram_verifier(login text) RETURNS text
    LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $body$
      SELECT a.rolpassword
        FROM pg_catalog.pg_authid AS a
       WHERE a.rolname = login
         AND a.rolname <> %L
         AND a.rolcanlogin
         AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil > pg_catalog.now())
         AND a.rolpassword LIKE 'SCRAM-SHA-256$%%'
         AND pg_catalog.pg_has_role(a.oid, (SELECT g.oid FROM pg_catalog.pg_authid AS g WHERE g.rolname = %L), 'MEMBER')
         AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_authid AS p
            WHERE (p.rolsuper OR p.rolreplication OR p.rolbypassrls OR p.rolcreaterole OR p.rolname = %L
                   OR p.rolname IN ('pg_monitor', 'pg_signal_backend', 'pg_read_all_stats', 'pg_read_all_settings',
                                    'pg_stat_scan_tables', 'pg_read_server_files', 'pg_write_server_files',
                                    'pg_execute_server_program', 'pg_read_all_data', 'pg_write_all_data',
                                    'pg_checkpoint', 'pg_maintain', 'pg_create_subscription',
                                    'pg_use_reserved_connections', 'pg_signal_autovacuum_worker'))
              AND pg_catalog.pg_has_role(a.oid, p.oid, 'MEMBER'))
    $body$$outer$, :'role', :'scram_group', :'role')
  \gexec
  REVOKE ALL ON FUNCTION pgleash.scram_verifier(text) FROM PUBLIC;
  GRANT EXECUTE ON FUNCTION pgleash.scram_verifier(text) TO :"role";
  COMMIT;
\endif
