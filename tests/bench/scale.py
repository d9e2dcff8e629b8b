"""Thousands of sessions: what they cost while idle, and what the active ones feel of them and of the watchdog.

A server that answers at once (tests/bench/scale.cpp) takes PostgreSQL's place, whose thousands of processes the machine
could not hold; server and load are processes of their own. Each round trip goes through the proxy. HAProxy, which knows
nothing of sessions, is measured beside it, and the load without any proxy.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
import throwaway

SPARE = 200  # descriptors that are no session's


class Stub:
    """Stands where peers.Bench expects its server."""

    def __init__(self, tool: Path):
        self.port = throwaway.free_port()
        self.os_user = None
        self.process = subprocess.Popen([str(tool), "serve", str(self.port)])

    def stop(self) -> None:
        throwaway.end(self.process, (signal.SIGTERM, 5.0))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Standstill:
    """The watchdog off: its thread is stopped, as a debugger stops it, and the workers' are not. What it costs the workers
    to be looked at is off with it. (There is no setting for that: a pgleash without a watchdog would be another program.)
    """

    SEIZE, INTERRUPT, DETACH, ALL_THREADS = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, pid: int):
        self.pid = pid  # of the main thread, which the watchdog runs on
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long] * 4

    def request(self, what: int) -> None:
        if self.ptrace(what, self.pid, 0, 0) < 0:
            raise throwaway.Failure(f"the watchdog's thread cannot be stopped: {os.strerror(ctypes.get_errno())}")

    def __enter__(self) -> None:
        self.request(self.SEIZE)
        self.request(self.INTERRUPT)
        os.waitpid(self.pid, self.ALL_THREADS)

    def __exit__(self, *_) -> None:
        self.request(self.DETACH)


def threads(pid: int) -> dict[str, float]:
    """CPU seconds of each."""
    return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in Path(f"/proc/{pid}/task").iterdir()}


class Round:
    """What the active sessions felt, and what it cost."""

    def __init__(self, figures: dict, before: dict[str, float], after: dict[str, float], options: argparse.Namespace, main: str):
        self.figures = figures
        share = options.seconds / (options.seconds + 1)  # the rest of the time did not count
        used = {thread: after[thread] - before.get(thread, 0.0) for thread in after}
        self.per_query = sum(used.values()) * share * 1e6 / max(figures["count"], 1)
        self.watchdog = 1000 * used.get(main, 0.0) / (options.seconds + 1)
        self.rate = figures["count"] / options.seconds


def rounds(load: subprocess.Popen, proxy: peers.Proxy | None, options: argparse.Namespace) -> list[Round]:
    """All of them; of pgleash's every other one is with the watchdog off."""
    made = []
    for number in range(options.rounds):
        off = number % 2 == 1 and proxy is not None and proxy.name.startswith("pgleash")
        with Standstill(proxy.process.pid) if off else contextlib.nullcontext():
            before = threads(proxy.process.pid) if proxy else {}
            figures = json.loads(load.stdout.readline())
            after = threads(proxy.process.pid) if proxy else {}
        made.append(Round(figures, before, after, options, str(proxy.process.pid) if proxy else ""))
    return made


def row(name: str, made: list[Round], memory: str, proxied: bool, watchdog: str = "") -> list[str]:
    def median(value) -> float:
        return statistics.median(value(one) for one in made)

    def felt(key: str) -> str:
        values = [one.figures[key] for one in made]
        return f"{median(lambda one: one.figures[key]):.0f} µs ({min(values)} to {max(values)})"

    return [name, f"{median(lambda one: one.rate):.0f}", felt("p50"), felt("p99"), felt("p999"), memory,
            f"{median(lambda one: one.per_query):.1f} µs" if proxied else "",
            f"{median(lambda one: one.watchdog):.1f} ms" if watchdog == "on" else watchdog]


def run(bench: peers.Bench, tool: Path, make, options) -> list[list[str]]:
    proxy = make() if make else None
    port = proxy.port if proxy else bench.server.port
    if proxy and not throwaway.wait_until(lambda: listens(port), 20):
        raise throwaway.Failure(f"{proxy.name} does not listen:\n{proxy.log.read_text()[-1000:]}")
    name = proxy.name if proxy else "no proxy"
    empty = proxy.memory() if proxy else 0
    load = subprocess.Popen([str(tool), "load", str(port), str(options.idle), str(options.active), str(options.pause), str(options.seconds),
                             str(options.rounds)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if load.stdout.readline().strip() != "up":
            raise throwaway.Failure(f"the sessions did not come up through {name}")
        full = proxy.memory() if proxy else 0
        made = rounds(load, proxy, options)
    finally:
        throwaway.end(load, (signal.SIGKILL, 5.0))
        if proxy:
            proxy.stop()
    memory = f"{(full - empty) / 1024 / (options.idle + options.active):.2f} KiB" if proxy else ""
    if not name.startswith("pgleash"):
        return [row(name, made, memory, proxy is not None)]
    return [row(name, made[0::2], memory, True, "on"), row(f"{name}, watchdog off", made[1::2], "", True, "off")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--idle", type=int, default=9000)
    parser.add_argument("--active", type=int, default=500)
    parser.add_argument("--pause", type=int, default=200, help="milliseconds an active session waits between two queries")
    parser.add_argument("--seconds", type=int, default=5, help="that a round is measured")
    parser.add_argument("--rounds", type=int, default=6, help="of each; pgleash's are with the watchdog on and off by turns")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    most = (limit - SPARE) // 2
    options.active = min(options.active, most // 2)
    options.idle = min(options.idle, most - options.active)
    print(f"{options.idle} idle and {options.active} active sessions on {options.workers} workers; the limit of {limit} descriptors holds {most}",
          flush=True)
    with tempfile.TemporaryDirectory(prefix="pgleash-scale.") as name:
        directory = Path(name)
        directory.chmod(0o755)
        tool = directory / "scale"
        subprocess.run(["c++", "-std=c++20", "-O2", f"-I{peers.ROOT}", "-o", str(tool), str(Path(__file__).with_name("scale.cpp"))], check=True)
        bench = peers.Bench.__new__(peers.Bench)
        bench.options, bench.directory, bench.server = options, directory, Stub(tool)
        rows = [["", "queries/s", "p50", "p99", "p99.9", "memory a session", "CPU a query", "watchdog's CPU a second"]]
        try:
            makers = [None, bench.pgleash, bench.pgleash_together]
            if shutil.which("haproxy"):
                makers.append(bench.haproxy)
            for make in makers:
                rows += run(bench, tool, make, options)
        except throwaway.Failure as failure:
            print(f"scale: {failure}", file=sys.stderr)
            return 1
        finally:
            bench.server.stop()
    for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]:
        print("| " + " | ".join(row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
