#!/usr/bin/env python3
"""Holds the dashboards to what Grafana and pgleash are.

    dashboards.py SOURCE_DIRECTORY

The files are what deploy/grafana/generate writes; each panel says what it shows, asks only for metrics and labels that
pgleash has, and lies beside the others; the alerts' runbooks name only dashboards and panels that are there. Whether a
panel gets data is for tests/scenario/monitoring to say.
"""

import json
import pathlib
import re
import subprocess
import sys

from promql import catalogue, faults_of

root = pathlib.Path(sys.argv[1])
known = catalogue(root)
faults = []

check = subprocess.run([sys.executable, "generate", "--check"], cwd=root / "deploy/grafana", capture_output=True, text=True)
faults += check.stdout.splitlines() + check.stderr.splitlines()

titles = {}
uids = set()
panels = 0
for path in sorted((root / "deploy/grafana/dashboards").glob("*.json")):
    dashboard = json.loads(path.read_text())
    uids.add(dashboard["uid"])
    titles[dashboard["title"].removeprefix("pgleash: ")] = {panel["title"] for panel in dashboard["panels"]}
    taken = set()
    if len({panel["title"] for panel in dashboard["panels"]}) != len(dashboard["panels"]):
        faults.append(f"{path.name}: two panels have one title")
    for panel in dashboard["panels"]:
        panels += 1
        where = f"{path.name}: {panel['title']}"
        if not panel["description"]:
            faults.append(f"{where}: no description")
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        if cells & taken or place["x"] + place["w"] > 24:
            faults.append(f"{where}: lies over another one, or beyond the edge")
        taken |= cells
        for target in panel["targets"]:
            faults += [f"{where}: {fault}" for fault in faults_of(target["expr"], known)]
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                if not re.search(rf"\b{label}\b", target["expr"]) and label not in ("instance", "server", "kind"):
                    faults.append(f"{where}: the legend's {label} is not in the query")

if len(uids) != len(titles):
    faults.append("two dashboards have one uid")

for page in (root / "docs/runbooks").glob("*.md"):
    text = " ".join(page.read_text().split())
    for title, panel in re.findall(r"[Dd]ashboard \*([^*]+)\*(?:, panel \*([^*]+)\*)?", text):
        if title not in titles:
            faults.append(f"{page.name}: there is no dashboard {title}")
        elif panel and panel not in titles[title]:
            faults.append(f"{page.name}: dashboard {title} has no panel {panel}")

for fault in faults:
    print(fault)
print(f"{len(titles)} dashboards, {panels} panels")
sys.exit(1 if faults or not panels else 0)
