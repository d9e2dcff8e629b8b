"""Reads pgleash's audit log while it grows: every verdict has one line before the act and one with its outcome."""
from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from narration import say


class AuditTrail:
    """Follows the file from its own thread and says each new record aloud."""

    def __init__(self, file: Path):
        self.file = file
        self.records: list[dict] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(2)

    def outcomes(self, pid: int, rule: str) -> list[dict]:
        """What became of the verdicts of `rule` on this backend: one record each."""
        return [r for r in list(self.records) if r["event"] == "outcome" and r.get("pid") == pid and r["rule"] == rule]

    def judged_pids(self) -> set[int]:
        return {r["pid"] for r in list(self.records) if "pid" in r}

    def _follow(self) -> None:
        read = ""
        position = 0
        while not self._stopped.is_set():
            if self.file.exists():
                with self.file.open() as log:
                    log.seek(position)
                    read += log.read()
                    position = log.tell()
            *lines, read = read.split("\n")  # the last one may be unfinished
            for line in lines:
                record = json.loads(line)
                self.records.append(record)
                self._tell(record)
            time.sleep(0.02)

    @staticmethod
    def _tell(record: dict) -> None:
        who = f"{record.get('application', '?')}, backend {record.get('pid', '?')}"
        if record["event"] == "intent":
            say("pgleash", f"{record['action']}: {who}: {record['state'].replace('_', ' ')} for {record['measured_ms'] / 1000:.2f} s, "
                f"rule '{record['rule']}', incident {record['verdict']}", "yellow")
        elif record["event"] == "outcome":
            reason = record.get("exemption") or record.get("step", "").replace("_", " ")
            say("pgleash", f"{record['outcome']}: {who}" + (f" ({reason})" if reason else ""), "yellow")
