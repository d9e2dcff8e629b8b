"""What the dashboards show: one table of panels each. `generate` turns them into Grafana's JSON.

$instance and $server are the dashboards' variables. Queries keep the instance where two replicas before one server would
otherwise count the same thing twice.
"""

from dataclasses import dataclass, field

I = 'instance=~"$instance"'
S = I + ',server=~"$server"'
RATE = "[$__rate_interval]"


@dataclass
class Panel:
    title: str
    description: str
    queries: list                  # (expression, legend)
    kind: str = "timeseries"       # timeseries | stat | bargauge
    unit: str = "short"
    width: int = 12
    height: int = 8
    stacked: bool = False
    floor: bool = True             # the axis begins at 0
    thresholds: list = field(default_factory=list)   # (value, colour)
    may_be_empty: str = ""         # why a healthy system may have no data for it


@dataclass
class Dashboard:
    name: str
    title: str
    description: str
    panels: list
    since: str = "now-6h"


def stat(title, description, expression, legend, **more):
    return Panel(title, description, [(expression, legend)], kind="stat", width=more.pop("width", 6), height=4, **more)


def quantiles(histogram, by="server", of=S):
    return [(f"histogram_quantile({q}, sum by (le, {by}) (rate({histogram}_bucket{{{of}}}{RATE})))",
             f"p{round(q * 100)} {{{{{by}}}}}") for q in (0.5, 0.95, 0.99)]


OVERVIEW = Dashboard("overview", "Overview", "Is anything wrong, and whose is it?", [
    stat("Leaked sessions", "Sessions that applications opened and never used again.",
         f"sum(pgleash_leak_suspect_sessions{{{S}}})", "leaked", thresholds=[(1, "orange"), (20, "red")]),
    stat("Time until the slots are gone", "If the leaks that stand go on; ∞ when there is none.",
         f"min(pgleash_exhaustion_forecast_seconds{{{S}}})", "left", unit="s", thresholds=[(0, "red"), (1800, "orange"), (14400, "green")]),
    stat("Blocked sessions", "They wait for a lock now.",
         f"sum(max by (server) (pgleash_blocked_sessions{{{S}}}))", "blocked", thresholds=[(1, "orange"), (5, "red")]),
    stat("Ended in the last hour", "Sessions and statements that rules ended, confirmed.",
         f'sum(increase(pgleash_actions_total{{{I},outcome="confirmed"}}[1h]))', "ended", thresholds=[(1, "blue")]),
    Panel("Slots of the server", "Taken through pgleash, directly, and by orphans; the line is what ordinary users can have.",
          [(f'pgleash_server_connection_slots{{{S},kind=~"used_.*"}}', "{{server}} {{kind}}"),
           (f'pgleash_server_connection_slots{{{S},kind="max"}} - ignoring (kind) pgleash_server_connection_slots{{{S},kind="reserved"}}',
            "{{server}} available")]),
    Panel("Sessions by state", "Of all applications through pgleash.",
          [(f"sum by (state) (pgleash_sessions{{{S}}})", "{{state}}")], stacked=True),
    Panel("Sessions by application", "The ten with the most.",
          [(f"topk(10, sum by (application) (pgleash_sessions{{{S}}}))", "{{application}}")]),
    Panel("What rules did", "Verdicts a second by outcome; `observed` is what would have been ended.",
          [(f"sum by (outcome) (rate(pgleash_actions_total{{{I}}}{RATE}))", "{{outcome}}")], unit="ops"),
    Panel("Bytes relayed", "In both directions.",
          [(f"sum by (server, direction) (rate(pgleash_relay_bytes_total{{{S}}}{RATE}))", "{{server}} {{direction}}")], unit="Bps"),
    Panel("How sessions ended", "A second, by cause.",
          [(f"sum by (cause) (rate(pgleash_session_ends_total{{{S}}}{RATE}))", "{{cause}}")], unit="ops"),
])

