#!/usr/bin/env python3
"""A short run of pgleash_leak_quality on the tuning seeds must stay near the goals. Usage: check_quality.py PROGRAM"""
import re
import subprocess
import sys

out = subprocess.run([sys.argv[1], "--weeks", "168", "--leaks", "70", "--seeds", "tuning"],
                     check=True, capture_output=True, text=True).stdout
row = re.search(r"\| \*\*pgleash\*\* \| ([0-9.]+) \| (\d+) of (\d+) \|.*\| (\d+) \| [0-9.]+ \(", out)
recall, early, leaks, alarms = float(row[1]), int(row[2]), int(row[3]), int(row[4])
print(out)
if recall < 0.97 or early < 0.85 * leaks or alarms > 1:
    sys.exit(f"recall {recall}, before half {early} of {leaks}, false alarms {alarms}: worse than it was")
