"""The six scenes. Each lets something go wrong, shows what pgleash makes of it, and who was left alone beside it."""
from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass

from narration import expect, say, scene
from pgwire import Connection, ConnectionLost, PgError
from stage import Stage
from throwaway import wait_until
from workers import Worker

#: What the demo's rules allow, in seconds (pgleash.demo.toml), and the time a kill may take on a busy machine.
TRANSACTION_LIMIT, IDLE_LIMIT, STATEMENT_LIMIT, AGE_LIMIT, SLACK = 3.0, 5.0, 4.0, 5.0, 2.0


@dataclass
class Ended:
    """A line of the summary."""
    application: str
    rule: str
    after: float
    client_saw: str
    outcome: str
    incident: str


@dataclass
class Troupe:
    """The healthy applications that run beside all scenes."""
    checkout: Worker
    steady: Worker
    notifier: Worker

    def all(self) -> list[Worker]:
        return [self.checkout, self.steady, self.notifier]


def told(error: PgError) -> str:
    lines = [f"{error.severity} {error.sqlstate}  {error.message}"]
    lines += [f"DETAIL: {error.detail}"] if error.detail else []
    lines += [f"HINT: {error.hint}"] if error.hint else []
    return "\n".join(lines)


def end_of(stage: Stage, connection: Connection, application: str, seconds: float) -> tuple[PgError | None, float]:
    """Waits for the other side to end the session, and says what the client is told. The error, and when it came."""
    try:
        error = connection.wait_for_end(seconds)
    except TimeoutError:
        expect(False, f"the session of {application} is ended within {seconds:.0f} s")
        return None, time.monotonic()
    at = time.monotonic()
    wait_until(lambda: stage.audit.has_told(connection.pid), 0.5)  # the cause first, for the reader's sake
    say(application, told(error) if error else "the connection is closed without a word", "red")
    return error, at


def accounted(stage: Stage, application: str, rule: str, pid: int, after: float, saw: str, error: PgError | None) -> Ended:
    """Finds the one outcome of the verdict in the audit log, and its incident id in what the client was told."""
    records = wait_until(lambda: stage.audit.outcomes(pid, rule), 5) or []
    outcome, incident = (records[0]["outcome"], records[0]["verdict"]) if records else ("none", "-")
    expect(len(records) == 1 and outcome == "confirmed", f"the audit log has one outcome: {outcome}, incident {incident}")
    if error:
        expect(incident in error.detail, "and the client was given the same incident")
    return Ended(application, rule, after, saw, outcome, incident)


def expect_end(stage: Stage, error: PgError | None, after: float, limit: float, sqlstate: str, application: str, pid: int,
               rule: str) -> Ended:
    saw = f"{error.severity} {error.sqlstate}" if error else "nothing"
    expect(error and error.sqlstate == sqlstate and rule in error.message and limit <= after <= limit + SLACK,
           f"{application} is told why ({sqlstate}, rule '{rule}') after {after:.1f} s; the limit is {limit:.0f} s")
    expect(stage.gone_within(pid, 1.0) is not None, f"backend {pid} is gone from pg_stat_activity")
    return accounted(stage, application, rule, pid, after, saw, error)


def leaked_transaction(stage: Stage, troupe: Troupe) -> list[Ended]:
    scene(1, "A leaked transaction",
          "'orders' opens a transaction, updates a row, and forgets it. Beside it 'steady' is idle in transaction "
          "too, again and again, but commits after a second each time.")
    done_before = troupe.steady.done
    orders = stage.connect("orders")
    orders.query("begin; update stock set pieces = 0 where id = 19")
    since = time.monotonic()
    say("orders", "BEGIN; UPDATE stock ... WHERE id = 19; and then goes for lunch")
    if expect(wait_until(lambda: stage.metric("pgleash_sessions", application="orders", state="idle in transaction"), SLACK),
              "/metrics shows it:"):
        say("pgleash", 'pgleash_sessions{application="orders",state="idle in transaction"} 1', "yellow")
    error, at = end_of(stage, orders, "orders", TRANSACTION_LIMIT + SLACK)
    ended = expect_end(stage, error, at - since, TRANSACTION_LIMIT, "25P03", "orders", orders.pid, "leaked-transaction")
    expect(stage.sql_in_shop("select pieces from stock where id = 19 for update nowait") == [("1000",)],
           "its update is rolled back and its lock is free")
    expect(wait_until(lambda: troupe.steady.done > done_before + 1, 2.5) and not troupe.steady.trouble,
           f"steady is still there: {troupe.steady.done - done_before} transactions of 1 s committed meanwhile")
    return [ended]


