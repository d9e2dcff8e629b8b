"""psycopg 3 (extended protocol, libpq's pipeline mode): prepared statements, pipelines with errors in them, COPY in text and
binary, rows as they come, notifications, cancel, two-phase commit, and many connections on one event loop."""
import asyncio
import hashlib
import logging
import threading

import psycopg
from psycopg import pq, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


def section(name):
    print("==", name, flush=True)


def until_active(application):
    with psycopg.connect("", autocommit=True) as watcher:
        while not watcher.execute("select count(*) from pg_stat_activity where application_name = %s and state = 'active'",
                                  (application,)).fetchone()[0]:
            pass


def told(error):
    return type(error).__name__, error.sqlstate, str(error).splitlines()[0]


logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # it names objects by address
connection = psycopg.connect("application_name=psycopg3")

section("types, text and binary")
values = (1, 2**40, 1.5, "żółw ' \\", None, [1, None, 3], Jsonb({"k": [True]}), b"\x00\x01", "2024-02-29")
for binary in (False, True):
    row = connection.execute("select %s::int, %s::bigint, %s::float8, %s::text, %s::text, %s::int[], %s::jsonb, %s::bytea, %s::date",
                             values, binary=binary).fetchone()
    print(row)
connection.execute("create table t (id int primary key, v text)")
connection.commit()

section("prepared statements")
for n in range(12):  # prepared by itself from the sixth on
    connection.execute("insert into t values (%s, %s)", (n, f"row {n}"))
print(connection.execute("select count(*) from t where id > %s", (3,), prepare=True).fetchone())
print(connection.execute("select count(*) from pg_prepared_statements").fetchone())
connection.commit()
with connection.cursor() as cursor:
    cursor.executemany("insert into t values (%s, %s)", [(n, "many") for n in range(100, 1100)])
    print(cursor.rowcount)
    cursor.executemany("insert into t values (%s, %s) returning id", [(n, "many") for n in range(1100, 1110)], returning=True)
    print(cursor.fetchone())
connection.commit()

section("pipeline")
with connection.pipeline() as pipeline:
    results = [connection.execute("select %s::int * 2", (n,)) for n in range(200)]
    connection.execute("insert into t values (-1, 'piped')")
    pipeline.sync()
    last = connection.execute("select count(*) from t")
print(sum(r.fetchone()[0] for r in results), last.fetchone())
connection.commit()

section("pipeline with an error in it")
try:
    with connection.pipeline() as pipeline:
        connection.execute("insert into t values (-2, 'lost')")
        connection.execute("select 1/0")
        connection.execute("insert into t values (-3, 'skipped')")
        pipeline.sync()
except psycopg.Error as error:
    print(told(error))
print(connection.info.transaction_status.name)
connection.rollback()
print(connection.execute("select id from t where id in (-2, -3)").fetchall())
connection.commit()
connection.autocommit = True
with connection.pipeline() as pipeline:
    first = connection.execute("insert into t values (-4, 'kept') returning id")
    pipeline.sync()
    try:
        connection.execute("insert into t values (-4, 'twice')").fetchone()
    except psycopg.Error as error:
        print(told(error))
    pipeline.sync()
    second = connection.execute("select count(*) from t where id = -4")
print(first.fetchone(), second.fetchone())

section("pipeline by hand: flush without sync, two segments, an error in the first")
raw = connection.pgconn
raw.enter_pipeline_mode()
raw.send_query_params(b"select 'before the flush'", None)
raw.send_flush_request()
raw.flush()
print(raw.get_result().get_value(0, 0), raw.get_result())
raw.send_query_params(b"select nothing", None)
raw.send_query_params(b"select 'never'", None)
raw.pipeline_sync()
raw.send_query_params(b"select 'next segment'", None)
raw.pipeline_sync()
raw.flush()
syncs = 0
while syncs < 2:
    result = raw.get_result()
    if result is None:
        continue
    print(pq.ExecStatus(result.status).name,
          result.get_value(0, 0) if result.ntuples else result.error_field(pq.DiagnosticField.SQLSTATE))
    syncs += result.status == pq.ExecStatus.PIPELINE_SYNC
raw.exit_pipeline_mode()

section("copy")
with connection.cursor().copy("copy t (id, v) from stdin") as copy:
    for n in range(10_000, 60_000):
        copy.write_row((n, f"copied {n}"))
