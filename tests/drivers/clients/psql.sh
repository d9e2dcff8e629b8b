#!/usr/bin/env bash
# psql as people drive it: a long script, then what needs a process of its own. Process ids, OIDs and times are taken out.
set -euo pipefail
here=$(dirname "$0")

normalise() {
  sed -E -e 's/server process with PID [0-9]+/server process with PID …/' \
         -e 's/^(lo_import|lo_unlink|.*large object) [0-9]+/\1 …/' \
         -e 's/^(.*)[A-Z][a-z]{2} [A-Z][a-z]{2} +[0-9]+ [0-9:]+ [0-9]{4} (\(every .*\))/\1… \2/'
}
psql_plain() { stdbuf -oL psql -X -v VERBOSITY=verbose "$@" 2>&1 || echo "psql ended with status $?"; }

# Waits until the statement of application $1 runs on the server; 20 s at most.
until_active() {
  local deadline=$((SECONDS + 20))
  until [ "$(psql -XAtc "select count(*) from pg_stat_activity where application_name = '$1' and state = 'active'")" = 1 ]; do
    [ $SECONDS -lt $deadline ] || { echo "no statement of $1 within 20 s"; return 1; }
  done
}

seq 1 20000 | awk '{ printf "%d\tline %d\t\\N\n", $1, $1 }' > rows.txt
head -c 3000000 /dev/zero | tr '\0' 'x' > big.txt

{
  psql_plain -f "$here/psql.sql"

  echo "== one string, many statements"
  psql_plain -c "select 1 as a; create temp table t (v int); insert into t values (1), (2); select sum(v) from t"
  psql_plain -c "insert into kept values (100, 'lost'); select 1/0"
  psql_plain -Atc "select count(*) from kept where id = 100"
  psql_plain --single-transaction -v ON_ERROR_STOP=1 -c "insert into kept values (101, 'lost')" -c "select nothing"

  echo "== start-up parameters"
  PGOPTIONS="-c statement_timeout=150ms -c search_path=pg_catalog" psql_plain -c "show search_path" -c "select pg_sleep(20)"
  PGCLIENTENCODING=LATIN1 psql_plain -Atc "select chr(233) || 'l' || chr(232) || 've', pg_client_encoding()" | od -c
  PGAPPNAME="named; by \"me\"" psql_plain -Atc "show application_name"
  PGTZ=America/New_York PGDATESTYLE="SQL, DMY" psql_plain -Atc "select timestamptz '2024-07-01 12:00Z'"

  echo "== logins that fail"
  PGPASSWORD=wrong psql_plain -c "select 1"
  PGUSER=nobody_here psql_plain -c "select 1"
  PGDATABASE=no_such_database psql_plain -c "select 1"
  PGOPTIONS="-c no_such_setting=1" psql_plain -c "select 1"
  PGSSLMODE=require psql_plain -c "select 1"
  PGCHANNELBINDING=require psql_plain -c "select 1"

  echo "== interrupted from the keyboard"
  PGAPPNAME=interrupted psql_plain -c "select pg_sleep(60)" > interrupted.txt & shell=$!
  until_active interrupted
  kill -INT "$(ps -o pid= --ppid "$shell" | head -1)"
  wait $shell
  cat interrupted.txt

  echo "== input from a pipe that ends inside COPY"
  printf 'create temp table c (v text);\ncopy c from stdin;\none\ntwo\n' | psql_plain
  echo "== a reader that leaves early"
  psql -XAtc "select repeat('x', 1000) from generate_series(1, 50000)" 2>/dev/null | head -2 | md5sum || true
} | normalise
echo done
