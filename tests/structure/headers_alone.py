#!/usr/bin/env python3
"""Compiles each public header on its own, with the flags of the build. Usage: headers_alone.py SOURCE_DIR BINARY_DIR

A header must bring what it needs. Syntax only; two at a time."""
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys

root, build = map(pathlib.Path, sys.argv[1:3])
commands = json.loads((build / "compile_commands.json").read_text())


def flags_of(folder):
    # Of the folder's targets the one that sees most: watchdog has a pure one beside the other.
    mine = [e for e in commands if pathlib.Path(e["file"]).parent == root / folder]
    for entry in sorted(mine, key=lambda e: -e["command"].count(" -isystem ")):
        words = shlex.split(entry["command"])
        words = words[next(i for i, w in enumerate(words) if "ccache" not in w):]
        keep, skip = [], False
        for word in words:
            if skip:
                skip = False
            elif word in ("-o", "-MF", "-MT", "-c"):
                skip = True
            elif word not in ("-MD", "-MMD", "-g") and not word.startswith("-g") and not word.startswith("-fsanitize"):
                keep.append(word)
        return keep
    sys.exit(f"no compile command for {folder}")


def compile_alone(header):
    words = flags_of(header.parent.relative_to(root)) + ["-O0", "-U_FORTIFY_SOURCE", "-fsyntax-only", "-x", "c++", "-include", str(header), "/dev/null"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    return header, done.returncode, done.stderr


headers = [h for folder in ("protocol", "config", "proxy", "watchdog", "metrics", "app", "app/console")
           for h in sorted((root / folder).glob("*.hpp"))]
bad = 0
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for header, code, errors in pool.map(compile_alone, headers):
        if code:
            bad += 1
            print(f"{header.relative_to(root)} does not compile alone:\n{errors}")
if bad:
    sys.exit(f"{bad} of {len(headers)} headers need something else first")
print(f"{len(headers)} headers compile alone")