APPLICATIONS = Dashboard("applications", "Applications", "Who uses how much, the most wasteful first.", [
    Panel("Waste: transactions left idle", "How many at a time, on the average: each holds locks and a snapshot for nothing.",
          [(f"topk(10, sum by (application) (rate(pgleash_idle_in_transaction_seconds_total{{{S}}}{RATE})))", "{{application}}")],
          kind="bargauge", thresholds=[(1, "orange"), (5, "red")]),
    Panel("Waste: sessions idle for over ten minutes", "Slots that nobody uses.",
          [(f'topk(10, sum by (application) (pgleash_sessions_over_age{{{S},state="idle",threshold_seconds="600"}}))', "{{application}}")],
          kind="bargauge", thresholds=[(10, "orange"), (50, "red")]),
    Panel("Transactions left idle", "The same over time.",
          [(f"sum by (application) (rate(pgleash_idle_in_transaction_seconds_total{{{S}}}{RATE}))", "{{application}}")]),
    Panel("Results that nobody reads", "How many at a time wait for their client, on the average.",
          [(f"sum by (application) (rate(pgleash_client_stalled_seconds_total{{{S}}}{RATE}))", "{{application}}")]),
    Panel("Sessions", "By application.",
          [(f"sum by (application) (pgleash_sessions{{{S}}})", "{{application}}")], stacked=True),
    Panel("Bytes sent", "By the server to the sessions of each application.",
          [(f"sum by (application) (rate(pgleash_sent_bytes_total{{{S}}}{RATE}))", "{{application}}")], unit="Bps"),
    Panel("Oldest state", "Since when the oldest session is in its state; of `active`, its statement.",
          [(f"max by (application, state) (pgleash_oldest_session_state_seconds{{{S}}})", "{{application}} {{state}}")], unit="s"),
    Panel("What rules did to it", "Verdicts a second.",
          [(f"sum by (application, outcome) (rate(pgleash_application_actions_total{{{I}}}{RATE}))", "{{application}} {{outcome}}")],
          unit="ops"),
    Panel("CPU of its backends", "With a rule of kind cpu_time, cpu_share, memory, read_rate or write_rate, on the server's own host.",
          [(f"sum by (application) (rate(pgleash_backend_cpu_seconds_total{{{S}}}{RATE}))", "{{application}}")], unit="short",
          may_be_empty="without a rule that measures processes, or away from the server's host, nobody knows"),
    Panel("Largest memory of a backend", "Without shared buffers; where it is measured, as beside.",
          [(f"max by (application) (pgleash_backend_anonymous_memory_bytes{{{S}}})", "{{application}}")], unit="bytes",
          may_be_empty="as the CPU of its backends"),
    Panel("Temporary files", "On the server's disk now. With a rule of kind temp_bytes.",
          [(f"sum by (application) (pgleash_temp_bytes{{{S}}})", "{{application}}")], unit="bytes",
          may_be_empty="without a rule of kind temp_bytes nobody asks, and most of the time nobody spills"),
    Panel("Users", "Sessions by user.", [(f"sum by (user) (pgleash_user_sessions{{{S}}})", "{{user}}")]),
])

LEAKS = Dashboard("leaks", "Leaks", "A leak is a floor that rises and is made of sessions that nobody uses.", [
    Panel("Floor against total", "Solid pools: the floor stays. A leak: it rises, and the total with it.",
          [(f"sum by (application) (pgleash_leak_floor_sessions{{{S}}})", "{{application}} floor"),
           (f"sum by (application) (pgleash_sessions{{{S}}})", "{{application}} total")]),
    Panel("Leaked sessions", "Those that the growth is made of, not used since.",
          [(f"sum by (application) (pgleash_leak_suspect_sessions{{{S}}})", "{{application}}")]),
    Panel("Growth of the floor", "Robust slope, in sessions an hour; leak or not.",
          [(f"sum by (application) (pgleash_leak_growth_sessions_per_second{{{S}}}) * 3600", "{{application}}")], floor=False),
    Panel("Time until the slots are gone", "If the leaks that stand go on. No line: no leak.",
          [(f"min by (server, scope) (pgleash_exhaustion_forecast_seconds{{{S}}})", "{{server}} {{scope}}")], unit="s",
          thresholds=[(0, "red"), (1800, "orange"), (14400, "green")]),
    Panel("Idle for long", "Sessions that did nothing for ten minutes.",
          [(f'sum by (application) (pgleash_sessions_over_age{{{S},state="idle",threshold_seconds="600"}})', "{{application}}")]),
    Panel("Leaks found and over", "In the time shown.",
          [(f"sum by (application) (pgleash_leaks_detected_total{{{S}}})", "{{application}} found"),
           (f"sum by (application) (pgleash_leaks_cleared_total{{{S}}})", "{{application}} over")]),
], since="now-24h")

