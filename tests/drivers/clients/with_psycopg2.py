"""psycopg2 (libpq's plain functions): types, errors, cursors on the server, COPY, notifications, cancel, large objects,
two-phase commit, asynchronous use and a replication connection."""
import hashlib
import io
import select
import threading

import psycopg2
import psycopg2.extensions
import psycopg2.extras


def section(name):
    print("==", name, flush=True)


def until_active(application):
    """Returns when a statement of that application runs on the server."""
    with psycopg2.connect("") as watcher:
        watcher.autocommit = True
        cursor = watcher.cursor()
        while True:
            cursor.execute("select count(*) from pg_stat_activity where application_name = %s and state = 'active'", (application,))
            if cursor.fetchone()[0]:
                return


connection = psycopg2.connect("application_name=psycopg2")
cursor = connection.cursor()

section("types and parameters")
cursor.execute("select %s, %s, %s::numeric, %s, %s, %s::jsonb, %s, %s", (
    1, "O'Reilly \\ żółw", "12.50", None, [1, 2, 3], psycopg2.extras.Json({"a": [1, None]}), b"\x00\xff", True))
print([bytes(v) if isinstance(v, memoryview) else v for v in cursor.fetchone()])
print([(c.name, c.type_code) for c in cursor.description])
cursor.execute("create table t (id int primary key, v text)")
psycopg2.extras.execute_values(cursor, "insert into t values %s", [(n, f"value {n}") for n in range(1000)])
psycopg2.extras.execute_batch(cursor, "update t set v = v || %s where id = %s", [("!", n) for n in range(0, 1000, 7)])
cursor.execute("select count(*), md5(string_agg(v, ',' order by id)) from t")
print(cursor.fetchone(), cursor.statusmessage)
connection.commit()

section("errors leave the transaction aborted")
for statement in ("insert into t values (1, 'again')", "select 1", "rollback", "select 1/0", "rollback", "nonsense"):
    try:
        cursor.execute(statement)
        print(statement, "->", cursor.statusmessage, connection.info.transaction_status)
    except psycopg2.Error as error:
        print(statement, "->", type(error).__name__, error.pgcode, str(error).splitlines()[0], error.diag.constraint_name,
              connection.info.transaction_status)
connection.rollback()

section("cursor on the server")
with connection.cursor(name="walk") as walk:
    walk.itersize = 100
    walk.execute("select n, repeat('x', n) from generate_series(1, 1234) n")
    print(sum(n + len(text) for n, text in walk))
connection.commit()

section("copy")
rows = "".join(f"{n}\tline {n}\n" for n in range(2000, 60000))
cursor.copy_expert("copy t from stdin", io.StringIO(rows))
print(cursor.rowcount)
out = io.BytesIO()
cursor.copy_expert("copy (select * from t order by id) to stdout", out)
print(len(out.getvalue()), hashlib.md5(out.getvalue()).hexdigest())
connection.commit()
try:
    cursor.copy_expert("copy t from stdin", io.StringIO("70000\tgood\nbad\tline\n"))
except psycopg2.Error as error:
    print(error.pgcode, error.diag.context)
connection.rollback()


class FailsHalfway(io.StringIO):
    def read(self, size=-1):
        chunk = super().read(1000)
        if self.tell() > 5000:
            raise ValueError("the reader gave up")
        return chunk


try:
    cursor.copy_expert("copy t from stdin", FailsHalfway(rows))
except psycopg2.Error as error:
    print(error.pgcode, "gave up" in str(error))
connection.rollback()
cursor.execute("select count(*) from t")
print(cursor.fetchone())

section("a value of 40 MB")
cursor.execute("select md5(%s), length(%s)", ("y" * 20_000_000, "z" * 20_000_000))
print(cursor.fetchone())
cursor.execute("select repeat('abcdefgh', 5000000)")
print(hashlib.md5(cursor.fetchone()[0].encode()).hexdigest())
connection.commit()

section("notifications")
listener = psycopg2.connect("")
listener.autocommit = True
listener.cursor().execute("listen news")
cursor.execute("notify news, 'first'")
cursor.execute("select pg_notify('news', 'second')")
connection.commit()
while len(listener.notifies) < 2:
    if not select.select([listener], [], [], 20)[0]:
        raise SystemExit("no notification within 20 s")
    listener.poll()
print([(n.channel, n.payload, n.pid == connection.info.backend_pid) for n in listener.notifies])
listener.close()

section("cancel from another thread")
canceller = threading.Thread(target=lambda: (until_active("psycopg2"), connection.cancel()))
canceller.start()
try:
    cursor.execute("select pg_sleep(60)")
except psycopg2.Error as error:
    print(error.pgcode, str(error).strip())
canceller.join()
connection.rollback()
connection.cancel()  # nothing runs: without effect
cursor.execute("select 'the same session goes on'")
print(cursor.fetchone())
connection.commit()

section("large object")
large = connection.lobject(0, "wb")
large.write(b"0123456789" * 100_000)
large.seek(5)
large.truncate(500_000)
oid = large.oid
large.close()
connection.commit()
large = connection.lobject(oid, "rb")
print(hashlib.md5(large.read()).hexdigest())
large.unlink()
connection.commit()

section("two-phase commit")
identity = connection.xid(42, "global", "branch")
connection.tpc_begin(identity)
cursor.execute("insert into t values (-1, 'prepared')")
connection.tpc_prepare()
connection.reset()
print([(x.format_id, x.gtrid, x.bqual) for x in connection.tpc_recover()])
connection.commit()
connection.tpc_rollback(identity)
cursor.execute("select count(*) from t where id = -1")
print(cursor.fetchone())
connection.commit()

section("asynchronous")
waiting = psycopg2.connect("", async_=1)


def drive():
    while (state := waiting.poll()) != psycopg2.extensions.POLL_OK:
        reading = state == psycopg2.extensions.POLL_READ
        select.select([waiting] if reading else [], [] if reading else [waiting], [], 20)


drive()
asynchronous = waiting.cursor()
for statement in ("select 1", "select repeat('a', 1000000)", "insert into t values (-2, 'async')"):
    asynchronous.execute(statement)
    drive()
    print(asynchronous.statusmessage)
waiting.close()

section("many short sessions")
total = 0
for n in range(40):
    short = psycopg2.connect("")
    with short, short.cursor() as c:
        c.execute("select %s", (n,))
        total += c.fetchone()[0]
    short.close()
print(total)

section("a session that is closed under a transaction")
doomed = psycopg2.connect("")
doomed.cursor().execute("insert into t values (-3, 'never committed')")
doomed.close()
cursor.execute("select count(*) from t where id = -3")
print(cursor.fetchone())
connection.close()
print("done")
