#!/usr/bin/env bash
# Replication connections: the walsender's own commands, base backups, and streams of both kinds up to a given position.
set -euo pipefail
export PGOPTIONS=""
verify=$PATH_TO_SERVER_PROGRAMS/pg_verifybackup
position() { psql -XAtc "select pg_current_wal_lsn()"; }

walsender() { psql -X "replication=$1" "${@:2}" 2>&1 || echo "psql ended with status $?"; }

echo "== commands"
for kind in true database; do
  walsender $kind -At -c "IDENTIFY_SYSTEM" | cut -d'|' -f1,2,4
  walsender $kind -c "SHOW wal_level"
  walsender $kind -c "SHOW no_such_setting"
  walsender $kind -c "TIMELINE_HISTORY 999"
  walsender $kind -c "DROP_REPLICATION_SLOT no_such_slot"
done
walsender true -c "select 1"
walsender database -c "select 'sql on a replication connection' as works"
PGPASSWORD=wrong walsender database -c "IDENTIFY_SYSTEM"

echo "== base backups"
for wal in fetch stream; do
  pg_basebackup --pgdata="backup_$wal" --wal-method="$wal" --checkpoint=fast --no-sync
  "$verify" --exit-on-error "backup_$wal"
done
pg_basebackup --pgdata=- --format=tar --wal-method=fetch --checkpoint=fast --no-sync --compress=none | tar -t | grep -cE '^(PG_VERSION|global/pg_control)$'

echo "== write-ahead log, received up to a position"
pg_receivewal --slot=received --create-slot
start=$(position)
psql -XAtqc "create table streamed (n int primary key, v text); insert into streamed select n, md5(n::text) from generate_series(1, 20000) n"
finish=$(position)
psql -XAtqo /dev/null -c "select pg_logical_emit_message(true, 'test', 'pg_receivewal ends with the first byte behind the position')"
mkdir wal
pg_receivewal --directory=wal --slot=received --endpos="$finish" --no-loop --no-sync --status-interval=1 2>&1 |
  sed -E 's/[0-9A-F]{24}/SEGMENT/'
for segment in wal/*.partial; do mv "$segment" "${segment%.partial}"; done
"$PATH_TO_SERVER_PROGRAMS/pg_waldump" --path=wal --start="$start" --end="$finish" |
  awk '/rmgr: Heap .*INSERT/ { n++ } END { print (n >= 20000) ? "all inserts are in the log" : "only " n " inserts" }'
pg_receivewal --slot=received --drop-slot

echo "== logical decoding"
if pg_recvlogical --dbname="$PGDATABASE" --slot=decoded --plugin=test_decoding --create-slot; then
  psql -XAtqo /dev/null -c "update streamed set v = 'changed' where n <= 3" -c "delete from streamed where n > 19998" \
       -c "begin; insert into streamed values (0, repeat('wide ', 4)); commit" -c "select 1 from pg_logical_emit_message(true, 't', 'x')"
  pg_recvlogical --dbname="$PGDATABASE" --slot=decoded --start --endpos="$(position)" --file=- --no-loop --status-interval=1 -o include-xids=0 |
    grep -v '^message'
  pg_recvlogical --dbname="$PGDATABASE" --slot=decoded --drop-slot
fi
echo done
