#!/usr/bin/env python3
"""Checks how the program was compiled and linked: position independent, relocations read-only and bound at the start, no
executable stack; stack protector, stack clash protection, fortified calls, landing marks for indirect jumps.
Usage: hardening.py PROGRAM"""
import platform
import subprocess
import sys
from pathlib import Path

program = sys.argv[1]


def readelf(option):
    return subprocess.run(["readelf", "-W", option, program], check=True, capture_output=True, text=True).stdout


def line_with(text, word):
    return next((line for line in text.splitlines() if word in line), "")


dynamic, segments, header, symbols = readelf("-d"), readelf("-l"), readelf("-h"), readelf("--dyn-syms")
# The compiler writes its flags into what debuggers read.
flags = subprocess.run(["readelf", "-W", "-p", ".debug_str", program], check=True, capture_output=True, text=True,
                       errors="replace").stdout
wanted = {
    "position independent": "DYN" in line_with(header, "Type:") and "PIE" in line_with(dynamic, "FLAGS_1"),
    "bound at the start": "NOW" in line_with(dynamic, "FLAGS_1"),
    "relocations read-only": "GNU_RELRO" in segments,
    "no executable stack": line_with(segments, "GNU_STACK").split()[-2:-1] == ["RW"],
    "stack protector": "__stack_chk_fail" in symbols and "-fstack-protector-strong" in flags,
    "stack clash protection": "-fstack-clash-protection" in flags,
    "fortified": "_chk@GLIBC" in symbols,
}
if platform.machine() == "x86_64":
    endbr64 = b"\xf3\x0f\x1e\xfa"
    wanted["landing marks"] = "-fcf-protection" in flags and Path(program).read_bytes().count(endbr64) > 1000
missing = [what for what, there in wanted.items() if not there]
if missing:
    sys.exit("not hardened: " + ", ".join(missing))
print("hardening: " + ", ".join(wanted))
