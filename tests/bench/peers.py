"""pgleash beside PgBouncer and HAProxy: CPU per transaction and per gigabyte, and memory per idle session.

All three stand before the same PostgreSQL and are measured in turns, every other round backwards, so that whatever else
the machine does hits all of them. What counts is the CPU time of the proxy itself (the kernel's own figure in
nanoseconds), divided by the transactions that pgbench counted. A ratio is the median of the ratios of each round.
"""
from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))

import pgwire  # noqa: E402
import throwaway  # noqa: E402

DATABASE = "bench"
OURS = {"epoll": "pgleash", "io_uring": "pgleash, io_uring"}
PEERS = ["PgBouncer", "HAProxy"]


def note(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Proxy:
    """A running proxy: its name, port and process."""

    def __init__(self, name: str, port: int, command: list[str], log: Path, user: str | None = None):
        self.name, self.port = name, port
        prefix = throwaway.unprivileged(user, "KILL") if user else ["setpriv", "--pdeathsig=KILL"]
        with log.open("w") as out:
            self.process = subprocess.Popen([*prefix, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                                            start_new_session=True)
        self.log = log

    def cpu_seconds(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> int:
        """Proportional set size in bytes."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) * 1024

    def stop(self) -> None:
        throwaway.end(self.process, (signal.SIGINT, 5.0))


class Bench:
    def __init__(self, options: argparse.Namespace, directory: Path):
        self.options, self.directory = options, directory
        self.server = throwaway.Postgres(directory / "pg", {"max_connections": "1200", "shared_buffers": "'256MB'",
                                                                "unix_socket_directories": f"'{directory / 'pg'}'"})
        self.environment = dict(os.environ, PGHOST="127.0.0.1", PGUSER="postgres", PGDATABASE=DATABASE, PGSSLMODE="disable",
                                LC_ALL="C")

    def start(self) -> None:
        note("starting PostgreSQL")
        self.server.start()
        self.environment["PGPASSWORD"] = self.server.password
        pgwire.Connection(self.server.port, "postgres", self.server.password, "postgres", "bench").query(f"create database {DATABASE}")
        self.pgbench(self.server.port, "-i", "-q", "-s", "5")

    def pgbench(self, port: int, *words: str) -> str:
        done = subprocess.run([str(self.server.programs / "pgbench"), "-p", str(port), *words], env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise throwaway.Failure(f"pgbench failed on port {port}: {done.stderr[-500:]}")
        return done.stdout

    # -- the proxies

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def pgleash(self, engine: str = "epoll", prefix: list[str] | None = None, server: str = "127.0.0.1") -> Proxy:
        """`server`: its address, or the directory of its Unix socket. The peers speak plain TCP to it."""
        port = throwaway.free_port()
        text = (f'[process]\nengine = "{engine}"\nworkers = {self.options.workers}\nmax_sessions = 20000\nmax_logins = 20000\ndrain_delay = "off"\ndrain_timeout = "1s"\n'
                f'[[listener]]\nlisten = ["127.0.0.1:{port}"]\n'
                f'[[server]]\nname = "main"\nhost = "{server}"\nport = {self.server.port}\ntls = "disable"\nmonitor = "none"\n'
                '[metrics]\nlisten = "off"\n')
        name = OURS[engine]
        return Proxy(name, port, [*(prefix or []), self.options.binary, "run", "--config", str(self.write(f"{engine}.toml", text))],
                     self.directory / f"{engine}.log")

    def pgleash_together(self) -> Proxy:
        return self.pgleash("io_uring")

    def pgbouncer(self, one_to_one: bool = False) -> Proxy:
        """`one_to_one`: a server session serves one client and ends with it, as with the others."""
        port = throwaway.free_port()
        users = self.write("users.txt", f'"postgres" "{self.server.password}"\n')
        settings = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
                    "auth_file": users, "pool_mode": "session", "max_client_conn": 5000, "default_pool_size": 1100,
                    "log_connections": 0, "log_disconnections": 0, "log_stats": 0, "listen_backlog": 1024,
                    "ignore_startup_parameters": "extra_float_digits"}
        if one_to_one:
            settings["server_lifetime"] = 0
        text = (f"[databases]\n{DATABASE} = host=127.0.0.1 port={self.server.port} dbname={DATABASE}\n[pgbouncer]\n" +
                "".join(f"{key} = {value}\n" for key, value in settings.items()))
        return Proxy("PgBouncer", port, ["pgbouncer", "-q", str(self.write("pgbouncer.ini", text))],
                     self.directory / "pgbouncer.log", self.server.os_user)

    def haproxy(self) -> Proxy:
        port = throwaway.free_port()
        text = ("global\n  maxconn 9900\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
                f"listen pg\n  bind 127.0.0.1:{port} backlog 1024\n  server pg 127.0.0.1:{self.server.port}\n")
        return Proxy("HAProxy", port, ["haproxy", "-q", "-db", "-f", str(self.write("haproxy.cfg", text))],
                     self.directory / "haproxy.log", self.server.os_user)

    def all(self, unix_socket: bool = False, one_to_one: bool = False) -> list[Proxy]:
        """`unix_socket`: pgleash speaks to the server through it, the peers by TCP as always."""
        server = str(self.server.directory) if unix_socket else "127.0.0.1"
        proxies = [*(self.pgleash(engine, server=server) for engine in OURS), self.pgbouncer(one_to_one), self.haproxy()]
        for proxy in proxies:
            if not throwaway.wait_until(lambda p=proxy: self.answers(p), 10):
                raise throwaway.Failure(f"{proxy.name} does not answer:\n{proxy.log.read_text()[-1000:]}")
        return proxies

    def session(self, port: int) -> pgwire.Connection:
        return pgwire.Connection(port, "postgres", self.server.password, DATABASE, "bench")

    def answers(self, proxy: Proxy) -> bool:
        try:
            self.session(proxy.port).query("select 1")
            return True
        except (OSError, pgwire.PgError, pgwire.ConnectionLost):
            return False

    # -- what is measured

    def transactions(self, clients: int, unix_socket: bool = False, connect: bool = False) -> dict[str, list[float]]:
        """CPU microseconds a transaction, one figure a round. `connect`: each on a connection of its own."""
        figures: dict[str, list[float]] = {}
        proxies = self.all(unix_socket, one_to_one=connect)
        try:
            for round_number in range(self.options.rounds):
                note(f"{clients} clients{' that connect' if connect else ''}, round {round_number + 1} of {self.options.rounds}")
                for proxy in proxies if round_number % 2 == 0 else reversed(proxies):
                    before = proxy.cpu_seconds()
                    out = self.pgbench(proxy.port, "-S", "-n", "-M", "simple", "-c", str(clients), "-j", "2", "-T", str(self.options.seconds),
                                       *(["-C"] if connect else []))
                    done = int(re.search(r"transactions actually processed: (\d+)", out)[1])
                    figures.setdefault(proxy.name, []).append((proxy.cpu_seconds() - before) * 1e6 / done)
        finally:
            for proxy in proxies:
                proxy.stop()
        return figures

    def bulk(self) -> dict[str, list[float]]:
        """CPU milliseconds a gigabyte of COPY … TO STDOUT in rows of 8 kB, one figure a round."""
        rows = 20_000
        size = rows * 8001  # text and its newline
        figures: dict[str, list[float]] = {}
        proxies = self.all()
        copy = f"copy (select repeat('x', 8000) from generate_series(1, {rows})) to stdout"
        try:
            for round_number in range(self.options.rounds):
                note(f"bulk, round {round_number + 1} of {self.options.rounds}")
                for proxy in proxies if round_number % 2 == 0 else reversed(proxies):
                    before = proxy.cpu_seconds()
                    done = subprocess.run([str(self.server.programs / "psql"), "-X", "-q", "-p", str(proxy.port), "-c", copy],
                                          env=self.environment, stdout=subprocess.DEVNULL, check=False)
                    if done.returncode != 0:
                        raise throwaway.Failure(f"psql failed through {proxy.name}")
                    figures.setdefault(proxy.name, []).append((proxy.cpu_seconds() - before) * 1e3 / (size / 1e9))
        finally:
            for proxy in proxies:
                proxy.stop()
        return figures

    def idle_sessions(self) -> dict[str, list[float]]:
        """KiB an idle session, in a fresh process: the slope between two numbers of sessions."""
        few, many = self.options.sessions
        figures: dict[str, list[float]] = {}
        for make in (self.pgleash, self.pgleash_together, self.pgbouncer, self.haproxy):
            proxy = make()
            throwaway.wait_until(lambda p=proxy: self.answers(p), 10)
            note(f"{many} idle sessions of {proxy.name}")
            held, at = [], {}
            try:
                for number in range(1, many + 1):
                    held.append(self.session(proxy.port))
                    if number in (few, many):
                        time.sleep(0.5)  # what was freed meanwhile is to be seen as free
                        at[number] = proxy.memory()
            finally:
                for session in held:
                    session.socket.close()
                proxy.stop()
            figures[proxy.name] = [(at[many] - at[few]) / 1024 / (many - few)]
            time.sleep(1)  # the server's processes go
        return figures


def table(rows: list[tuple[str, dict[str, list[float]], str]]) -> str:
    names = [*OURS.values(), *PEERS]
    lines = ["| | pgleash, epoll | pgleash, io_uring | PgBouncer, session mode | HAProxy, tcp |", "|---|---|---|---|---|"]
    for label, figures, unit in rows:
        digits = 0 if unit.startswith("ms") else 1
        cells = [f"{statistics.median(figures[name]):.{digits}f} {unit}" + (f" ({min(figures[name]):.{digits}f} to {max(figures[name]):.{digits}f})"
                 if len(figures[name]) > 1 else "") for name in names]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
        ratios = [" / ".join(f"{statistics.median(a / b for a, b in zip(figures[ours], figures[peer])):.2f}" for peer in PEERS)
                  for ours in OURS.values()]
        lines.append(f"| … as a multiple of PgBouncer / HAProxy | {ratios[0]} | {ratios[1]} | | |")
    return "\n".join(lines)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--clients", type=numbers, default=[8, 32])
    parser.add_argument("--sessions", type=numbers, default=[500, 1000])
    parser.add_argument("--workers", default="1", help="of pgleash; the peers have one thread each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    missing = [program for program in ("pgbouncer", "haproxy") if not shutil.which(program)]
    if missing:
        print(f"bench: not installed: {' '.join(missing)} (scripts/install-deps bench)", file=sys.stderr)
        return 2
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory(prefix="pgleash-bench.", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        directory = Path(name)
        directory.chmod(0o755)
        bench = Bench(options, directory)
        try:
            bench.start()
            rows = [(f"CPU per transaction, {clients} clients", bench.transactions(clients), "µs") for clients in options.clients]
            rows.append((f"CPU per transaction, {options.clients[0]} clients, pgleash by Unix socket to the server",
                         bench.transactions(options.clients[0], unix_socket=True), "µs"))
            rows.append((f"CPU per connection, login and one query, {options.clients[0]} clients",
                         bench.transactions(options.clients[0], connect=True), "µs"))
            rows.append(("CPU per gigabyte, COPY out in rows of 8 kB", bench.bulk(), "ms/GB"))
            rows.append(("memory per idle session", bench.idle_sessions(), "KiB"))
        except throwaway.Failure as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
        finally:
            bench.server.stop()
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({label: figures for label, figures, _ in rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
