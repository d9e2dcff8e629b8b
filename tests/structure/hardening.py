#!/usr/bin/env python3
"""Checks how the program is linked: position independent, relocations read-only and bound at the start, no executable
stack, stack protector. Usage: hardening.py PROGRAM"""
import subprocess
import sys

program = sys.argv[1]


def readelf(option):
    return subprocess.run(["readelf", "-W", option, program], check=True, capture_output=True, text=True).stdout


def line_with(text, word):
    return next((line for line in text.splitlines() if word in line), "")


dynamic, segments, header = readelf("-d"), readelf("-l"), readelf("-h")
wanted = {
    "position independent": "DYN" in line_with(header, "Type:") and "PIE" in line_with(dynamic, "FLAGS_1"),
    "bound at the start": "NOW" in line_with(dynamic, "FLAGS_1"),
    "relocations read-only": "GNU_RELRO" in segments,
    "no executable stack": line_with(segments, "GNU_STACK").split()[-2:-1] == ["RW"],
    "stack protector": "__stack_chk_fail" in readelf("--dyn-syms"),
}
missing = [what for what, there in wanted.items() if not there]
if missing:
    sys.exit("not hardened: " + ", ".join(missing))
print("hardening: " + ", ".join(wanted))
