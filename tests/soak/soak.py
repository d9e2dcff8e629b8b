#!/usr/bin/env python3
"""The soak of pgleash: see scripts/soak."""
from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from stage import ROOT, Stage
from crowd import Crowd, Faults
from pgwire import ConnectionLost, PgError
import throwaway

FAULT_EVERY = 6.0    # seconds
REPORT_EVERY = 15.0
SPARE_DESCRIPTORS = 2
# What may be added between the first measure and the last. A session that leaked would cost 2 KiB and two descriptors; the
# tables of names, fingerprints and buckets fill up to their bounds.
SPARE_KIB = 8 * 1024
SPARE_KIB_LATER = 2 * 1024  # and between half time and the end, when they have


@dataclass
class Measure:
    when: float
    descriptors: int
    memory: int
    backends: int
    sessions: int


class Soak:
    def __init__(self, options: argparse.Namespace):
        self.stage = Stage(options.binary)
        self.length = options.minutes * 60
        self.begun = time.monotonic()
        self.measures: list[Measure] = []
        self.faults_seen: list[str] = []

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def say(self, text: str) -> None:
        print(f"soak: {int(self.elapsed()) // 60:3}:{int(self.elapsed()) % 60:02}  {text}", flush=True)

    def measure(self, what: str) -> None:
        """With nobody there: what is held then is held for nothing."""
        if not self.crowd.pause():
            self.faults_seen.append(f"{what}: a client does not come to an end")
        gone = throwaway.wait_until(lambda: self.stage.backends() == 0 and self.stage.metric("pgleash_sessions") == 0
                                    and self.stage.metric("pgleash_silent_clients") == 0
                                    and self.stage.metric("pgleash_monitor_up") == 1, 60, 0.5)
        if not gone:
            self.faults_seen.append(f"{what}: sessions or backends are left over")
        time.sleep(3)  # the kill connection and lingering sockets go
        self.measures.append(Measure(self.elapsed(), self.stage.descriptors(), self.stage.memory(), self.stage.backends(),
                                     int(self.stage.metric("pgleash_sessions"))))
        one = self.measures[-1]
        self.say(f"{what}: {one.descriptors} descriptors, {one.memory} KiB, {one.backends} backends, {one.sessions} sessions")
        self.crowd.running.set()

    def run(self) -> None:
        self.stage.start()
        self.begun = time.monotonic()
        self.crowd = Crowd(self.stage)
        self.faults = Faults(self.stage, self.crowd)
        self.crowd.running.set()
        self.cpu_before = self.stage.cpu_seconds()
        warm = max(0.1 * self.length, min(60.0, 0.3 * self.length))
        halfway = warm + (self.length - warm) / 2
        last_report, next_fault = 0.0, FAULT_EVERY
        while self.elapsed() < self.length:
            time.sleep(0.25)
            if self.stage.pgleash.poll() is not None:
                self.faults_seen.append(f"pgleash ended by itself, status {self.stage.pgleash.returncode}")
                return
            if len(self.measures) == 0 and self.elapsed() > warm:
                self.measure("after warm-up")
            if len(self.measures) == 1 and self.elapsed() > halfway:
                self.measure("at half time")
            if self.elapsed() > next_fault:
                next_fault = self.elapsed() + FAULT_EVERY
                try:
                    self.faults.next()
                except (PgError, ConnectionLost, OSError) as error:
                    if not self.crowd.away():
                        self.faults_seen.append(f"a fault could not be played: {error!r}")
            if self.elapsed() - last_report > REPORT_EVERY:
                last_report = self.elapsed()
                self.report()
        self.measure("at the end")

    def report(self) -> None:
        tally = self.crowd.tally
        kills = sum(int(value) for labels, value in self.stage.series("pgleash_actions_total"))
        self.say(f"{tally.done['transactions']} transactions, {tally.done['logins']} logins, {kills} verdicts, "
                 f"{sum(self.faults.count.values())} faults, {len(tally.unexpected)} unexpected errors; "
                 f"{self.stage.descriptors()} descriptors, {self.stage.memory()} KiB")

    # -- the end

    def outcomes(self) -> collections.Counter:
        counted = collections.Counter()
        for labels, value in self.stage.series("pgleash_actions_total"):
            counted[labels["outcome"]] += int(value)
        return counted

    def check_audit(self) -> None:
        lines = self.stage.audit()
        intents = {line["verdict"] for line in lines if line["event"] == "intent"}
        ends = collections.Counter(line["verdict"] for line in lines if line["event"] == "outcome" and line["outcome"] != "deferred")
        without = [one for one in intents if ends[one] == 0]
        twice = [one for one in intents if ends[one] > 1]
        survived = {line["verdict"] for line in lines if line["event"] == "outcome" and line["outcome"] == "survived"}
        resolved = {line["verdict"] for line in lines if line["event"] == "resolved"}
        if without or twice:
            self.faults_seen.append(f"of {len(intents)} verdicts {len(without)} have no outcome, {len(twice)} more than one")
        if survived - resolved:
            self.faults_seen.append(f"{len(survived - resolved)} survivors were never resolved")
        for file in sorted(self.stage.home.glob("audit.jsonl*")):
            done = subprocess.run([str(self.stage.binary), "audit", "verify", str(file)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                self.faults_seen.append(f"the chain of {file.name} is broken: {done.stderr.strip()[-300:]}")
        self.verdicts = len(intents)

    def check_flat(self) -> None:
        if len(self.measures) < 3:
            self.faults_seen.append("it did not get to its end")
            return
        first, half, last = self.measures
        if last.descriptors > first.descriptors + SPARE_DESCRIPTORS:
            self.faults_seen.append(f"descriptors grew from {first.descriptors} to {last.descriptors}")
        if last.memory > first.memory + SPARE_KIB or last.memory > half.memory + SPARE_KIB_LATER:
            self.faults_seen.append(f"memory grew from {first.memory} by {half.memory} to {last.memory} KiB")
        if last.backends or last.sessions:
            self.faults_seen.append(f"{last.backends} backends and {last.sessions} sessions are left")

    def conclude(self) -> None:
        tally = self.crowd.tally
        self.check_flat()
        alive = self.stage.pgleash.poll() is None
        length = self.elapsed()
        outcomes = self.outcomes() if alive else collections.Counter()
        cpu = self.stage.cpu_seconds() - self.cpu_before if alive else 0.0
        self.crowd.stop()
        self.check_audit()
        if tally.unexpected:
            self.faults_seen.append(f"{len(tally.unexpected)} errors that nothing explains")
        row = "{:<32} {:>14} {:>14} {:>14}".format
        print()
        print(row("", "after warm-up", "half time", "at the end"))
        for name, field in (("seconds", "when"), ("open descriptors", "descriptors"), ("resident memory, KiB", "memory"),
                            ("backends of applications", "backends"), ("sessions", "sessions")):
            print(row(name, *(f"{getattr(one, field):.0f}" for one in self.measures)) if len(self.measures) == 3 else name)
        print(f"\nlength                           {length:14.0f} s, {cpu:.1f} s of CPU for pgleash")
        for name, count in sorted(tally.done.items()):
            print(f"{name:<32} {count:14}")
        print(f"{'verdicts carried out':<32} {self.verdicts:14}")
        for name, count in sorted(outcomes.items()):
            if count:
                print(f"  {name:<30} {count:14}")
        print(f"{'faults':<32} {sum(self.faults.count.values()):14}")
        for name, count in sorted(self.faults.count.items()):
            print(f"  {name:<30} {count:14}")
        print(f"{'client errors, expected':<32} {sum(tally.expected.values()):14}")
        for name, count in sorted(tally.expected.items()):
            print(f"  {name:<30} {count:14}")
        print(f"{'client errors, unexpected':<32} {len(tally.unexpected):14}")
        for line in tally.unexpected[:20]:
            print(f"  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Half an hour of churn, kills, reloads and faults; then a table.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/release/pgleash")
    options = parser.parse_args()
    if not options.binary.exists():
        print(f"soak: no program at {options.binary}: cmake --preset release && cmake --build --preset release", file=sys.stderr)
        return 2
    soak = Soak(options)
    try:
        soak.run()
        soak.conclude()
        log = soak.stage.log()
    finally:
        status = soak.stage.stop()
    if status != 0:
        soak.faults_seen.append(f"pgleash ended with status {status}")
    for fault in soak.faults_seen:
        print(f"soak: NOT FLAT: {fault}")
    if soak.faults_seen:
        print("soak: the end of pgleash's log:\n" + log[-3000:])
        return 1
    print("soak: flat")
    return 0


if __name__ == "__main__":
    sys.exit(main())
