#!/usr/bin/env python3
"""Holds alerts, their tests and their runbooks together.

    alerts.py SOURCE_DIRECTORY

Each alert of deploy/prometheus/pgleash.rules.yml has a severity, a summary, a description and a runbook page with its
four parts; a file of tests of its own that shows it firing, not firing, and resolving; and asks only for metrics and
labels that pgleash has. No test, page or metric name is left over from an alert that is gone.
"""

import pathlib
import re
import sys

import yaml

from promql import catalogue, faults_of

root = pathlib.Path(sys.argv[1])
rules_file = root / "deploy/prometheus/pgleash.rules.yml"
tests = root / "deploy/prometheus/tests"
runbooks = root / "docs/runbooks"
parts = ["## What it means", "## First look", "## What to do", "## How to silence"]
faults = []

known = catalogue(root)


def check_expression(where, expression):
    faults.extend(f"{where}: {fault}" for fault in faults_of(expression, known))


def check_tests(alert, file):
    if not file.exists():
        faults.append(f"{alert}: no tests in {file.relative_to(root)}")
        return
    fires = quiet_only = resolves = False
    for test in yaml.safe_load(file.read_text())["tests"]:
        seen = []
        for step in test["alert_rule_test"]:
            if step["alertname"] != alert:
                faults.append(f"{file.name}: tests {step['alertname']}, which has a file of its own")
            seen.append(bool(step.get("exp_alerts")))
        fires |= any(seen)
        quiet_only |= not any(seen)
        resolves |= any(before and not after for before, after in zip(seen, seen[1:]))
    for has, what in ((fires, "firing"), (quiet_only, "not firing at all"), (resolves, "resolving")):
        if not has:
            faults.append(f"{alert}: no test shows it {what}")


def check_page(alert, rule):
    page = runbooks / f"{alert}.md"
    if rule["annotations"].get("runbook_url") != f"docs/runbooks/{alert}.md":
        faults.append(f"{alert}: runbook_url is not docs/runbooks/{alert}.md")
    if not page.exists():
        faults.append(f"{alert}: no runbook {page.relative_to(root)}")
        return
    text = page.read_text()
    if not text.startswith(f"# {alert}\n"):
        faults.append(f"{page.name}: its title is not the alert's name")
    places = [text.find(f"\n{part}\n") for part in parts]
    if -1 in places or places != sorted(places):
        faults.append(f"{page.name}: wants the parts {', '.join(parts)}, in that order")
    for metric in re.findall(r"`((?:pgleash|process)_[a-z_]+)", text):
        if metric not in known and metric != "pgleash_monitor":
            faults.append(f"{page.name}: there is no metric {metric}")


alerts = set()
for group in yaml.safe_load(rules_file.read_text())["groups"]:
    for rule in group["rules"]:
        alert = rule["alert"]
        if rule["labels"].get("severity") not in ("warning", "critical"):
            faults.append(f"{alert}: severity is neither warning nor critical")
        for annotation in ("summary", "description"):
            if not rule["annotations"].get(annotation):
                faults.append(f"{alert}: no {annotation}")
        check_expression(alert, rule["expr"])
        check_expression(alert, rule["annotations"]["description"].replace('=\\"', "="))
        check_page(alert, rule)
        if alert not in alerts:
            check_tests(alert, tests / f"{alert}.yml")
        alerts.add(alert)

for left_over in [*tests.glob("*.yml"), *(page for page in runbooks.glob("*.md") if page.stem != "README")]:
    if left_over.stem not in alerts:
        faults.append(f"{left_over.relative_to(root)}: there is no such alert")

for fault in faults:
    print(fault)
print(f"{len(alerts)} alerts")
sys.exit(1 if faults or not alerts else 0)
