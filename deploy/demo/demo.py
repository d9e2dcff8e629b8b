#!/usr/bin/env python3
"""The demo of pgleash: a throwaway PostgreSQL, healthy applications, and six ways to misbehave.

scripts/demo builds pgleash and calls this. Checks each of its own claims: exit status 0 only if all of them hold.
"""
from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

sys.dont_write_bytecode = True

import narration  # noqa: E402
import scenes  # noqa: E402
from narration import expect, heading, plain, say  # noqa: E402
from pgwire import ConnectionLost, PgError  # noqa: E402
from stage import Stage  # noqa: E402
from throwaway import Failure  # noqa: E402
from workers import Checkout, Notifier, Steady  # noqa: E402


def summary(stage: Stage, ended: list[scenes.Ended]) -> None:
    heading("Who was ended, why, and what became of it")
    narration.table(("application", "rule", "after", "outcome", "the client saw", "incident"),
                    [(e.application, e.rule, f"{e.after:.1f} s", e.outcome, e.client_saw, e.incident) for e in ended])
    heading(f"What http://127.0.0.1:{stage.metrics_port}/metrics says")
    for line in stage.get("/metrics")[1].splitlines():
        if line.startswith(("pgleash_actions_total{", "pgleash_rule_exempted_total{", "pgleash_session_ends_total{",
                            "pgleash_cancel_requests_total{")) and not line.endswith(" 0"):
            plain("  " + line)
    plain()


def stay(stage: Stage) -> None:
    """--keep: until Ctrl-C or SIGTERM."""
    heading("It stays up until you press Ctrl-C")
    plain(f"""  through pgleash    psql "postgres://shop:{stage.password}@127.0.0.1:{stage.port}/shop"
  directly           psql "postgres://shop:{stage.password}@127.0.0.1:{stage.postgres.port}/shop"
  as superuser       psql "postgres://postgres:{stage.postgres.password}@127.0.0.1:{stage.postgres.port}/shop"
  metrics            http://127.0.0.1:{stage.metrics_port}/metrics   /healthz   /readyz
  configuration      {stage.home}/pgleash.toml
  audit log          {stage.audit.file}

  Try:  BEGIN;  and wait for {scenes.TRANSACTION_LIMIT:.0f} seconds.
""")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        plain()


def perform(stage: Stage, keep: bool) -> None:
    say("demo", f"pgleash is {stage.binary}")
    stage.start()
    say("pgleash", f"on port {stage.port} in front of it, enforcing; metrics on port {stage.metrics_port}")
    troupe = scenes.Troupe(Checkout(stage, "checkout"), Steady(stage, "steady"), Notifier(stage, "notifier"))
    for worker in troupe.all():
        worker.start()
    for worker in troupe.all():
        worker.ready.wait(10)
        say(worker.application, (type(worker).__doc__ or "").strip())
    ended: list[scenes.Ended] = []
    for play in scenes.ALL:
        try:
            ended += play(stage, troupe)
        except (PgError, ConnectionLost, OSError) as error:  # TimeoutError is an OSError
            expect(False, f"{play.__name__.replace('_', ' ')}: {type(error).__name__}: {error}")
        if stage.pgleash.poll() is not None:
            raise Failure(f"pgleash ended with status {stage.pgleash.returncode}:\n{stage.log()[-4000:]}")
    heading("The healthy ones")
    for worker in troupe.all():
        expect(worker.is_alive() and not worker.trouble, f"{worker.application} noticed nothing of all this"
               + (f": {worker.trouble}" if worker.trouble else ""))
    expect(stage.metric("pgleash_actions_total", outcome="confirmed") == stage.audit.confirmed(),
           f"/metrics and the audit log agree: {stage.audit.confirmed()} verdicts confirmed")
    summary(stage, ended)
    try:
        if keep:
            stay(stage)
    finally:
        for worker in troupe.all():
            worker.stop()


def interrupted(*_) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the pgleash to show")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, until Ctrl-C")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    stage = Stage(options.binary.resolve())
    status = 1
    try:
        perform(stage, options.keep)
        status = 1 if narration.failures() else 0
    except KeyboardInterrupt:
        plain()
        say("demo", "interrupted: cleaning up")
        status = 130
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # from here on nothing may be left behind
        log = stage.log()
        stage.stop()
    if status == 1 and narration.failures():
        plain(narration.paint(f"{len(narration.failures())} claims do not hold:", "red"))
        for text in narration.failures():
            plain("  " + text)
        plain("The end of pgleash's log:\n" + log[-4000:])
    elif status == 0:
        say("demo", "all claims hold; nothing is left behind", "green")
    return status


if __name__ == "__main__":
    sys.exit(main())
