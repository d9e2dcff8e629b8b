#!/usr/bin/env bash
# pg_dump and pg_restore: every format, parallel too. What is restored through the endpoint dumps to the same text again.
set -euo pipefail
export PGOPTIONS="-c client_min_messages=warning"

# pg_dump guards its output against psql's meta-commands with a random word.
plain() { pg_dump "$@" | sed -E '/^\\(un)?restrict /d'; }
digest() { plain "$@" | md5sum | cut -d' ' -f1; }

psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'
create schema shop;
create type shop.state as enum ('open', 'paid', 'sent');
create domain shop.amount as numeric(12, 2) check (value >= 0);
create table shop.customer (id int generated always as identity primary key, name text not null, born date, data jsonb);
create table shop.orders (id bigserial primary key, customer int references shop.customer, state shop.state default 'open',
                          amount shop.amount, tags text[], raw bytea, at timestamptz);
create index on shop.orders (at) where state <> 'sent';
insert into shop.customer (name, born, data)
  select 'Kündin ' || n, date '1980-01-01' + n, jsonb_build_object('n', n, 'text', E'quote " tab\t back\\') from generate_series(1, 500) n;
insert into shop.orders (customer, state, amount, tags, raw, at)
  select 1 + n % 500, (array['open', 'paid', 'sent'])[1 + n % 3]::shop.state, n * 1.25, array['t' || n, null, 'a,b{c}'],
         decode(md5(n::text), 'hex'), timestamptz '2024-01-01' + n * interval '1 minute' from generate_series(1, 8000) n;
create view shop.unpaid as select * from shop.orders where state = 'open';
create materialized view shop.totals as select customer, sum(amount) from shop.orders group by 1 with no data;
create function shop.tax(numeric) returns numeric language sql immutable as $$ select $1 * 0.19 $$;
create function shop.touch() returns trigger language plpgsql as $$ begin new.at := now(); return new; end $$;
create trigger touch before update on shop.orders for each row execute function shop.touch();
create table shop.parts (k int, v text) partition by hash (k);
create table shop.parts_0 partition of shop.parts for values with (modulus 2, remainder 0);
create table shop.parts_1 partition of shop.parts for values with (modulus 2, remainder 1);
insert into shop.parts select n, repeat('v', n % 50) from generate_series(1, 5000) n;
create table shop.wide (v text);
insert into shop.wide select string_agg(md5(n::text), '') from generate_series(1, 100000) n;
select lo_from_bytea(471100, convert_to(repeat('large object ', 100000), 'UTF8'));
comment on table shop.orders is 'line one
line two';
SQL

echo "== as text"
plain --schema-only | md5sum
whole=$(digest)
echo "$whole"
plain --inserts --rows-per-insert=100 --table=shop.customer | md5sum
plain --data-only --table='shop.parts*' --column-inserts | md5sum

back_to_the_same() {
  if [ "$(PGDATABASE=$1 digest)" = "$whole" ]; then echo "$2: the same dump again"; else echo "$2: another dump"; fi
}

echo "== custom format through a pipe"
createdb restored_custom
pg_dump -Fc | pg_restore --dbname=restored_custom --exit-on-error
back_to_the_same restored_custom custom

echo "== directory format, two workers each"
createdb restored_directory
pg_dump -Fd -j2 -f dump.d
pg_restore --dbname=restored_directory --jobs=2 --exit-on-error dump.d
back_to_the_same restored_directory directory

echo "== tar, in one transaction"
createdb restored_tar
pg_dump -Ft -f dump.tar
pg_restore --dbname=restored_tar --single-transaction dump.tar
back_to_the_same restored_tar tar

echo "== plain through psql"
createdb restored_plain
pg_dump | psql -XAtq -v ON_ERROR_STOP=1 --dbname=restored_plain >/dev/null
back_to_the_same restored_plain plain

echo "== an error on the way"
createdb restored_twice
pg_dump -Fc --table=shop.customer --schema-only -f one.dump
pg_restore --dbname=restored_twice one.dump 2>&1 | grep -v '^Command was' | head -5 || true

for database in restored_custom restored_directory restored_tar restored_plain restored_twice; do dropdb "$database"; done
echo done