def leaked_sessions(stage: Stage, troupe: Troupe) -> list[Ended]:
    scene(2, "Leaked sessions",
          "'leaky' opens three sessions, uses each once and loses them. The rule names 'notifier' and 'checkout' "
          "as well: one listens, and the pool of the other is in use.")
    leaked = [stage.connect("leaky") for _ in range(3)]
    for connection in leaked:
        connection.query("select 1")
    since = time.monotonic()
    say("leaky", f"opens {len(leaked)} sessions, one SELECT each, and drops the references: backends "
        + ", ".join(str(c.pid) for c in leaked))
    ends = [end_of(stage, connection, "leaky", IDLE_LIMIT + SLACK) for connection in leaked]
    ended = [expect_end(stage, error, at - since, IDLE_LIMIT, "57P05", "leaky", connection.pid, "leaked-session")
             for connection, (error, at) in zip(leaked, ends)]
    exempted = wait_until(lambda: stage.metric("pgleash_rule_exempted_total", rule="leaked-session", exemption="listening"),
                          SLACK)
    expect(exempted, "notifier is idle for as long, and exempt: it listens")
    announcer = stage.connect("announcer")
    announcer.query("notify orders, 'number 4711'")
    announcer.close()
    expect(wait_until(lambda: troupe.notifier.done == 1, SLACK) and not troupe.notifier.trouble, "notifier hears the next NOTIFY")
    pool = stage.backends("checkout")
    expect(len(pool) == 3 and not troupe.checkout.trouble,
           "checkout's pool of three is whole: each of them was used within the limit")
    return ended


