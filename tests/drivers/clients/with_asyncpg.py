"""asyncpg (its own binary implementation of the protocol): prepared statements, a pool, COPY both ways, timeouts that cancel,
cursors, notifications, notices, type reflection, and statements that are abandoned half way."""
import asyncio
import datetime
import hashlib
import io

import asyncpg


def section(name):
    print("==", name, flush=True)


def told(error):
    return type(error).__name__, getattr(error, "sqlstate", None), str(error).splitlines()[0] if str(error) else ""


async def types_and_statements(c):
    section("types")
    await c.execute("create type mood as enum ('sad', 'glad'); create type pair as (a int, b text)")
    row = await c.fetchrow("select $1::int, $2::text, $3::numeric, $4::timestamptz, $5::bytea, $6::int[], $7::mood, $8::pair, $9::jsonb",
                           1, "żółw", 12.5, datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc), b"\x00\xff",
                           [1, None, 3], "glad", (1, "x"), '{"a": 1}')
    print(tuple(row))
    await c.execute("create table t (id int primary key, v text)")

    section("prepared statements")
    statement = await c.prepare("select $1::int + 1 as next, repeat('x', $1::int) as text")
    print([(a.name, a.type.name) for a in statement.get_attributes()], [p.name for p in statement.get_parameters()])
    print([(await statement.fetchrow(n))["next"] for n in range(20)])
    await c.executemany("insert into t values ($1, $2)", [(n, f"row {n}") for n in range(5000)])
    print(await c.fetchval("select count(*) from t"))
    try:
        await c.executemany("insert into t values ($1, $2)", [(n, "again") for n in range(4990, 5010)])
    except asyncpg.PostgresError as error:
        print(told(error), error.constraint_name)
    print(await c.fetchval("select count(*) from t"))
    print(await c.execute("insert into t values (6000, 'simple'); update t set v = 'many' where id < 3; select 1"))

    section("errors")
    for text, arguments in (("select 1/$1::int", (0,)), ("select nothing", ()), ("select $1::int", ("text",)),
                            ("do $$ begin raise exception 'mine' using errcode = 'P0815', hint = 'h'; end $$", ())):
        try:
            await c.fetch(text, *arguments)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            print(told(error))
    print(await c.fetchval("select 'usable'"))


async def transactions_and_cursors(c):
    section("transactions and cursors")
    try:
        async with c.transaction():
            await c.execute("insert into t values (7000, 'lost')")
            async with c.transaction():
                await c.execute("select 1/0")
    except asyncpg.PostgresError as error:
        print(told(error), c.is_in_transaction())
    async with c.transaction(isolation="repeatable_read", readonly=True):
        total = 0
        async for row in c.cursor("select n from generate_series(1, 3000) n", prefetch=70):
            total += row["n"]
        walk = await c.cursor("select n from generate_series(1, 100) n")
        print(total, [r["n"] for r in await walk.fetch(3)], await walk.forward(50), [r["n"] for r in await walk.fetch(2)])
    async with c.transaction():  # a portal that is left with rows in it
        async for row in c.cursor("select repeat('x', 1000) from generate_series(1, 100000)", prefetch=10):
            break
    print(await c.fetchval("select count(*) from t where id = 7000"))


async def copying(c):
    section("copy")
    print(await c.copy_records_to_table("t", records=((n, f"copied {n}") for n in range(10_000, 60_000))))
    out = io.BytesIO()
    print(await c.copy_from_query("select * from t where id > $1 order by id", 9_999, output=out))
    print(hashlib.md5(out.getvalue()).hexdigest())
    out = io.BytesIO()
    await c.copy_from_table("t", output=out, format="csv", header=True)
    print(len(out.getvalue()))
    try:
        await c.copy_to_table("t", source=io.BytesIO(b"70000\tgood\nbad\tline\n"))
    except asyncpg.PostgresError as error:
        print(told(error))

    async def breaks_off():
        yield b"70000\tgood\n" * 3
        raise ValueError("the source failed")

    try:
        await c.copy_to_table("t", source=breaks_off())
    except (asyncpg.PostgresError, ValueError) as error:
        print(told(error))
    try:
        await c.copy_from_query("select repeat('x', 1000) from generate_series(1, 10000000)", output=lambda data: asyncio.sleep(60),
                                timeout=0.3)
    except asyncio.TimeoutError:
        print("timed out in mid-copy")
    print(await c.fetchval("select count(*) from t where id >= 70000"))


