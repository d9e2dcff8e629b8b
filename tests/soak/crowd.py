"""Who uses pgleash in a soak: applications that behave and such that do not, and what happens to all of them."""
from __future__ import annotations

import collections
import os
import random
import signal
import socket
import struct
import threading
import time

from pgwire import Connection, ConnectionLost, PgError
from stage import Stage

# What a server that restarts, stands still or recovers says, or leaves unsaid.
SERVER_AWAY = ("57P01", "57P02", "57P03", "08006")


class Tally:
    """What clients saw, counted. Many threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.done = collections.Counter()
        self.expected = collections.Counter()
        self.unexpected: list[str] = []

    def ok(self, what: str) -> None:
        with self.lock:
            self.done[what] += 1

    def error(self, who: str, error: Exception, wanted: tuple[str, ...], away: bool) -> None:
        code = error.sqlstate if isinstance(error, PgError) else type(error).__name__
        explained = code in wanted or (away and (code in SERVER_AWAY or not isinstance(error, PgError)))
        with self.lock:
            if explained:
                self.expected[f"{who}: {code}"] += 1
            else:
                self.unexpected.append(f"{time.strftime('%H:%M:%S')} {who}: {error!r}")


class Crowd:
    """Each kind of client in a thread of its own, until it is told to pause or to stop."""

    def __init__(self, stage: Stage):
        self.stage, self.tally = stage, Tally()
        self.running, self.stopping = threading.Event(), threading.Event()
        self.away_until = 0.0  # the server was ended on purpose, and for so long what it does is no surprise
        self.busy = 0
        kinds = [self.steady, self.steady, self.churn, self.leaky, self.forgotten, self.untold, self.runaway, self.monster,
                 self.stalled, self.vanishing, self.half_sent, self.cancelling]
        self.threads = [threading.Thread(target=self._repeat, args=(kind,), daemon=True) for kind in kinds]
        for thread in self.threads:
            thread.start()

    def away(self) -> bool:
        return time.monotonic() < self.away_until

    def expect_absence(self, seconds: float) -> None:
        self.away_until = max(self.away_until, time.monotonic() + seconds)

    def pause(self) -> bool:
        """Until all have closed what they had; False when somebody does not come to an end."""
        self.running.clear()
        deadline = time.monotonic() + 60
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.busy == 0

    def stop(self) -> None:
        self.stopping.set()
        self.running.set()
        for thread in self.threads:
            thread.join(60)

    def _repeat(self, kind) -> None:
        chance = random.Random(kind.__name__)
        while not self.stopping.is_set():
            self.running.wait()
            if self.stopping.is_set():
                return
            with self.tally.lock:
                self.busy += 1
            try:
                kind(chance)
            except (PgError, ConnectionLost, OSError) as error:
                self.tally.error(kind.__name__, error, (), self.away())
                time.sleep(0.5)
            finally:
                with self.tally.lock:
                    self.busy -= 1

    def _until(self, seconds: float) -> bool:
        """Sleeps, unless there is a pause; whether to go on."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.running.is_set() and not self.stopping.is_set():
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))
        return self.running.is_set() and not self.stopping.is_set()

    def _ended(self, who: str, connection: Connection, wanted: tuple[str, ...], seconds: float = 30) -> None:
        """Waits to be ended, as it should be."""
        error = connection.wait_for_end(seconds)
        connection.socket.close()
        if error is None:
            self.tally.error(who, ConnectionLost("ended without a word"), (), self.away())
        else:
            self.tally.error(who, error, wanted, self.away())

    # -- who behaves

    def steady(self, chance: random.Random) -> None:
        connection = self.stage.login("steady")
        while True:
            for _ in range(5):
                number = str(chance.randrange(10**9))
                connection.query("begin")
                if connection.query(f"select {number}").rows[0][0] != number:
                    raise PgError(b"SERROR\0CXX000\0Manother's answer\0")
                connection.query("commit")
                self.tally.ok("transactions")
            if not self._until(0.25):
                break
        connection.close()

    def churn(self, chance: random.Random) -> None:
        connection = self.stage.login(chance.choice(["web", "batch", "report-7f9c4d5b6-x2x1z", ""]))
        connection.query("select repeat('c', 20000)")
        connection.close()
        self.tally.ok("logins")
        self._until(0.4)

    def cancelling(self, _chance: random.Random) -> None:
        """A client's own cancel, through pgleash."""
        connection = self.stage.login("cancelling")
        connection.send("select pg_sleep(0.05)")
        connection.result()
        connection.close()
        self.tally.ok("logins")
        self._until(3)

    # -- who does not

    def leaky(self, _chance: random.Random) -> None:
        connection = self.stage.login("leaky")
        connection.query("begin")
        self._ended("leaky", connection, ("25P03",))
        self._until(1)

    def forgotten(self, _chance: random.Random) -> None:
        connection = self.stage.login("forgotten")
        connection.query("select 1")
        self._ended("forgotten", connection, ("57P05",))
        self._until(1)

    def untold(self, _chance: random.Random) -> None:
        connection = self.stage.login("untold")
        connection.query("select 1")
        self._until(6)
        try:
            connection.query("select 2")
            self.tally.ok("came back in time")
        except PgError as error:
            self.tally.error("untold", error, ("57P05",), self.away())
        connection.socket.close()

    def runaway(self, _chance: random.Random) -> None:
        connection = self.stage.login("runaway")
        try:
            connection.query("select pg_sleep(30)")
        except PgError as error:
            self.tally.error("runaway", error, ("57014",), self.away())
            if error.severity != "FATAL":
                connection.query("select 1")  # it lives on
        connection.close()
        self._until(2)

    def monster(self, _chance: random.Random) -> None:
        connection = self.stage.login("monster")
        connection.send("select count(*) from generate_series(1, 10) a, pg_sleep(30)")
        self._ended("monster", connection, ("57P05",))
        self._until(3)

    def stalled(self, _chance: random.Random) -> None:
        """Asks for far more than any socket holds, and does not read it until it is ended."""
        connection = self.stage.login("stalled")
        connection.send("select repeat('s', 1000) from generate_series(1, 100000)")
        self._until(6)
        try:
            while connection.socket.recv(1 << 20):
                pass
        except OSError:
            pass
        connection.socket.close()
        self.tally.ok("stalls")

    def vanishing(self, chance: random.Random) -> None:
        """Is gone in mid-query, in mid-transaction, or with a reset."""
        connection = self.stage.login("vanishing")
        connection.query("begin")
        connection.send("select pg_sleep(30)")
        if chance.random() < 0.5:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.socket.close()
        self.tally.ok("vanished")
        self._until(1)

    def half_sent(self, chance: random.Random) -> None:
        sockets = []
        for _ in range(10):
            one = socket.create_connection(("127.0.0.1", self.stage.port), 10)
            one.sendall(b"\0\0\0\x22\0\3\0\0user\0app\0"[:chance.randrange(18)])
            sockets.append(one)
        self._until(chance.choice([0.1, 5]))  # leaves, or outlasts the login's deadline
        for one in sockets:
            one.close()
        self.tally.ok("half-sent startups")
        self._until(2)


