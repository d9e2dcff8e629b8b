"""What the demo says: one line at a time, with the seconds since the start; in colour only where somebody looks."""
from __future__ import annotations

import os
import sys
import textwrap
import threading
import time

_started = time.monotonic()
_lock = threading.Lock()
_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

CODES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "plain": "0"}
#: Who speaks decides the colour, so that pgleash's lines stand out from the applications'.
SPEAKERS = {"pgleash": "yellow", "PostgreSQL": "cyan"}


def paint(text: str, style: str) -> str:
    return f"\033[{CODES[style]}m{text}\033[0m" if _colour and style != "plain" else text


def elapsed() -> float:
    return time.monotonic() - _started


def _line(text: str) -> None:
    with _lock:
        print(text, flush=True)


def say(who: str, text: str, style: str = "plain") -> None:
    """`who` does or says `text`. Further lines of the text are set below the first."""
    first, *more = text.split("\n")
    speaker = paint(f"{who:<15}", SPEAKERS.get(who, "bold"))
    lines = [f"{paint(f'{elapsed():6.1f} s', 'dim')}  {speaker} {paint(first, style)}"]
    lines += [" " * 26 + paint(line, style) for line in more]
    _line("\n".join(lines))


def scene(number: int, title: str, story: str) -> None:
    _line("\n" + paint(f"── {number}  {title} " + "─" * max(0, 100 - len(title)), "bold"))
    _line(textwrap.fill(story, 104, initial_indent="   ", subsequent_indent="   ") + "\n")


def heading(title: str) -> None:
    _line("\n" + paint(f"── {title} " + "─" * max(0, 103 - len(title)), "bold"))


def plain(text: str = "") -> None:
    _line(text)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    _line("  " + paint("  ".join(cell.ljust(w) for cell, w in zip(header, widths)).rstrip(), "dim"))
    for row in rows:
        _line("  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip())


_failed: list[str] = []


def expect(holds: object, text: str) -> bool:
    """A claim that the demo checks itself. Those that fail make it exit with status 1."""
    if not holds:
        _failed.append(text)
    say("ok" if holds else "NOT SO", text, "green" if holds else "red")
    return bool(holds)


def failures() -> list[str]:
    return _failed