digest = hashlib.md5()
with connection.cursor().copy("copy (select id, v from t order by id) to stdout") as copy:
    for block in copy:
        digest.update(block)
print(digest.hexdigest())
with connection.cursor().copy("copy (select id, v from t where id < 20 order by id) to stdout (format binary)") as copy:
    copy.set_types(["int4", "text"])
    print([row for row in copy.rows()][:3])
with connection.cursor().copy("copy t from stdin (format binary)") as copy:
    copy.set_types(["int4", "text"])
    copy.write_row((60_000, "binary"))
print(connection.execute("select v from t where id = 60000").fetchone())

section("copy that fails on the server, then in the client")
try:
    with connection.cursor().copy("copy t from stdin") as copy:
        for n in range(200_000):
            copy.write(b"not a number\tx\n")
except psycopg.Error as error:
    print(told(error))
try:
    with connection.cursor().copy("copy t from stdin") as copy:
        copy.write_row((70_000, "given up"))
        raise ValueError("the program changed its mind")
except psycopg.Error as error:
    print(told(error))
print(connection.execute("select count(*) from t where id = 70000").fetchone())
print(connection.execute("select 'usable'").fetchone())

section("rows as they come, and a cursor on the server")
stream = connection.cursor(row_factory=dict_row)
print(sum(row["n"] for row in stream.stream("select n, repeat('x', 50) from generate_series(1, 20000) n")))
connection.autocommit = False
with connection.cursor(name="walk", scrollable=True) as walk:
    walk.execute("select n from generate_series(1, 1000) n")
    walk.itersize = 64
    print(sum(n for (n,) in walk))
    walk.scroll(10, mode="absolute")
    print(walk.fetchmany(3))
connection.commit()

section("transactions and savepoints")
with connection.transaction():
    connection.execute("insert into t values (80000, 'outer')")
    try:
        with connection.transaction():
            connection.execute("insert into t values (80001, 'inner')")
            connection.execute("select 1/0")
    except psycopg.errors.DivisionByZero as error:
        print(told(error))
print(connection.execute("select id from t where id >= 80000").fetchall())
connection.commit()
identity = connection.xid(7, "global", "branch")
connection.tpc_begin(identity)
connection.execute("insert into t values (80002, 'prepared')")
connection.tpc_prepare()
connection.tpc_commit()
print(connection.execute("select v from t where id = 80002").fetchone())
connection.commit()

section("notices and notifications")
connection.add_notice_handler(lambda d: print("notice", d.sqlstate, d.message_primary, d.message_hint))
connection.execute("do $$ begin raise notice 'seen' using hint = 'a hint'; end $$")
connection.commit()
with psycopg.connect("", autocommit=True) as listener:
    listener.execute("listen news")
    connection.execute(sql.SQL("notify news, {}").format("payload"))
    connection.execute("select pg_notify('news', 'stop')")
    connection.commit()
    for notify in listener.notifies():
        print(notify.channel, notify.payload, notify.pid == connection.info.backend_pid)
        if notify.payload == "stop":
            break

section("cancel")
canceller = threading.Thread(target=lambda: (until_active("psycopg3"), connection.cancel()))
canceller.start()
try:
    connection.execute("select pg_sleep(60)")
except psycopg.Error as error:
    print(told(error))
canceller.join()
connection.rollback()
print(connection.execute("select 'the same session goes on'").fetchone())
connection.close()


async def one_of_many(n):
    async with await psycopg.AsyncConnection.connect("") as c:
        cursor = await c.execute("select %s::int + count(*)::int from generate_series(1, 10000)", (n,))
        return (await cursor.fetchone())[0]


async def interrupted():
    c = await psycopg.AsyncConnection.connect("application_name=interrupted", autocommit=True)
    task = asyncio.create_task(c.execute("select pg_sleep(60)"))
    await asyncio.to_thread(until_active, "interrupted")
    task.cancel()
    try:
        await task
    except (asyncio.CancelledError, psycopg.Error) as error:
        print(type(error).__name__)
    await c.close()


async def many():
    print(sum(await asyncio.gather(*(one_of_many(n) for n in range(25)))))
    await interrupted()


section("twenty-five connections at once, and a task that is cancelled")
asyncio.run(many())
print("done")
