"""The healthy applications of the demo. They run beside every scene and must not notice anything."""
from __future__ import annotations

import random
import threading

from pgwire import PgError, ConnectionLost
from stage import Stage


class Worker(threading.Thread):
    """One application. `done` counts its units of work; `trouble` holds the first error it met."""

    def __init__(self, stage: Stage, application: str):
        super().__init__(name=application, daemon=True)
        self.stage = stage
        self.application = application
        self.done = 0
        self.trouble: str | None = None
        self.stopping = threading.Event()
        self.ready = threading.Event()

    def run(self) -> None:
        try:
            self.work()
        except (PgError, ConnectionLost, OSError) as error:
            if not self.stopping.is_set():
                self.trouble = str(error)
        finally:
            self.ready.set()

    def work(self) -> None:
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        self.stopping.wait(seconds)

    def stop(self) -> None:
        self.stopping.set()
        self.join(5)


class Checkout(Worker):
    """A pool of three connections in use: each is idle most of the time, none for long."""

    def work(self) -> None:
        pool = [self.stage.connect(self.application) for _ in range(3)]
        self.ready.set()
        while not self.stopping.is_set():
            for connection in pool:
                connection.query(f"update stock set pieces = pieces - 1 where id = {random.randint(1, 6)}")
                self.done += 1
                self.pause(0.1)
        for connection in pool:
            connection.close()


class Steady(Worker):
    """Transactions of one second with a pause in the middle of each: idle in transaction, again and again, within the limit."""

    def work(self) -> None:
        connection = self.stage.connect(self.application)
        self.ready.set()
        while not self.stopping.is_set():
            connection.query("begin; insert into ledger (who) values ('steady')")
            self.pause(1.0)
            connection.query("commit")
            self.done += 1
        connection.close()


class Notifier(Worker):
    """Listens and does nothing else: idle for as long as it lives, and right to be."""

    def work(self) -> None:
        connection = self.stage.connect(self.application)
        connection.query("listen orders")
        self.ready.set()
        self.connection = connection
        connection.socket.settimeout(0.2)
        while not self.stopping.is_set():
            try:
                connection.wait_for_end(0.2)
                raise ConnectionLost("the session ended")
            except TimeoutError:
                self.done = len(connection.notifications)
        connection.close()
