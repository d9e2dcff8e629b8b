#!/usr/bin/env python3
"""How fast a week of 500 sessions replays: replay_speed.py PGLEASH [--days 7]

Writes a recording by recording.py, replays it as on a terminal, and prints what it took. Exit status 1 when a week at this
pace would need a minute of CPU or more, when the forgotten transactions of the recording (of a whole week: its leak too) were
not found, or when nobody was told how far it is.
"""
import argparse
import json
import os
import pty
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

A_WEEK = 60.0  # seconds of CPU
WORTH_A_BAR = 1.0  # seconds by the clock

parser = argparse.ArgumentParser()
parser.add_argument("pgleash")
parser.add_argument("--days", type=float, default=7)
options = parser.parse_args()


def read_all(terminal: int, into: list[bytes]) -> None:
    """Until the other end is closed, which a terminal tells by an error."""
    try:
        while piece := os.read(terminal, 4096):
            into.append(piece)
    except OSError:
        pass


with tempfile.TemporaryDirectory(prefix="pgleash-replay-") as folder:
    recording = Path(folder) / "recording.jsonl"
    subprocess.run([sys.executable, str(Path(__file__).with_name("recording.py")), str(recording), "--days", str(options.days)],
                   check=True)
    size = recording.stat().st_size
    terminal, end = pty.openpty()
    drawn: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(terminal, drawn))
    reader.start()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run([options.pgleash, "replay", str(recording), "--json"], stdout=subprocess.PIPE, stderr=end, check=False)
    clock = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.close(end)
    reader.join()
    os.close(terminal)
bar = b"".join(drawn)
if done.returncode != 0:
    sys.exit(f"replay ended with status {done.returncode}: {bar.decode(errors='replace')}")
found = json.loads(done.stdout)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(f"{options.days:g} days of 500 sessions: {size / 1e6:.0f} MB, {found['frames']} frames, {cpu:.1f} s of CPU, "
      f"{clock:.1f} s by the clock")
if options.days >= 7 and [leak["application"] for leak in found["leaks"]] != ["leaker"]:
    sys.exit(f"not the leaker alone: {json.dumps(found['leaks'])}")
forgotten = sum(row["would_act"] for row in found["would_act"] if row["rule"] == "default-idle-in-transaction")
if forgotten != round(options.days):
    sys.exit(f"{forgotten} forgotten transactions, one a day there are")
if clock > WORTH_A_BAR and not (b"\r[#" in bar and b" %" in bar and bar.endswith(b"\r\x1b[K")):
    sys.exit(f"how far it is was not told, or not taken away again: {bar!r}")
if cpu >= A_WEEK * options.days / 7:
    sys.exit(f"a week would take {cpu * 7 / options.days:.0f} s of CPU")
