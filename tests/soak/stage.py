"""A PostgreSQL, and a pgleash before it that enforces everything within seconds."""
from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))

import pgwire  # noqa: E402
import throwaway  # noqa: E402

CONFIG = """
[process]
name = "soak"
workers = 2
drain_delay = "off"
journal = "sessions.journal"
[[listener]]
name = "main"
listen = ["127.0.0.1:{port}"]
login_timeout = "4s"
client_gone_grace = "200ms"
[[server]]
name = "main"
host = "127.0.0.1"
port = {server_port}
[server.monitor]
password_file = "monitor.password"
poll_interval = "500ms"
statement_timeout = "2s"
[enforcement]
mode = "enforce"
hold_after_start = "off"
hold_after_reload = "1s"
hold_after_failover = "1s"
[enforcement.pace]
kills_per_minute = 100000
kills_per_minute_per_application = 100000
kills_per_minute_per_rule = 100000
[enforcement.fuse]
at_least = 100000
survived = 100000
[audit]
file = "audit.jsonl"
[metrics]
listen = "127.0.0.1:{metrics_port}"
[[rule]]
name = "idle-tx"
kind = "idle_in_transaction"
limit = "{limit}"
action = "terminate"
grace = "1s"
[rule.match]
applications = ['leaky', 'frozen']
[[rule]]
name = "idle"
kind = "idle"
limit = "2s"
action = "terminate"
[rule.match]
applications = ['forgotten']
[[rule]]
name = "late-news"
kind = "idle"
limit = "2s"
action = "terminate"
notify = "on_next_use"
notify_within = "20s"
[rule.match]
applications = ['untold']
[[rule]]
name = "too-long"
kind = "statement"
limit = "1s"
action = "cancel"
[rule.match]
applications = ['runaway']
[[rule]]
name = "far-too-long"
kind = "statement"
limit = "1500ms"
action = "terminate"
[rule.match]
applications = ['monster']
[[rule]]
name = "stalled"
kind = "stalled"
limit = "2s"
action = "terminate"
[rule.match]
applications = ['stalled']
"""


class Stage:
    def __init__(self, binary: Path):
        self.binary = binary.resolve()
        self.directory = tempfile.TemporaryDirectory(prefix="pgleash-soak-")
        home = Path(self.directory.name)
        home.chmod(0o711)
        self.postgres = throwaway.Postgres(home / "server", {"max_connections": "200"})
        self.home = home / "pgleash"
        self.home.mkdir(mode=0o700)
        self.password = secrets.token_hex(8)
        self.port = self.metrics_port = 0
        self.pgleash: subprocess.Popen | None = None

    # -- up and down

    def start(self) -> None:
        self.postgres.start()
        admin = self.superuser()
        admin.query(f"create role app login password '{self.password}'")
        admin.query("create database app owner app")
        admin.close()
        secret = secrets.token_hex(16)
        done = subprocess.run(
            ["psql", "-X", "-q", "-v", f"password={secret}", "-f", str(ROOT / "deploy/sql/bootstrap.sql")],
            env=dict(os.environ, PGHOST="127.0.0.1", PGPORT=str(self.postgres.port), PGUSER="postgres",
                     PGPASSWORD=self.postgres.password, PGDATABASE="postgres"), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise throwaway.Failure("bootstrap.sql failed:\n" + done.stderr)
        (self.home / "monitor.password").touch(mode=0o600)
        (self.home / "monitor.password").write_text(secret + "\n")
        self.port, self.metrics_port = throwaway.free_port(), throwaway.free_port()
        self.write_config()
        with (self.home / "log").open("w") as log:
            self.pgleash = subprocess.Popen(["setpriv", "--pdeathsig=KILL", str(self.binary), "run", "--config", "pgleash.toml"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, start_new_session=True)
        if not throwaway.wait_until(lambda: self.metric("pgleash_monitor_up") == 1, 20):
            raise throwaway.Failure("pgleash did not come up:\n" + self.log()[-3000:])

    def stop(self) -> int | None:
        status = throwaway.end(self.pgleash, (signal.SIGTERM, 20.0)) if self.pgleash else None
        self.postgres.stop()
        self.directory.cleanup()
        return status

    def write_config(self, limit: str = "1s", more: str = "") -> None:
        text = CONFIG.format(port=self.port, server_port=self.postgres.port, metrics_port=self.metrics_port, limit=limit)
        (self.home / "pgleash.toml").write_text(text + more)

    def restart_postgres(self, number: signal.Signals) -> None:
        """SIGINT ends its sessions with a word, SIGQUIT as a crash does."""
        process = self.postgres.process
        process.send_signal(number)
        process.wait(30)
        with self.postgres.log.open("a") as log:
            self.postgres.process = subprocess.Popen(
                [*throwaway.unprivileged(self.postgres.os_user, "INT"), str(self.postgres.programs / "postgres"), "-D",
                 str(self.postgres.data), "-p", str(self.postgres.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        throwaway.wait_until(self.postgres._is_ready, 30)

    # -- ways in

    def login(self, application: str, timeout: float = 30.0) -> pgwire.Connection:
        return pgwire.Connection(self.port, "app", self.password, "app", application, timeout)

    def superuser(self) -> pgwire.Connection:
        return pgwire.Connection(self.postgres.port, "postgres", self.postgres.password, "postgres", "soak")

    def ask(self, sql: str) -> list[tuple[str | None, ...]]:
        connection = self.superuser()
        try:
            return connection.query(sql).rows
        finally:
            connection.close()

    # -- what can be seen

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def series(self, name: str) -> list[tuple[dict[str, str], float]]:
        found = []
        try:
            text = self.page("/metrics")
        except OSError:
            return found
        for line in text.splitlines():
            match = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line)
            if match:
                found.append((dict(re.findall(r'(\w+)="([^"]*)"', match[1] or "")), float(match[2])))
        return found

    def metric(self, name: str) -> float:
        return sum(value for _, value in self.series(name))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pgleash.pid}/fd"))

    def memory(self) -> int:
        """KiB of RAM."""
        text = Path(f"/proc/{self.pgleash.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE)[1])

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pgleash.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def backends(self) -> int:
        """Client backends of applications, however they came; whether or not somebody answers."""
        return int(self.ask("select count(*) from pg_stat_activity where usename = 'app'")[0][0])

    def audit(self) -> list[dict]:
        lines = []
        for file in sorted(self.home.glob("audit.jsonl*")):
            lines += [json.loads(line) for line in file.read_text().splitlines()]
        return lines

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")