def runaway(stage: Stage, troupe: Troupe) -> list[Ended]:
    scene(3, "A runaway query, and a dump",
          "'reporting' joins everything with everything. At the same time a pg_dump has its transaction open for "
          "longer than a rule allows, and is exempt for what it does; another application only calls itself "
          "pg_dump.")
    environment = stage.environment("shop", stage.password, stage.port, "shop", "nightly-dump")
    dump = subprocess.Popen(["pg_dump", "--enable-row-security", "--data-only", "--table=invoice"], env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        say("nightly-dump", "pg_dump --table=invoice: 120 rows at 50 ms each")
        pretender = Pretender(stage)
        pretender.start()
        say("pg_dump", "is no dump: BEGIN, then a SELECT every 200 ms, and no end")
        ended = cancelled_report(stage)
        pretender.join(AGE_LIMIT + SLACK)
        if expect(pretender.error, "who only calls itself pg_dump is ended"):
            say("pg_dump", told(pretender.error), "red")
            ended.append(expect_end(stage, pretender.error, pretender.after, AGE_LIMIT, "25P04", "pg_dump", pretender.pid,
                                    "long-transaction"))
        output, _ = dump.communicate(timeout=20)
    finally:
        if dump.poll() is None:
            dump.kill()
    expect(dump.returncode == 0 and output.count("\n") > 120, "nightly-dump is complete")
    expect(stage.metric("pgleash_rule_exempted_total", rule="long-transaction", exemption="dump") == 1,
           f"it had its transaction open for more than {AGE_LIMIT:.0f} s, and was exempt as a dump: REPEATABLE READ, READ ONLY")
    return ended


class Pretender(threading.Thread):
    """One long transaction that is never idle for long, under a name that it has no right to."""

    def __init__(self, stage: Stage):
        super().__init__(daemon=True)
        self.connection = stage.connect("pg_dump")
        self.pid = self.connection.pid
        self.error: PgError | None = None
        self.after = 0.0

    def run(self) -> None:
        since = time.monotonic()
        try:
            self.connection.query("begin")
            while time.monotonic() < since + AGE_LIMIT + SLACK:
                self.connection.query("select count(*) from stock")
                time.sleep(0.2)
        except PgError as error:
            self.error = error
        except (ConnectionLost, OSError):
            pass
        self.after = time.monotonic() - since


def cancelled_report(stage: Stage) -> list[Ended]:
    reporting = stage.connect("reporting")
    reporting.socket.settimeout(STATEMENT_LIMIT + 2 * SLACK)
    since = time.monotonic()
    say("reporting", "select count(*) from generate_series(1, 1e12)")
    reporting.send("select count(*) from generate_series(1, 1e12)")
    try:
        reporting.result()
    except PgError as error:
        after = time.monotonic() - since
        wait_until(lambda: stage.audit.has_told(reporting.pid), 0.5)
        say("reporting", told(error), "red")
        expect(error.sqlstate == "57014" and STATEMENT_LIMIT <= after <= STATEMENT_LIMIT + SLACK,
               f"the statement is cancelled after {after:.1f} s; the limit is {STATEMENT_LIMIT:.0f} s")
        ended = [accounted(stage, "reporting", "runaway-report", reporting.pid, after,
                           f"{error.severity} {error.sqlstate}", error)]
        expect(reporting.query("select 'alive'").rows == [("alive",)], "its session lives on: the next SELECT answers")
        reporting.close()
        return ended
    expect(False, "the runaway statement is cancelled")
    return []


def blocker(stage: Stage, troupe: Troupe) -> list[Ended]:
    scene(4, "A blocker and its victims",
          "'warehouse' updates a row and stays idle in transaction. Two sessions of 'shopfront' need that row. Who "
          "waits works; who holds the lock and does nothing is ended.")
    warehouse = stage.connect("warehouse")
    warehouse.query("begin; update stock set pieces = 0 where id = 20")
    since = time.monotonic()
    say("warehouse", f"BEGIN; UPDATE stock ... WHERE id = 20; and waits for a telephone call: backend {warehouse.pid}")
    waits: dict[int, float | str] = {}

    def buy(victim: Connection) -> None:
        began = time.monotonic()
        try:
            victim.query("update stock set pieces = pieces - 1 where id = 20")
            waits[victim.pid] = time.monotonic() - began
        except (PgError, ConnectionLost, OSError) as error:
            waits[victim.pid] = str(error)

    victims = [stage.connect("shopfront") for _ in range(2)]
    threads = [threading.Thread(target=buy, args=(victim,), daemon=True) for victim in victims]
    for thread in threads:
        thread.start()
    blocked = wait_until(lambda: [r for r in stage.sql("select pid, pg_blocking_pids(pid) from pg_stat_activity "
                                                      "where application_name = 'shopfront' and wait_event_type = 'Lock'")
                                  if len(stage.backends("shopfront")) == 2], SLACK)
    for pid, by in blocked:
        say("PostgreSQL", f"backend {pid} of shopfront waits for a lock, behind {by}")
    error, at = end_of(stage, warehouse, "warehouse", TRANSACTION_LIMIT + SLACK)
    ended = expect_end(stage, error, at - since, TRANSACTION_LIMIT, "25P03", "warehouse", warehouse.pid, "leaked-transaction")
    for thread in threads:
        thread.join(5)
    proceeded = [w for w in waits.values() if isinstance(w, float)]
    expect(len(proceeded) == 2, "both victims proceed, after " + " and ".join(f"{w:.1f} s" for w in proceeded)
           + "".join(f" ({w})" for w in waits.values() if isinstance(w, str)))
    for victim in victims:
        victim.close()
    expect(stage.sql_in_shop("select pieces from stock where id = 20") == [("998",)],
           "their updates are there, the blocker's is not")
    return [ended]


def vanished(stage: Stage, troupe: Troupe) -> list[Ended]:
    scene(5, "A client that vanishes",
          "A psql is killed with SIGKILL in the middle of a query. PostgreSQL alone would go on for the whole ten "
          "minutes. Who only closes its half still gets its answer, and who sends Terminate behind its work gets "
          "it done.")
    environment = stage.environment("shop", stage.password, stage.port, "shop", "vanishing")
    client = subprocess.Popen(["psql", "-X", "-c", "select pg_sleep(600)"], env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = wait_until(lambda: [pid for pid, state in stage.backends("vanishing").items() if state == "active"], 5)
    if not expect(running, "psql runs its query"):
        client.kill()
        return []
    say("vanishing", f"select pg_sleep(600) on backend {running[0]}; psql is process {client.pid}")
    client.kill()
    client.wait()
    since = time.monotonic()
    say("vanishing", f"kill -9 {client.pid}")
    gone = stage.gone_within(running[0], 3)
    expect(gone is not None and gone < 1.0, "the backend is gone "
           + (f"{gone:.2f} s after its client" if gone is not None else "never") + "; PostgreSQL alone would have kept it")
    after = time.monotonic() - since
    counted = wait_until(lambda: stage.metric("pgleash_cancel_requests_total", origin="client_gone", result="delivered"), SLACK)
    expect(counted == 1, 'counted: pgleash_cancel_requests_total{origin="client_gone",result="delivered"} 1')

    half = stage.connect("half-closer")
    half.send("select 'the answer', pg_sleep(0.2)")
    half.half_close()
    say("half-closer", "sends a query of 0.2 s and closes its half of the connection")
    try:
        answer = half.result().rows
    except (PgError, ConnectionLost) as error:
        answer = str(error)
    expect(answer == [("the answer", "")], "half-closer gets its answer")
    half.socket.close()

    leaving = stage.connect("fire-and-forget")
    leaving.send_and_leave("insert into ledger (who) select 'forgotten' from pg_sleep(0.7)")
    say("fire-and-forget", "sends an INSERT of 0.7 s, Terminate and the end of file at once")
    expect(wait_until(lambda: stage.ledger_rows("forgotten") == 1, 4), "its INSERT is committed, as it would be without pgleash")
    return [Ended("vanishing", "(client gone)", after, "nothing, it was dead", "backend gone", "-")]


def the_wrong_one(stage: Stage, troupe: Troupe) -> list[Ended]:
    scene(6, "The wrong one",
          "By hand it goes wrong like this: somebody looks into pg_stat_activity, takes a pid from the wrong line "
          "and terminates it. Here it is the autovacuum launcher. The article that this project starts from did "
          "just that.")
    [(launcher, started)] = stage.sql("select pid, backend_start from pg_stat_activity "
                                      "where backend_type = 'autovacuum launcher'")
    monitor = stage.direct("pgleash_monitor", stage.monitor_password, "pgleash", "by-hand")
    say("by-hand", f"as pgleash_monitor: select pg_terminate_backend({launcher})")
    try:
        monitor.query(f"select pg_terminate_backend({launcher})")
        expect(False, "PostgreSQL refuses")
    except PgError as error:
        say("PostgreSQL", told(error), "red")
        expect(error.sqlstate == "42501", "even with all the rights that pgleash has, PostgreSQL refuses")
    finally:
        monitor.close()
    expect(stage.sql(f"select backend_start from pg_stat_activity where pid = {launcher}") == [(started,)],
           "the launcher is still the same process")
    background = {int(pid) for pid, in stage.sql("select pid from pg_stat_activity where backend_type <> 'client backend'")}
    judged = stage.audit.judged_pids()
    expect(judged and not judged & background,
           f"pgleash judged {len(judged)} backends so far, and none of the {len(background)} background processes: "
           "they are no sessions to it")
    return []


ALL = [leaked_transaction, leaked_sessions, runaway, blocker, vanished, the_wrong_one]
