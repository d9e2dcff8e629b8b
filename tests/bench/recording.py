#!/usr/bin/env python3
"""Writes a synthetic recording (docs/recording.md): recording.py FILE [--days 7] [--sessions 500] [--interval 10] [--busy 0.2]

Twenty applications with pools; in each frame a share of the sessions has worked since the one before. One application leaks
a session an hour, one forgets a transaction for ten minutes each day. To measure a replay:

    tests/bench/recording.py /tmp/week.jsonl && time pgleash replay /tmp/week.jsonl      # or replay_speed.py, which checks
"""
import argparse
import json
import random

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--days", type=float, default=7)
parser.add_argument("--sessions", type=int, default=500)
parser.add_argument("--interval", type=int, default=10, help="seconds between frames")
parser.add_argument("--busy", type=float, default=0.2, help="share of the sessions that worked since the last frame")
options = parser.parse_args()

dice = random.Random(1)
START_MS = 1_767_225_600_000
KEY_EVERY_MS = 30 * 60 * 1000
STEP_MS = options.interval * 1000
ROW, CONFIRMED = 256, 8192
FLAGS = ROW | CONFIRMED
texts = ["web", "orders", "10.0.0.7"] + [f"service-{i}" for i in range(20)] + ["leaker"]
statements = [[f"{i:016x}", f"SELECT * FROM t{i} WHERE id = $1"] for i in range(200)]


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Session:
    def __init__(self, number, application, now):
        self.number, self.application, self.connected = number, application, now
        self.state, self.since, self.statement, self.transaction = "i", now, 0, -1

    def opened(self):
        return [self.number, 1000 + self.number, 0, 1, self.application, self.application, 2, 20000 + self.number % 40000,
                self.connected, 0]

    def whole(self):
        return [self.number, self.state, self.since, self.statement, 0, self.transaction, -1, -1, FLAGS]


pool = [Session(i + 1, 3 + i % 20, -3_600_000) for i in range(options.sessions)]
leaked = []
forgetful = pool[0]
frames = int(options.days * 86400 / options.interval)
with open(options.file, "w") as out:
    out.write(dump({"pgleash_recording": 1, "server": "bench", "source": "record", "run": "bench", "started_ms": START_MS,
                    "interval_ms": STEP_MS}) + "\n")
    for frame in range(frames):
        now = frame * STEP_MS
        line = {"t": now}
        changes = []
        opened = []
        for session in dice.sample(pool[1:], int(len(pool) * options.busy)):
            session.since = now - dice.randrange(STEP_MS)
            if dice.random() < 0.3:
                session.statement = dice.randrange(len(statements))
                changes.append([session.number, "i", session.since, session.statement])
            else:
                changes.append([session.number, "i", session.since])
        day = now % 86_400_000
        if day == 36_000_000:
            forgetful.state, forgetful.since, forgetful.transaction = "t", now, 0
            changes.append(forgetful.whole())
        elif day == 36_600_000:
            forgetful.state, forgetful.since, forgetful.transaction = "i", now, -1
            changes.append(forgetful.whole())
        if frame % (3600 // options.interval) == 0 and len(leaked) < 80:
            leaked.append(Session(options.sessions + len(leaked) + 1, 23, now))
            opened.append(leaked[-1].opened())
            changes.append(leaked[-1].whole())
        if now % KEY_EVERY_MS == 0:
            everybody = pool + leaked
            line |= {"k": 1, "m": [650, 3, 9, 0, 1, 0, 1], "s": texts, "q": statements, "o": [s.opened() for s in everybody],
                     "c": [s.whole() for s in everybody]}
        else:
            if opened:
                line["o"] = opened
            line["c"] = changes
        out.write(dump(line) + "\n")