async def big_values(c):
    section("a value of 30 MB each way")
    big = "0123456789" * 3_000_000
    print(await c.fetchval("select md5($1)", big))
    print(hashlib.md5((await c.fetchval("select $1::text || $1::text", big)).encode()).hexdigest())


async def timeouts(c):
    section("timeouts cancel on the server")
    for attempt in range(3):
        try:
            await c.execute("select pg_sleep(60)", timeout=0.1 + attempt / 20)
        except asyncio.TimeoutError:
            print("timed out", await c.fetchval("select 'the same session goes on'"))
    task = asyncio.create_task(c.fetch("select pg_sleep($1)", 60.0))
    done, _ = await asyncio.wait({task}, timeout=0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled", len(done), await c.fetchval("select count(*) from t where id < 10"))


async def notifications(c):
    section("notifications and notices")
    heard = asyncio.Queue()
    other = await asyncpg.connect()
    await c.add_listener("news", lambda _, pid, channel, payload: heard.put_nowait((pid == other.get_server_pid(), channel, payload)))
    notices = asyncio.Queue()
    c.add_log_listener(lambda _, message: notices.put_nowait((message.sqlstate, message.message)))
    async with other.transaction():
        await other.execute("notify news, 'one'")
        await other.execute("select pg_notify('news', $1)", "two")
    print(await asyncio.wait_for(heard.get(), 20), await asyncio.wait_for(heard.get(), 20))
    await c.execute("do $$ begin raise notice 'noticed'; end $$")
    print(await asyncio.wait_for(notices.get(), 20))
    await other.close()


async def pool():
    section("a pool of ten, two hundred tasks")

    async def work(n):
        async with p.acquire() as c:
            async with c.transaction():
                await c.execute("insert into t values ($1, 'pooled')", 100_000 + n)
                return await c.fetchval("select $1::int * 2", n)

    async with asyncpg.create_pool(min_size=2, max_size=10, max_inactive_connection_lifetime=0.5) as p:
        print(sum(await asyncio.gather(*(work(n) for n in range(200)))))
        print(await p.fetchval("select count(*) from t where v = 'pooled'"))


async def ends():
    section("how sessions end")
    c = await asyncpg.connect()
    c.terminate()  # no Terminate message
    c = await asyncpg.connect()
    killer = await asyncpg.connect()
    ended = asyncio.Event()
    c.add_termination_listener(lambda _: ended.set())
    print(await killer.fetchval("select pg_terminate_backend($1)", c.get_server_pid()))
    await asyncio.wait_for(ended.wait(), 20)
    try:
        await c.fetchval("select 1")
    except asyncpg.InterfaceError as error:
        print(told(error))
    await killer.close()
    for wrong in ({"password": "wrong"}, {"database": "no_such_database"}, {"server_settings": {"no_such_setting": "1"}},
                  {"ssl": "require"}):
        try:
            await asyncpg.connect(**wrong)
        except (asyncpg.PostgresError, ConnectionError) as error:
            print(told(error))


async def main():
    c = await asyncpg.connect(server_settings={"application_name": "asyncpg"})
    await types_and_statements(c)
    await transactions_and_cursors(c)
    await copying(c)
    await big_values(c)
    await timeouts(c)
    await notifications(c)
    await c.close()
    await pool()
    await ends()
    print("done")


asyncio.run(main())
