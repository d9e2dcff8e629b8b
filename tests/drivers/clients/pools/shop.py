"""A service with eight workers and a day and night of seconds, over whatever pool it is given.

The program's arguments: APPLICATION DAY LEAK_EVERY LEAK_AFTER, in seconds; LEAK_EVERY 0: it gives back all it takes. It
prints `open` after its first request, runs until its input ends, and prints what it did.
"""
import math
import os
import sys
import threading
import time
import traceback

WORKERS = 8
MOST_LOST = 40
APPLICATION = sys.argv[1]
DAY, LEAK_EVERY, LEAK_AFTER = (float(word) for word in sys.argv[2:5])

GOOD = "select relname from pg_class where oid = 4711 /*controller='orders',route='%2Forders'*/"
BAD = "select nspname from pg_namespace where oid = 4711 /*controller='refunds',route='%2Frefunds'*/"


def run(serve, lose) -> None:
    """`serve` answers one request, `lose` another, whose error path forgets to give its session back."""
    started, stop = time.monotonic(), threading.Event()
    count = {"requests": 0, "lost": 0}

    def worker(number: int) -> None:
        while not stop.wait(0.1):
            load = 0.5 - 0.5 * math.cos(2 * math.pi * (time.monotonic() - started) / DAY)
            if number <= 7 * load:
                serve()
                count["requests"] += 1

    def leaker() -> None:
        stop.wait(LEAK_AFTER)
        while not stop.wait(LEAK_EVERY) and count["lost"] < MOST_LOST:
            lose()
            count["lost"] += 1

    def guarded(work, *arguments) -> threading.Thread:
        def body() -> None:
            try:
                work(*arguments)
            except Exception:
                traceback.print_exc(file=sys.stdout)
                sys.stdout.flush()
                os._exit(1)
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread

    serve()
    print("open", flush=True)
    threads = [guarded(worker, number) for number in range(WORKERS)]
    if LEAK_EVERY:
        threads.append(guarded(leaker))
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(f"{count['requests']} requests, {count['lost']} lost", flush=True)
    os._exit(0)  # no farewell to the sessions that nobody has