class Faults:
    """One fault after the other, each undone before the next."""

    def __init__(self, stage: Stage, crowd: Crowd):
        self.stage, self.crowd, self.count = stage, crowd, collections.Counter()
        self.rotations = 0
        self.turn = 0
        self.kinds = [self.reload, self.cut_monitor, self.bad_reload, self.freeze_backend, self.rotate_audit, self.reload,
                      self.freeze_monitor, self.restart, self.bad_reload, self.burst, self.scrapes, self.crash]

    def next(self) -> str:
        fault = self.kinds[self.turn % len(self.kinds)]
        self.turn += 1
        fault()
        self.count[fault.__name__] += 1
        return fault.__name__

    def reload(self) -> None:
        self.stage.write_config(limit=random.choice(["1s", "1100ms", "1200ms"]))
        self.stage.pgleash.send_signal(signal.SIGHUP)

    def bad_reload(self) -> None:
        self.stage.write_config(more=random.choice(["[leak\n", "nonsense = 1\n", "\0\0\0", "[[rule]]\nname = 'x'\n"]))
        self.stage.pgleash.send_signal(signal.SIGHUP)
        time.sleep(1)
        self.stage.write_config()

    def rotate_audit(self) -> None:
        self.rotations += 1
        (self.stage.home / "audit.jsonl").rename(self.stage.home / f"audit.jsonl.{self.rotations:04}")
        self.stage.pgleash.send_signal(signal.SIGUSR1)

    def cut_monitor(self) -> None:
        self.stage.ask("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgleash_monitor'")

    def freeze_monitor(self) -> None:
        self._freeze("select pid from pg_stat_activity where usename = 'pgleash_monitor'", 3)

    def freeze_backend(self) -> None:
        """What is to be ended does not heed it: survived, and resolved when it moves again."""
        connection = self.stage.login("frozen")
        connection.query("begin")
        self._freeze(f"select {connection.pid}", 5)
        connection.socket.close()

    def _freeze(self, whom: str, seconds: float) -> None:
        pids = [int(row[0]) for row in self.stage.ask(whom)]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass

    def burst(self) -> None:
        sockets = [socket.create_connection(("127.0.0.1", self.stage.port), 10) for _ in range(150)]
        for one in sockets:
            one.close()

    def scrapes(self) -> None:
        for _ in range(20):
            self.stage.page("/metrics")

    def restart(self) -> None:
        self.crowd.expect_absence(25)
        self.stage.restart_postgres(signal.SIGINT)
        self.crowd.expect_absence(10)

    def crash(self) -> None:
        self.crowd.expect_absence(25)
        self.stage.restart_postgres(signal.SIGQUIT)
        self.crowd.expect_absence(10)
