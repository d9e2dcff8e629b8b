#!/usr/bin/env python3
"""Rejects an #include that the layering forbids (docs/internals.md). Usage: layering.py SOURCE_DIR"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
FOLDERS = ("protocol", "config", "proxy", "watchdog", "metrics", "app/console", "app/notify", "app")
# What each folder may include of the others, beside itself.
MAY = {
    "protocol": (),
    "config": (),
    "proxy": ("protocol/", "config/"),
    "watchdog": ("protocol/", "config/", "proxy/session_view.hpp", "proxy/kill_order.hpp", "proxy/session_directory.hpp",
                 "proxy/leg_journal.hpp"),
    "metrics": ("protocol/", "config/", "proxy/session_view.hpp", "proxy/kill_order.hpp", "proxy/counters.hpp",
                "watchdog/"),
    "app/console": ("protocol/", "config/", "proxy/", "watchdog/"),
    "app/notify": ("protocol/", "config/", "watchdog/"),
    "app": ("protocol/", "config/", "proxy/", "watchdog/", "metrics/"),
}
# Third-party headers a folder may see. `headers` for those that must stay out of its .hpp files.
THIRD = {
    "protocol": (),
    "config": (),
    "proxy": ("boost/", "openssl/", "fmt/"),
    "watchdog": ("boost/", "libpq-fe.h", "fmt/", "re2/", "pg_query.h", "openssl/"),
    "metrics": ("boost/", "prometheus/", "fmt/"),
    "app/console": ("boost/", "fmt/"),
    "app/notify": ("boost/", "openssl/", "fmt/"),
    "app": ("boost/", "spdlog/", "fmt/", "CLI/", "prometheus/", "libpq-fe.h", "openssl/"),
}
ONLY_CPP = {"config": ("toml++/", "re2/", "fmt/"), "proxy": ("re2/", "liburing.h"), "app/console": ("re2/",), "app": ("systemd/",)}
# The pure files of watchdog decide and do nothing else: no socket, no thread, no libpq, no clock.
PURE = {"activity", "shared", "snapshot", "session_book", "rule_engine", "exemptions", "verdict", "termination_plan",
        "evidence", "session_evidence", "leak_endings", "brake", "kill_pace", "fuse_box",
        "message", "status", "confirmation", "cost", "cost_meter", "cost_rule", "proc_text",
        "locks", "blocking_tree", "blocking_rule", "group_rule", "finding", "running_statements",
        "by_hand", "recent_actions", "orphans", "direct_sessions", "explain", "ledger", "server_advice",
        "nameless", "utf8", "recording", "leak_input", "leak_scale", "gap_history", "robust_slope",
        "leak_judgement", "leak_detector", "leak_feed", "leak_watch", "leak_status", "forecast", "quota_forecast"}
PURE_THIRD = ("fmt/", "re2/", "pg_query.h", "boost/json/")
POSIX = re.compile(r"^(dirent\.h|sys/|netinet/|arpa/|unistd\.h|fcntl\.h|poll\.h|signal\.h|errno\.h|linux/|netdb\.h|pwd\.h|glob\.h|termios\.h|malloc\.h)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

faults = []
for folder in FOLDERS:
    for path in sorted((ROOT / folder).rglob("*.?pp")):
        if any(inner.startswith(folder + "/") and str(path.relative_to(ROOT)).startswith(inner + "/") for inner in FOLDERS):
            continue  # has rules of its own
        pure = folder in ("protocol", "config") or (folder == "watchdog" and path.stem in PURE)
        for quote, name in INCLUDE.findall(path.read_text()):
            where = f"{path.relative_to(ROOT)}: #include {name}"
            if quote == '"':
                if not name.startswith((folder + "/", *MAY[folder])):
                    faults.append(f"{where}: {folder} may not see it")
                continue
            if "/" not in name and not name.endswith(".h"):
                if pure and name in ("thread", "mutex", "future", "condition_variable", "iostream"):
                    faults.append(f"{where}: a pure file has no {name}")
                continue
            allowed = THIRD[folder] if folder != "watchdog" or path.stem not in PURE else PURE_THIRD
            if path.suffix == ".cpp":
                allowed = allowed + ONLY_CPP.get(folder, ())
            if POSIX.match(name):
                if pure and not (folder == "config" and path.suffix == ".cpp"):
                    faults.append(f"{where}: a pure file makes no system call")
            elif not name.startswith(allowed) if allowed else True:
                faults.append(f"{where}: {folder} may not use it")

if faults:
    print("\n".join(faults))
    sys.exit(f"{len(faults)} forbidden include(s)")
print("layering: every include is allowed")