ACTIONS = Dashboard("actions", "Actions", "From match to outcome, for each rule.", [
    Panel("Sessions over a limit now", "By rule, whatever becomes of them.",
          [(f"sum by (rule) (pgleash_rule_matching_sessions{{{I}}})", "{{rule}}")]),
    Panel("Exempted", "Verdicts a second that an exemption stopped.",
          [(f"sum by (rule, exemption) (rate(pgleash_rule_exempted_total{{{I}}}{RATE}))", "{{rule}}: {{exemption}}")], unit="ops"),
    Panel("Deferred and fused", "Sessions that wait for their turn, or for a fuse.",
          [(f"sum by (server) (pgleash_deferred_sessions{{{S}}})", "{{server}} waiting"),
           (f"sum by (scope) (rate(pgleash_pace_deferred_total{{{I}}}{RATE}))", "deferred a second by the pace of {{scope}}")]),
    Panel("Acted", "Verdicts a second by rule and outcome.",
          [(f'sum by (rule, outcome) (rate(pgleash_actions_total{{{I},outcome!~"exempted|deferred|fused"}}{RATE}))',
            "{{rule}}: {{outcome}}")], unit="ops"),
    Panel("Confirmed in the time shown", "By rule: sessions that are proven gone, statements that stopped.",
          [(f'sum by (rule) (increase(pgleash_actions_total{{{I},outcome="confirmed"}}[$__range]))', "{{rule}}")], kind="bargauge"),
    Panel("Would have been ended, in the time shown", "By rule: what observe mode let be.",
          [(f'sum by (rule) (increase(pgleash_actions_total{{{I},outcome="observed"}}[$__range]))', "{{rule}}")], kind="bargauge"),
    Panel("Not as it should be", "Verdicts a second: backends that survived, that nobody could verify, refused by the server.",
          [(f'sum by (rule, outcome) (rate(pgleash_actions_total{{{I},outcome=~"survived|unverified|denied|error"}}{RATE}))',
            "{{rule}}: {{outcome}}")], unit="ops"),
    Panel("Suspects that came back", "By what was left of the limit: many at `over_limit` or `within_5_percent` mean a limit too short.",
          [(f"sum by (rule, margin) (rate(pgleash_rule_recovered_total{{{I}}}{RATE}))", "{{rule}}: {{margin}}")], unit="ops"),
    Panel("From verdict to outcome", "By action.", quantiles("pgleash_action_duration_seconds", "action", I), unit="s"),
    Panel("Old and exempt", "Sessions over a limit that an exemption spares now.",
          [(f"sum by (exemption) (pgleash_exempt_sessions_over_age{{{S}}})", "{{exemption}}")],
          may_be_empty="only while somebody is spared"),
    Panel("Fuses", "Open now, by what made them trip.", [(f"sum by (fuse) (pgleash_fuse_open{{{I}}})", "{{fuse}}")]),
    Panel("Enforcement", "1: enforce mode, paused by hand, held off after a start, a reload or a failover.",
          [(f'max(pgleash_enforcement_mode{{{I},mode="enforce"}})', "enforce"),
           (f"max(pgleash_enforcement_paused{{{I}}})", "paused"),
           (f"max by (reason) (pgleash_enforcement_held{{{S}}})", "held: {{reason}}")]),
])

BLOCKING = Dashboard("blocking", "Blocking", "Who waits for locks, and for whom.", [
    Panel("Blocked", "Sessions that wait for a lock, direct ones too.",
          [(f"max by (server) (pgleash_blocked_sessions{{{S}}})", "{{server}}")], thresholds=[(5, "red")]),
    Panel("Roots", "Those whom the others wait for in the end: sessions and prepared transactions.",
          [(f"max by (server) (pgleash_blocking_sessions{{{S}}})", "{{server}}")]),
    Panel("Longest wait", "For a lock, now.",
          [(f"max by (server) (pgleash_longest_block_seconds{{{S}}})", "{{server}}")], unit="s", thresholds=[(60, "red")]),
    Panel("Roots by application", "As far as they come through pgleash.",
          [(f"sum by (application) (pgleash_blocker_sessions{{{S}}})", "{{application}}")],
          may_be_empty="only while an application blocks others"),
    Panel("Sessions idle in transaction", "The usual suspects.",
          [(f'sum by (application) (pgleash_sessions{{{S},state=~"idle in transaction.*"}})', "{{application}}")]),
    Panel("Active for over a minute", "Statements that may hold strong locks.",
          [(f'sum by (application) (pgleash_sessions_over_age{{{S},state="active",threshold_seconds="60"}})', "{{application}}")]),
], since="now-1h")

TRANSACTIONS = Dashboard("transactions", "Transactions", "What holds back VACUUM, and what takes long.", [
    Panel("Idle in transaction", "Sessions, failed transactions included.",
          [(f'sum by (application, state) (pgleash_sessions{{{S},state=~"idle in transaction.*"}})', "{{application}} {{state}}")]),
    Panel("Oldest idle transaction", "By application.",
          [(f'max by (application) (pgleash_oldest_session_state_seconds{{{S},state=~"idle in transaction.*"}})', "{{application}}")],
          unit="s", thresholds=[(600, "red")]),
    Panel("Length of transactions", "That had more than one statement, or were left open.",
          quantiles("pgleash_transaction_duration_seconds"), unit="s"),
    Panel("Length of statements", "From the request until the server is ready for the next one.",
          quantiles("pgleash_statement_duration_seconds"), unit="s"),
    Panel("What holds back VACUUM", "Age of the oldest transaction id that must be respected, by who holds it.",
          [(f"max by (server, holder) (pgleash_xmin_horizon_age_transactions{{{S}}})", "{{server}} {{holder}}")]),
    Panel("Prepared transactions", "For a two-phase commit, neither committed nor rolled back.",
          [(f"max by (server) (pgleash_prepared_transactions{{{S}}})", "{{server}}")]),
    Panel("Oldest prepared transaction", "pgleash never ends one.",
          [(f"max by (server) (pgleash_oldest_prepared_transaction_seconds{{{S}}})", "{{server}}")], unit="s", thresholds=[(3600, "red")]),
    Panel("Replication slots that nobody reads", "They keep WAL, and row versions.",
          [(f"max by (server) (pgleash_inactive_replication_slots{{{S}}})", "{{server}}")]),
    Panel("Errors of the server", "A second, by class of SQLSTATE.",
          [(f"sum by (sqlstate_class) (rate(pgleash_server_errors_total{{{S}}}{RATE}))", "{{sqlstate_class}}")], unit="ops"),
    Panel("Length of sessions", "Of those that ended.", quantiles("pgleash_session_duration_seconds"), unit="s"),
])

