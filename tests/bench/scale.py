"""Thousands of sessions: what they cost while idle, and what the active ones feel of them and of the watchdog.

A server that answers at once (tests/bench/scale.cpp) takes PostgreSQL's place, whose thousands of processes the machine
could not hold; server and load are processes of their own. Each round trip goes through the proxy. HAProxy, which knows
nothing of sessions, is measured beside it, and the load without any proxy.
"""
from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import socket
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


def threads(pid: int) -> dict[str, float]:
    return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in Path(f"/proc/{pid}/task").iterdir()}


def run(bench: peers.Bench, tool: Path, make, options) -> list[str]:
    proxy = make() if make else None
    port = proxy.port if proxy else bench.server.port
    if proxy and not throwaway.wait_until(lambda: listens(port), 20):
        raise throwaway.Failure(f"{proxy.name} does not listen:\n{proxy.log.read_text()[-1000:]}")
    empty = proxy.memory() if proxy else 0
    load = subprocess.Popen([str(tool), "load", str(port), str(options.idle), str(options.active), str(options.pause), str(options.seconds)],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if load.stdout.readline().strip() != "up":
            raise throwaway.Failure(f"the sessions did not come up through {proxy.name if proxy else 'nothing'}")
        full = proxy.memory() if proxy else 0
        before = threads(proxy.process.pid) if proxy else {}
        figures = json.loads(load.stdout.readline())
        after = threads(proxy.process.pid) if proxy else {}
        used = sorted(((after[thread] - before.get(thread, 0.0)) for thread in after), reverse=True)
    finally:
        throwaway.end(load, (signal.SIGKILL, 5.0))
        if proxy:
            proxy.stop()
    sessions = options.idle + options.active
    seconds = options.seconds + 1
    watchdog = "" if proxy is None or not proxy.name.startswith("pgleash") else f"{1000 * sum(used[options.workers:]) / seconds:.1f} ms"
    return [proxy.name if proxy else "no proxy", f"{figures['count'] / options.seconds:.0f}", f"{figures['p50']} µs", f"{figures['p99']} µs",
            f"{figures['p999']} µs", f"{(full - empty) / 1024 / sessions:.2f} KiB" if proxy else "",
            f"{sum(used) * 1e6 / max(figures['count'] * seconds / options.seconds, 1):.1f} µs" if proxy else "", watchdog]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--idle", type=int, default=9000)
    parser.add_argument("--active", type=int, default=500)
    parser.add_argument("--pause", type=int, default=200, help="milliseconds an active session waits between two queries")
    parser.add_argument("--seconds", type=int, default=20)
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
            rows += [run(bench, tool, make, options) for make in makers]
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
