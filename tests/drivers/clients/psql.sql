\pset null '(null)'
\pset pager off
\echo == types
select 1::int2, 2::int4, 3::int8, 4.5::float8, 'infinity'::float8, 1e-20::numeric, true, null::text;
select '2024-02-29'::date, '2024-02-29 12:34:56.789+02'::timestamptz, '1 day 02:03'::interval, '\xdeadbeef'::bytea;
select '{1,2,null}'::int[], '{"a":[1,2,{"b":null}]}'::jsonb, '[1,5)'::int4range, '10.0.0.0/8'::cidr, row(1, 'x', null);
select 'żółw 🐢' as "ünïcode", E'tab\tnewline\nend' as control, '' as empty;
select;
select generate_series(1, 3) as n \gdesc
select * from generate_series(1, 5) n where false;

\echo == tables, rules, notices, counts
create table kept (id int primary key, note text, at timestamptz default '2024-01-01');
create table kept (id int);
create table if not exists kept (id int);
insert into kept values (1, 'one'), (2, 'two'), (3, null) returning id, note;
update kept set note = upper(note) where id > 1;
delete from kept where id = 3 returning *;
truncate kept;
insert into kept select n, 'note ' || n from generate_series(1, 50) n;
\d kept
do $$ begin
  raise notice 'a notice' using detail = 'its detail', hint = 'its hint', errcode = '01234';
  raise warning 'a warning';
  raise info 'some information';
end $$;

\echo == errors
\set VERBOSITY default
select 1/0;
\errverbose
selec 1;
\errverbose
insert into kept values (1, 'again');
\errverbose
select * from no_such_table;
\errverbose
\set VERBOSITY verbose
do $$ begin raise exception 'mine' using errcode = 'P0815', detail = 'd', hint = 'h', column = 'c', constraint = 'k',
  datatype = 't', table = 'tab', schema = 's'; end $$;
select 'unterminated;
';
\echo :SQLSTATE :ERROR :LAST_ERROR_MESSAGE
\set VERBOSITY terse
select 1 +;
\set VERBOSITY default

\echo == transactions
begin;
insert into kept values (200, 'kept not');
savepoint s;
select 1/0;
select 1;
rollback to s;
select count(*) from kept where id = 200;
rollback;
begin isolation level serializable read only deferrable;
insert into kept values (201, 'no');
commit;
commit;
begin;
prepare transaction 'two-phase';
select gid, owner from pg_prepared_xacts;
rollback prepared 'two-phase';

\echo == several statements in one message
select 1 as first \; select 2 as second \; select 3 as third;
begin \; insert into kept values (300, 'all or') \; select 1/0 \; insert into kept values (301, 'nothing') \; commit;
rollback;
select count(*) from kept where id >= 300;
;

\echo == prepared statements
prepare by_id (int) as select note from kept where id = $1;
execute by_id (7);
execute by_id (null);
execute by_id ('x');
execute nobody;
deallocate by_id;
select format('select %s as generated', n) from generate_series(1, 3) n \gexec
select 42 as answer, 'text' as word \gset
\echo :answer :word
select 'a' as r, 'b' as c, 1 as v union all select 'd', 'e', 2 order by 1 \crosstabview

\echo == cursors
begin;
declare walk scroll cursor with hold for select n from generate_series(1, 20) n;
fetch 3 from walk;
fetch backward 2 from walk;
move forward 10 from walk;
fetch all from walk;
commit;
fetch first from walk;
close walk;
fetch walk;
\set FETCH_COUNT 7
select n, repeat('r', n) from generate_series(1, 30) n;
select 10 / (5 - n) from generate_series(1, 30) n;
\unset FETCH_COUNT

\echo == copy
create table copied (n int, line text, nothing text);
\copy copied from 'rows.txt'
select count(*), sum(n), count(nothing), md5(string_agg(line, '' order by n)) from copied;
\copy copied to 'back.txt'
\! cmp rows.txt back.txt && echo same file
\copy (select n, line from copied where n <= 3) to stdout with (format csv, header)
copy copied (n, line) from stdin with (format csv);
20001,"quoted, with
newline"
20002,plain
\.
copy copied (n) from stdin;
1
not a number
3
\.
copy copied from stdin;
\.
\copy copied to 'binary.out' binary
create table again (like copied);
\copy again from 'binary.out' binary
select (select count(*) from copied) = (select count(*) from again) as binary_round_trip;
copy no_such_table from stdin;
copy (select 1/(3-n) from generate_series(1, 5) n) to stdout;
create table big (v text);
\copy big from 'big.txt'
select length(v) from big;
\copy big to program 'md5sum'
insert into big select string_agg(md5(n::text), '') from generate_series(1, 500000) n;
\o | md5sum
select v from big order by length(v);
\o

\echo == large objects
\lo_import 'rows.txt' 'lines'
select :LASTOID as lo \gset
\lo_export :lo 'lines.out'
\! cmp rows.txt lines.out && echo same file
select md5(lo_get(:lo)), length(lo_get(:lo, 100, 50));
\lo_unlink :lo
\lo_unlink :lo

\echo == notifications
listen channel_a;
listen "Channel B";
notify channel_a;
notify channel_a, 'with a payload';
select pg_notify('Channel B', repeat('p', 7000)) is null;
begin;
notify channel_a, 'held until commit';
select 1;
commit;
\! psql -XAtc "notify channel_a, 'from another session'"
select 2;
unlisten channel_a;
notify channel_a, 'heard by nobody';
unlisten *;

\echo == watch
create sequence countdown;
select 6 / (4 - nextval('countdown')) as left_over \watch 0.02

\echo == timeouts
set statement_timeout = '100ms';
select pg_sleep(20);
set statement_timeout = 0;
set lock_timeout = '50ms';
begin;
lock table kept in share mode;
rollback;
reset all;

\echo == settings and catalogs
set application_name = 'renamed';
show application_name;
set client_encoding = 'LATIN1';
\encoding
reset client_encoding;
set timezone = 'Asia/Tokyo';
set datestyle = 'German';
select timestamptz '2024-01-01 00:00Z';
reset all;
\dt
\di
\df
\l drivers
\echo == session
select current_user, session_user, current_database(), pg_backend_pid() = (select pid from pg_stat_activity where pid = pg_backend_pid());
\c -
select 'after reconnecting';
set role none;
discard all;
