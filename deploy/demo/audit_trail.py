"""Reads pgleash's audit log while it grows: every verdict has one line before the act and one with its outcome."""
from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from narration import say


#: What was judged, in the words of the client's error.
JUDGED = {"idle": "idle", "idle_in_transaction": "idle in transaction", "statement": "running",
          "transaction_age": "transaction open"}


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
        if self._thread.is_alive():
            self._thread.join(2)

    def outcomes(self, pid: int, rule: str) -> list[dict]:
        """What became of the verdicts of `rule` on this backend: one record each."""
        return [r for r in list(self.records) if r["event"] == "outcome" and r.get("pid") == pid and r["rule"] == rule]

    def confirmed(self) -> int:
        return sum(r.get("outcome") == "confirmed" for r in list(self.records))

    def has_told(self, pid: int) -> bool:
        return any(r.get("pid") == pid and r["event"] == "intent" for r in list(self.records))

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
                self._tell(record)
                self.records.append(record)
            time.sleep(0.01)

    @staticmethod
    def _tell(record: dict) -> None:
        who = f"{record.get('application', '?')}, backend {record.get('pid', '?')}"
        if record["event"] == "intent":
            what = f"{JUDGED.get(record['kind'], record['kind'])} for {record['measured_ms'] / 1000:.2f} s"
            say("pgleash", f"{record['action']}: {who}: {what}, "
                f"rule '{record['rule']}', incident {record['verdict']}", "yellow")
        elif record["event"] == "outcome":
            reason = record.get("exemption") or record.get("step", "").replace("_", " ")
            say("pgleash", f"{record['outcome']}: {who}" + (f" ({reason})" if reason else ""), "yellow")
