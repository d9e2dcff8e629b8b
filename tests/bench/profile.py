"""What a transaction costs pgleash, counted instead of timed: system calls, instructions, allocations.

Each figure is the difference between a long and a short run of pgbench, divided by the transactions that are more in the
long one: start, logins and timers cancel out, up to the longer one's few ticks more. Counts do not care what else the
machine does; strace and valgrind slow the relay, so it waits less often than in life.
"""
from __future__ import annotations

import argparse
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
import throwaway

SHORT, LONG = 1000, 6000


def pgbench(bench: peers.Bench, port: int, clients: int, transactions: int, mode: str) -> None:
    bench.pgbench(port, "-S", "-n", "-M", mode, "-c", str(clients), "-j", "1", "-t", str(transactions // clients))


def difference(measure) -> float:
    few, many = measure(SHORT), measure(LONG)
    return (many - few) / (LONG - SHORT)


class Under:
    """pgleash started under another program."""

    def __init__(self, bench: peers.Bench, engine: str, prefix: list[str], environment: dict[str, str] | None = None):
        self.bench = bench
        old = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self.proxy = bench.pgleash(engine, prefix)
        finally:
            os.environ.clear()
            os.environ.update(old)
        if not throwaway.wait_until(lambda: bench.answers(self.proxy), 30):
            raise throwaway.Failure(f"{prefix[0] if prefix else 'pgleash'} does not answer:\n{self.proxy.log.read_text()[-1000:]}")

    def finish(self) -> str:
        throwaway.end(self.proxy.process, (signal.SIGTERM, 20.0), (signal.SIGINT, 10.0))
        return self.proxy.log.read_text()


def system_calls(bench: peers.Bench, engine: str, clients: int) -> dict[str, float]:
    counts: dict[int, dict[str, int]] = {}
    for transactions in (SHORT, LONG):
        report = bench.directory / f"strace.{transactions}"
        run = Under(bench, engine, ["strace", "-D", "-f", "-c", "-o", str(report)])
        pgbench(bench, run.proxy.port, clients, transactions, "simple")
        run.finish()
        if not throwaway.wait_until(lambda r=report: r.exists() and "total" in r.read_text(), 10):
            raise throwaway.Failure("strace wrote no table")
        counts[transactions] = {}
        for line in report.read_text().splitlines():
            words = line.split()
            if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                counts[transactions][words[-1]] = int(words[3])
    names = ("recvfrom", "sendto", "io_uring_enter", "epoll_wait", "epoll_ctl")
    return {name: (counts[LONG].get(name, 0) - counts[SHORT].get(name, 0)) / (LONG - SHORT) for name in names}


def instructions(bench: peers.Bench, mode: str) -> float:
    def measure(transactions: int) -> int:
        out = bench.directory / f"callgrind.{mode}.{transactions}"
        run = Under(bench, "epoll", ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"])
        pgbench(bench, run.proxy.port, 8, transactions, mode)
        run.finish()
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])

    return difference(measure)


def allocations(bench: peers.Bench, library: Path, engine: str) -> tuple[int, int]:
    """Of the thread that moves the bytes, while sessions that are there already exchange messages; and those messages."""
    counter = bench.directory / "allocations"
    counter.write_bytes(bytes(4096))
    run = Under(bench, engine, [], {"LD_PRELOAD": str(library), "PGLEASH_COUNT_ALLOCATIONS": str(counter)})

    def busy() -> dict[int, int]:
        tasks = Path(f"/proc/{run.proxy.process.pid}/task").iterdir()
        return {int(task.name): int((task / "schedstat").read_text().split()[0]) for task in tasks}

    def calls() -> dict[int, int]:
        return dict(struct.iter_unpack("QQ", counter.read_bytes()))

    sessions = [bench.session(run.proxy.port) for _ in range(8)]
    queries = [f"select {number % 8}" for number in range(200)]
    for session in sessions:
        for query in queries:
            session.query(query)
    worked, before, messages = busy(), calls(), 0
    for _ in range(2):
        for session in sessions:
            for query in queries:
                session.query(query)
                messages += 5  # Query; RowDescription, DataRow, CommandComplete, ReadyForQuery
    after, now = calls(), busy()
    worker = max(now, key=lambda thread: now[thread] - worked.get(thread, 0))
    for session in sessions:
        session.socket.close()
    run.finish()
    return after.get(worker, 0) - before.get(worker, 0), messages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    options = parser.parse_args()
    options.workers = "1"
    with tempfile.TemporaryDirectory(prefix="pgleash-profile.") as name:
        directory = Path(name)
        directory.chmod(0o755)
        library = directory / "count_allocations.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).with_name("count_allocations.c"))], check=True)
        bench = peers.Bench(options, directory)
        try:
            bench.start()
            print("system calls per transaction (pgbench -S, simple; strace)")
            for engine in peers.OURS:
                for clients in (1, 32):
                    calls = system_calls(bench, engine, clients)
                    print(f"  {engine:9} {clients:3} clients  " + "  ".join(f"{key} {value:.2f}" for key, value in calls.items()) +
                          f"  all {sum(calls.values()):.2f}")
            print("instructions of pgleash per transaction (pgbench -S, 8 clients; callgrind; libraries included, the kernel not)")
            for mode in ("simple", "prepared"):
                print(f"  {mode:9} {instructions(bench, mode):.0f}")
            for engine in peers.OURS:
                count, messages = allocations(bench, library, engine)
                print(f"allocations of the relay's thread, {engine}: {count} during {messages} messages of 8 sessions")
        except throwaway.Failure as failure:
            print(f"profile: {failure}", file=sys.stderr)
            return 1
        finally:
            bench.server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