HEALTH = Dashboard("health", "Health of pgleash", "Whether pgleash itself is well.", [
    stat("Up", "Instances that can be scraped.", f'sum(up{{{I},job="pgleash"}})', "up", thresholds=[]),
    stat("Monitors up", "Servers that pgleash can look into.", f"sum(pgleash_monitor_up{{{S}}})", "up"),
    stat("Configuration", "1: the last load was taken.", f"min(pgleash_config_last_reload_successful{{{I}}})", "taken"),
    stat("Audit errors in an hour", "Lines that could not be written: no line, no kill.",
         f"sum(increase(pgleash_audit_write_errors_total{{{I}}}[1h]))", "errors", thresholds=[(1, "red")]),
    Panel("CPU", "In cores.", [(f'rate(process_cpu_seconds_total{{{I},job="pgleash"}}{RATE})', "{{instance}}")]),
    Panel("Memory", "Resident.", [(f'process_resident_memory_bytes{{{I},job="pgleash"}}', "{{instance}}")], unit="bytes"),
    Panel("Lateness of the workers", "How late their ticks came: above some milliseconds, the machine or a worker is at its end.",
          [(f"histogram_quantile({q}, sum by (le, instance) (rate(pgleash_event_loop_lag_seconds_bucket{{{I}}}{RATE})))",
            f"p{round(q * 100)} {{{{instance}}}}") for q in (0.5, 0.99)], unit="s"),
    Panel("File descriptors", "A session has two.",
          [(f'process_open_fds{{{I},job="pgleash"}}', "{{instance}} open"), (f'process_max_fds{{{I},job="pgleash"}}', "{{instance}} limit")]),
    Panel("Connections by how they started", "A second.",
          [(f"sum by (result) (rate(pgleash_client_connections_total{{{I}}}{RATE}))", "{{result}}")], unit="ops"),
    Panel("Time a sample takes", "Of the server's view.", quantiles("pgleash_monitor_query_duration_seconds"), unit="s"),
    Panel("Age of the newest sample", "What only the server knows is as old as this.",
          [(f"time() - pgleash_monitor_last_success_timestamp_seconds{{{S}}}", "{{instance}} {{server}}")], unit="s"),
    Panel("Cancel requests", "A second, by who asked and what became of them.",
          [(f"sum by (origin, result) (rate(pgleash_cancel_requests_total{{{S}}}{RATE}))", "{{origin}} {{result}}")], unit="ops"),
    Panel("Time a cancel request takes", "Its wait for a turn included.", quantiles("pgleash_cancel_duration_seconds"), unit="s"),
    Panel("Cancel requests that wait", "For their turn.",
          [(f"sum by (server) (pgleash_cancel_queue_length{{{S}}})", "{{server}}")]),
    Panel("Audit lines", "A second.",
          [(f"sum by (sink) (rate(pgleash_audit_records_total{{{I}}}{RATE}))", "{{sink}}")], unit="ops"),
    Panel("Names without a label of their own", "Counted as `other`, since the start.",
          [(f"sum by (family) (pgleash_label_overflow_total{{{I}}})", "{{family}}")]),
    Panel("Messages that were not expected", "A second; traffic goes on.",
          [(f"sum by (server) (rate(pgleash_tracker_anomalies_total{{{S}}}{RATE}))", "{{server}}")], unit="ops"),
    Panel("Room for sessions", "Sessions, and what max_sessions and the server allow.",
          [(f"sum by (server) (pgleash_sessions{{{S}}})", "{{server}} sessions"),
           (f"min by (server, scope) (pgleash_sessions_limit{{{S}}})", "{{server}} limit: {{scope}}")]),
])

DASHBOARDS = [OVERVIEW, APPLICATIONS, LEAKS, ACTIONS, BLOCKING, TRANSACTIONS, HEALTH]
