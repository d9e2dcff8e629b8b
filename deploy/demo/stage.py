"""The stage of the demo: a throwaway PostgreSQL with a shop in it, pgleash in front, and what can be seen of both."""
from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pgwire
from audit_trail import AuditTrail
from narration import say
from throwaway import Postgres, Failure, end, free_port, hand_over, unprivileged, wait_until

HERE = Path(__file__).resolve().parent
BOOTSTRAP = HERE.parent / "sql" / "bootstrap.sql"

SCHEMA = """
create role shop login password '{password}';
create database shop;
"""
TABLES = """
create table stock (id int primary key, pieces int not null);
insert into stock select n, 1000 from generate_series(1, 20) n;
create table ledger (id bigint generated always as identity primary key, who text not null, at timestamptz default now());
create table invoice (id int primary key, total numeric);
insert into invoice select n, n * 9.99 from generate_series(1, 120) n;
-- A check of 50 ms for each row makes any dump of the invoices take six seconds.
create function may_see(int) returns bool language plpgsql as $$ begin perform pg_sleep(0.05); return true; end $$;
create policy slow on invoice using (may_see(id));
alter table invoice enable row level security;
grant select, insert, update, delete on all tables in schema public to shop;
"""


class Stage:
    def __init__(self, binary: Path):
        self.directory = Path(tempfile.mkdtemp(prefix="pgleash-demo-"))
        self.directory.chmod(0o711)
        self.postgres = Postgres(self.directory / "server", {"max_connections": "50"})
        self.home = self.directory / "pgleash"
        self.binary = binary
        self.os_user = "nobody" if os.geteuid() == 0 else ""
        self.password = secrets.token_hex(8)
        self.monitor_password = secrets.token_hex(16)
        self.port = self.metrics_port = 0
        self.pgleash: subprocess.Popen | None = None
        self.observer: pgwire.Connection | None = None
        self.audit = AuditTrail(self.home / "audit.jsonl")

    # -- up and down

    def start(self) -> None:
        self.postgres.start()
        self.observer = self.direct("postgres", self.postgres.password, "postgres", "observer")
        version = self.observer.query("show server_version").rows[0][0]
        say("PostgreSQL", f"{version} on port {self.postgres.port}: own directory, SCRAM, runs as {self.postgres.os_user}")
        self._make_shop()
        self._bootstrap_monitor()
        self._start_pgleash()

    def _make_shop(self) -> None:
        for statement in SCHEMA.format(password=self.password).strip().split("\n"):
            self.observer.query(statement)
        owner = self.direct("postgres", self.postgres.password, "shop", "owner")
        owner.query(TABLES)
        owner.close()
        say("PostgreSQL", "database shop, and the ordinary role shop that all applications of this demo log in as")

    def _bootstrap_monitor(self) -> None:
        done = subprocess.run(
            ["psql", "-X", "-q", "-v", f"password={self.monitor_password}", "-f", str(BOOTSTRAP)],
            env=self.environment("postgres", self.postgres.password, self.postgres.port, "postgres"),
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{BOOTSTRAP} failed:\n{done.stdout}{done.stderr}")
        say("PostgreSQL", "deploy/sql/bootstrap.sql made the role pgleash_monitor: it can look and signal, nothing else")

    def _start_pgleash(self) -> None:
        self.home.mkdir(mode=0o700)
        binary = self.binary
        if self.os_user:  # the build folder may be closed to others than root
            binary = Path(shutil.copy2(self.binary, self.home / "pgleash"))
        (self.home / "monitor.password").touch(mode=0o600)
        (self.home / "monitor.password").write_text(self.monitor_password + "\n")
        for _ in range(3):  # another process may take a port between the probe and the start
            self._write_config()
            if self._launch(binary):
                self.audit.start()
                return
            if "in use" not in self.log():
                break
        raise Failure(f"pgleash did not start (status {self.pgleash.returncode}):\n{self.log()[-3000:]}")

    def _write_config(self) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        text = (HERE / "pgleash.demo.toml").read_text()
        for name, value in (("LISTEN_PORT", self.port), ("SERVER_PORT", self.postgres.port), ("METRICS_PORT", self.metrics_port)):
            text = text.replace(f"@{name}@", str(value))
        (self.home / "pgleash.toml").write_text(text)
        if self.os_user:
            for path in (self.home, *self.home.iterdir()):
                hand_over(path, self.os_user)

    def _launch(self, binary: Path) -> bool:
        with (self.directory / "pgleash.log").open("w") as log:
            prefix = unprivileged(self.os_user, "KILL") if self.os_user else ["setpriv", "--pdeathsig=KILL"]
            self.pgleash = subprocess.Popen([*prefix, str(binary), "run", "--config", str(self.home / "pgleash.toml")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                                            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, start_new_session=True)
        wait_until(lambda: self.pgleash.poll() is not None or self._is_ready(), 20)
        return self.pgleash.poll() is None and self._is_ready()

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200 and self.metric("pgleash_monitor_up") == 1
        except OSError:
            return False

    def stop(self) -> None:
        self.audit.stop()
        if self.observer:
            self.observer.close()
        if self.pgleash:
            end(self.pgleash, (signal.SIGTERM, 5.0))
        self.postgres.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        try:
            return (self.directory / "pgleash.log").read_text(errors="replace")
        except OSError:
            return ""

    # -- ways in

    def connect(self, application: str) -> pgwire.Connection:
        """A session of the shop through pgleash."""
        return pgwire.Connection(self.port, "shop", self.password, "shop", application)

    def direct(self, user: str, password: str, database: str, application: str) -> pgwire.Connection:
        return pgwire.Connection(self.postgres.port, user, password, database, application)

    def environment(self, user: str, password: str, port: int, database: str, application: str = "psql") -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": str(self.directory),
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password, "PGDATABASE": database,
                "PGAPPNAME": application}

    # -- what can be seen

    def sql(self, text: str) -> list[tuple[str | None, ...]]:
        """Asked directly by the superuser, past pgleash. For the main thread only."""
        return self.observer.query(text).rows

    def sql_in_shop(self, text: str) -> list[tuple[str | None, ...]]:
        """The same in the shop's database."""
        connection = self.direct("postgres", self.postgres.password, "shop", "observer")
        try:
            return connection.query(text).rows
        finally:
            connection.close()

    def ledger_rows(self, who: str) -> int:
        return int(self.sql_in_shop(f"select count(*) from ledger where who = '{who}'")[0][0])

    def backends(self, application: str) -> dict[int, str]:
        """pid and state of each backend of an application, as pg_stat_activity shows it."""
        rows = self.sql("select pid, state from pg_stat_activity "
                        f"where application_name = '{application}' order by backend_start")
        return {int(pid): state or "" for pid, state in rows}

    def gone_within(self, pid: int, seconds: float) -> float | None:
        """Seconds until no backend has this pid any more; None if there is one still."""
        started = time.monotonic()
        gone = wait_until(lambda: not self.sql(f"select 1 from pg_stat_activity where pid = {pid}"), seconds, 0.01)
        return time.monotonic() - started if gone else None

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def metrics(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The series of one metric, labels and value."""
        series = []
        for line in self.get("/metrics")[1].splitlines():
            match = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
            if match:
                series.append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or "")), float(match[2])))
        return series

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the series with these labels."""
        return sum(value for have, value in self.metrics(name) if all(have.get(k) == v for k, v in labels.items()))
