#!/usr/bin/env bash
# pgbench with a fixed number of transactions and a fixed seed: no failure, and balances that only depend on the seed.
set -euo pipefail

balances() {
  psql -XAt -c "select sum(abalance), count(*) filter (where abalance <> 0), md5(string_agg(aid || ':' || abalance, ',' order by aid))
                from pgbench_accounts" \
            -c "select tid, tbalance from pgbench_tellers order by tid" -c "select bid, bbalance from pgbench_branches" \
            -c "select count(*), sum(delta) from pgbench_history"
}
bench() {
  echo "== pgbench $*"
  pgbench --no-vacuum --random-seed=20240229 "$@" 2>&1 |
    grep -E 'transaction type|query mode|number of (clients|threads|transactions|failed)|error|aborted|fail|FATAL' |
    sed -E 's/[0-9.]+ ms/… ms/'
}

echo "== initialised from the client, then on the server"
pgbench --initialize --quiet --scale=1 --init-steps=dtgpv 2>/dev/null
balances
pgbench --initialize --quiet --scale=1 --init-steps=dtGpvf 2>/dev/null
balances

bench --client=4 --jobs=2 --transactions=150 --protocol=simple
balances
bench --client=4 --jobs=2 --transactions=150 --protocol=extended
balances
bench --client=4 --jobs=2 --transactions=150 --protocol=prepared
balances
bench --client=4 --jobs=2 --transactions=40 --connect
balances
bench --client=8 --jobs=2 --transactions=400 --protocol=prepared --builtin=select-only
cat > pipeline.sql <<'SQL'
\set aid random(1, 100000)
\set delta random(-500, 500)
begin;
\startpipeline
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
insert into pgbench_history (tid, bid, aid, delta, mtime) values (1, 1, :aid, :delta, current_timestamp);
\endpipeline
end;
SQL
bench --client=4 --jobs=2 --transactions=100 --protocol=extended --file=pipeline.sql
balances
bench --client=4 --jobs=2 --transactions=100 --protocol=prepared --file=pipeline.sql
balances
echo done
