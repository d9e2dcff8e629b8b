#include "metrics/catalogue.hpp"

#include "metrics/closed_sets.hpp"

#include <algorithm>
#include <array>

namespace pgleash::metrics {
namespace {

using enum prometheus::MetricType;

constexpr LabelSpec version{"version", {}, "one value"};
constexpr LabelSpec revision{"revision", {}, "one value"};
constexpr LabelSpec server{"server", {}, "the servers of the configuration"};
constexpr LabelSpec listener{"listener", {}, "the listeners of the configuration"};
constexpr LabelSpec rule{"rule", {}, "the rules of the configuration"};
constexpr LabelSpec application{
    "application",
    {},
    "the `max_applications` (50) with the most sessions, each for at least an hour; `other`; "
    "`none` for sessions without a name"};
constexpr LabelSpec counted_application{
    "application",
    {},
    "the first `max_applications` (50) that came; `other`; `none` for sessions without a name"};
constexpr LabelSpec user{
    "user", {}, "the 50 with the most sessions, each for at least an hour; `other`; `none`"};
constexpr LabelSpec database{
    "database", {}, "the 64 with the most sessions, each for at least an hour; `other`; `none`"};
constexpr LabelSpec result{"result", words::reload_results, {}};
constexpr LabelSpec mode{"mode", words::modes, {}};
constexpr LabelSpec action{"action", words::actions, {}};
constexpr LabelSpec outcome{"outcome", words::outcomes, {}};
constexpr LabelSpec hold_reason{"reason", words::hold_reasons, {}};
constexpr LabelSpec fuse{"fuse", words::fuses, {}};
constexpr LabelSpec pace_scope{"scope", words::pace_scopes, {}};
constexpr LabelSpec state{"state", words::session_states, {}};
constexpr LabelSpec aged_state{"state", words::aged_states, {}};
constexpr LabelSpec threshold{"threshold_seconds", words::age_thresholds, {}};
constexpr LabelSpec accept_result{"result", words::accept_results, {}};
constexpr LabelSpec scope{"scope", words::limit_scopes, {}};
constexpr LabelSpec cause{"cause", words::end_causes, {}};
constexpr LabelSpec direction{"direction", words::directions, {}};
constexpr LabelSpec origin{"origin", words::cancel_origins, {}};
constexpr LabelSpec cancel_result{"result", words::cancel_results, {}};
constexpr LabelSpec sqlstate_class{"sqlstate_class", words::sqlstate_classes, {}};
constexpr LabelSpec exemption{"exemption", words::exemptions, {}};
constexpr LabelSpec margin{"margin", words::margins, {}};
constexpr LabelSpec kind{"kind", words::slot_kinds, {}};
constexpr LabelSpec no_data{"reason", words::no_data, {}};
constexpr LabelSpec holder{"holder", words::horizon_holders, {}};
constexpr LabelSpec sink{"sink", words::audit_sinks, {}};
constexpr LabelSpec webhook{"sink", {}, "the webhooks of the configuration, 16 at most"};
constexpr LabelSpec notification_result{"result", words::notification_results, {}};
constexpr LabelSpec quota{"quota", {}, "the quotas of the configuration"};
constexpr LabelSpec family{"family", words::bounded_labels, {}};

/// Storage for a row's labels with static lifetime, written where the row is.
template <const LabelSpec&... specs>
inline constexpr std::array<LabelSpec, sizeof...(specs)> labels{specs...};

constexpr std::array<MetricSpec, metric_count> table{{
    {Metric::build_info,
     "pgleash_build_info",
     Gauge,
     {},
     "Always 1; the labels say what runs.",
     labels<version, revision>},
    {Metric::start_time,
     "pgleash_start_time_seconds",
     Gauge,
     "seconds since 1970-01-01 UTC",
     "When this process started.",
     {}},
    {Metric::process_cpu,
     "process_cpu_seconds_total",
     Counter,
     "seconds",
     "CPU time of this process, user and system.",
     {}},
    {Metric::process_resident_memory,
     "process_resident_memory_bytes",
     Gauge,
     "bytes",
     "Resident memory of this process.",
     {}},
    {Metric::process_open_fds,
     "process_open_fds",
     Gauge,
     {},
     "Open file descriptors; a session has two.",
     {}},
    {Metric::process_max_fds,
     "process_max_fds",
     Gauge,
     {},
     "Soft limit of open file descriptors.",
     {}},

    {Metric::config_last_reload_successful,
     "pgleash_config_last_reload_successful",
     Gauge,
     {},
     "1 when the last load of the configuration was taken, 0 when it was refused and the one "
     "before it stays in force.",
     {}},
    {Metric::config_last_reload_success_timestamp,
     "pgleash_config_last_reload_success_timestamp_seconds",
     Gauge,
     "seconds since 1970-01-01 UTC",
     "When the configuration in force was loaded.",
     {}},
    {Metric::config_reloads,
     "pgleash_config_reloads_total",
     Counter,
     {},
     "Reloads asked for since the start.",
     labels<result>},
    {Metric::enforcement_mode,
     "pgleash_enforcement_mode",
     Gauge,
     {},
     "1 for the mode in force, 0 for the other: nobody is ended by a rule unless it is enforce.",
     labels<mode>},
    {Metric::enforcement_paused,
     "pgleash_enforcement_paused",
     Gauge,
     {},
     "1 while the kill switch is on (SIGUSR2): no rule ends anybody.",
     {}},
    {Metric::enforcement_held,
     "pgleash_enforcement_held",
     Gauge,
     {},
     "1 while nobody is ended yet, after a start, a reload or a failover of the server.",
     labels<server, hold_reason>},

    {Metric::client_connections,
     "pgleash_client_connections_total",
     Counter,
     {},
     "Client connections by how their start-up ended.",
     labels<listener, accept_result>},
    {Metric::sessions,
     "pgleash_sessions",
     Gauge,
     {},
     "Sessions through pgleash now, by application and state.",
     labels<server, application, state>},
    {Metric::database_sessions,
     "pgleash_database_sessions",
     Gauge,
     {},
     "Sessions through pgleash now, by database and state.",
     labels<server, database, state>},
    {Metric::user_sessions,
     "pgleash_user_sessions",
     Gauge,
     {},
     "Sessions through pgleash now, by user.",
     labels<server, user>},
    {Metric::sessions_limit,
     "pgleash_sessions_limit",
     Gauge,
     {},
     "Sessions there can be: `process` is max_sessions, shared by all servers; `server` is what "
     "the server leaves to ordinary users, max_connections less the reserved ones.",
     labels<server, scope>},
    {Metric::silent_clients,
     "pgleash_silent_clients",
     Gauge,
     {},
     "Clients who do not know yet that their session was ended (`notify = \"on_next_use\"`). "
     "Their connections count in max_sessions.",
     labels<server>},
    {Metric::oldest_session_state, "pgleash_oldest_session_state_seconds", Gauge, "seconds",
     "Age of the oldest state, of `active` the age of its statement. Replication streams do not "
     "count: theirs is the age of the replica.",
     labels<server, application, state>},
    {Metric::sessions_over_age,
     "pgleash_sessions_over_age",
     Gauge,
     {},
     "Sessions that have been in the state for longer than the threshold. Replication streams do "
     "not count.",
     labels<server, application, aged_state, threshold>},
    {Metric::session_duration, "pgleash_session_duration_seconds", Histogram, "seconds",
     "Length of ended sessions.", labels<server>},
    {Metric::statement_duration, "pgleash_statement_duration_seconds", Histogram, "seconds",
     "From a request of the client until the server is ready for the next one.", labels<server>},
    {Metric::transaction_duration, "pgleash_transaction_duration_seconds", Histogram, "seconds",
     "Length of ended transactions that had more than one statement or were left open.",
     labels<server>},
    {Metric::session_ends,
     "pgleash_session_ends_total",
     Counter,
     {},
     "Ended sessions by cause.",
     labels<server, cause>},
    {Metric::idle_in_transaction, "pgleash_idle_in_transaction_seconds_total", Counter, "seconds",
     "Time that sessions left a transaction open with nothing to do, failed ones too, summed over "
     "sessions: its rate is how many did so at a time.",
     labels<server, counted_application>},
    {Metric::client_stalled, "pgleash_client_stalled_seconds_total", Counter, "seconds",
     "Time that results waited for clients that took none of them, summed over sessions.",
     labels<server, counted_application>},
    {Metric::sent_bytes, "pgleash_sent_bytes_total", Counter, "bytes",
     "Bytes that the server sent to sessions.", labels<server, counted_application>},
    {Metric::relay_bytes, "pgleash_relay_bytes_total", Counter, "bytes", "Bytes relayed.",
     labels<server, direction>},
    {Metric::cancel_requests,
     "pgleash_cancel_requests_total",
     Counter,
     {},
     "Cancel requests by who asked for them and what became of them.",
     labels<server, origin, cancel_result>},
    {Metric::cancel_duration, "pgleash_cancel_duration_seconds", Histogram, "seconds",
     "From the wish to cancel a statement of a session here until the server closed the "
     "connection of the cancel request, which says that it was heeded; or until nobody waited "
     "for that any longer.",
     labels<server>},
    {Metric::cancel_queue_length,
     "pgleash_cancel_queue_length",
     Gauge,
     {},
     "Cancel requests that wait for their turn: each worker sends 64 at a time.",
     labels<server>},
    {Metric::server_errors,
     "pgleash_server_errors_total",
     Counter,
     {},
     "Errors the server sent to clients, by class of SQLSTATE.",
     labels<server, sqlstate_class>},
    {Metric::tracker_anomalies,
     "pgleash_tracker_anomalies_total",
     Counter,
     {},
     "Messages that were not expected where they came. Traffic goes on; the session is not ended "
     "on a derived state until the next unambiguous point.",
     labels<server>},

    {Metric::rule_matching_sessions,
     "pgleash_rule_matching_sessions",
     Gauge,
     {},
     "Sessions over the limit of the rule now.",
     labels<rule>},
    {Metric::rule_warned,
     "pgleash_rule_warned_total",
     Counter,
     {},
     "Activities that passed the `warn` of the rule.",
     labels<rule>},
    {Metric::rule_exempted,
     "pgleash_rule_exempted_total",
     Counter,
     {},
     "Verdicts that were not carried out because of an exemption.",
     labels<rule, exemption>},
    {Metric::exempt_sessions_over_age,
     "pgleash_exempt_sessions_over_age",
     Gauge,
     {},
     "Sessions over the limit of a rule now that are left alone because of that exemption. Only "
     "those exemptions that spare somebody now.",
     labels<server, exemption>},
    {Metric::rule_paused_sessions,
     "pgleash_rule_paused_sessions",
     Gauge,
     {},
     "Sessions old enough for the rule that it cannot judge for want of data, and so leaves alone.",
     labels<rule>},
    {Metric::rule_without_data,
     "pgleash_rule_without_data",
     Gauge,
     {},
     "1 while what the rule judges cannot be measured on that server at all, and why.",
     labels<server, rule, no_data>},
    {Metric::rule_recovered,
     "pgleash_rule_recovered_total",
     Counter,
     {},
     "Suspects of the rule (over its `warn`, or in the last fifth of its limit) that became active "
     "again, by what was left of the limit then; over it: false positives, had the rule acted.",
     labels<rule, margin>},
    {Metric::actions,
     "pgleash_actions_total",
     Counter,
     {},
     "Verdicts by outcome, exactly one each.",
     labels<rule, action, mode, outcome>},
    {Metric::application_actions,
     "pgleash_application_actions_total",
     Counter,
     {},
     "The same verdicts by application.",
     labels<application, action, mode, outcome>},
    {Metric::action_duration, "pgleash_action_duration_seconds", Histogram, "seconds",
     "From the verdict to its outcome.", labels<action>},
    {Metric::surviving_backends,
     "pgleash_surviving_backends",
     Gauge,
     {},
     "Backends that are still there although everything was done to end them, and are looked after "
     "until they are gone.",
     labels<server>},
    {Metric::fuse_open,
     "pgleash_fuse_open",
     Gauge,
     {},
     "Fuses that are open now, by what made them trip; `global` stops all rules, the others one "
     "rule, or one rule for one application. Which it is says the log (`fuse.tripped`).",
     labels<fuse>},
    {Metric::fuse_trips,
     "pgleash_fuse_trips_total",
     Counter,
     {},
     "Times that a fuse tripped.",
     labels<fuse>},
    {Metric::pace_deferred,
     "pgleash_pace_deferred_total",
     Counter,
     {},
     "Verdicts whose session had to wait for its turn, by the limit that held it back.",
     labels<pace_scope>},
    {Metric::deferred_sessions,
     "pgleash_deferred_sessions",
     Gauge,
     {},
     "Deferred and fused verdicts whose sessions wait now.",
     labels<server>},
    {Metric::manual_kills,
     "pgleash_manual_kills_total",
     Counter,
     {},
     "Sessions ended by hand: not braked by pace and fuses, and no evidence for them.",
     {}},

    {Metric::leak_suspect_sessions,
     "pgleash_leak_suspect_sessions",
     Gauge,
     {},
     "Sessions that an application leaked: those its growth is made of, not used since. 0 without "
     "a "
     "leak.",
     labels<server, application>},
    {Metric::leak_floor_sessions,
     "pgleash_leak_floor_sessions",
     Gauge,
     {},
     "Sessions that the application had at least, in the last full bucket of the shortest window.",
     labels<server, application>},
    {Metric::leak_growth, "pgleash_leak_growth_sessions_per_second", Gauge, "sessions per second",
     "Robust slope of that floor over the first window of [leak], leak or not.",
     labels<server, application>},
    {Metric::leaks_detected,
     "pgleash_leaks_detected_total",
     Counter,
     {},
     "Leaks that were found; each stands until it is cleared.",
     labels<server, application>},
    {Metric::leaks_cleared,
     "pgleash_leaks_cleared_total",
     Counter,
     {},
     "Leaks that are over: most of the leaked sessions ended or are used again.",
     labels<server, application>},
    {Metric::exhaustion_forecast, "pgleash_exhaustion_forecast_seconds", Gauge, "seconds",
     "When the slots will be gone if the leaks that stand go on; +Inf when there is none, or it "
     "would take longer than the horizon. Absent while the limit is not known.",
     labels<server, scope>},
    {Metric::quota_exhaustion_forecast, "pgleash_quota_exhaustion_forecast_seconds", Gauge,
     "seconds",
     "When the first application, user, database or address of that quota will be refused if the "
     "leaks that stand go on; +Inf when none of them leaks, or it would take longer than the "
     "horizon. Of quotas that limit sessions only.",
     labels<server, quota>},

    {Metric::server_connection_slots,
     "pgleash_server_connection_slots",
     Gauge,
     {},
     "Slots of the server: max_connections, those reserved, those used through pgleash, by clients "
     "that connect directly, and by orphans. All but `used_proxy` need the monitor.",
     labels<server, kind>},
    {Metric::orphan_backends,
     "pgleash_orphan_backends",
     Gauge,
     {},
     "Backends that served a session of this pgleash, or of an earlier run, and have none any "
     "more. "
     "Absent while the monitor is down.",
     labels<server>},
    {Metric::sessions_without_backend,
     "pgleash_sessions_without_backend",
     Gauge,
     {},
     "Sessions whose backend the server no longer shows. Absent while the monitor is down.",
     labels<server>},
    {Metric::blocked_sessions,
     "pgleash_blocked_sessions",
     Gauge,
     {},
     "Sessions that wait for a lock, direct ones too. Absent while the monitor is down.",
     labels<server>},
    {Metric::backend_cpu, "pgleash_backend_cpu_seconds_total", Counter, "seconds",
     "CPU time that the server's processes have used, by application: of backends and their "
     "parallel "
     "workers, as far as two measurements saw it. Only with a rule of kind cpu_time, cpu_share, "
     "memory, read_rate or write_rate, and on the server's own host.",
     labels<server, application>},
    {Metric::backend_anonymous_memory, "pgleash_backend_anonymous_memory_bytes", Gauge, "bytes",
     "Memory of the largest session's backend, its parallel workers included, without shared "
     "buffers. As the one above.",
     labels<server, application>},
    {Metric::temp_bytes, "pgleash_temp_bytes", Gauge, "bytes",
     "Temporary files of sessions now. Only with a rule of kind temp_bytes.",
     labels<server, application>},
    {Metric::blocking_sessions,
     "pgleash_blocking_sessions",
     Gauge,
     {},
     "Those the blocked ones wait for in the end, and that wait for nobody: sessions, direct ones "
     "too, and prepared transactions. Absent while nobody can tell.",
     labels<server>},
    {Metric::longest_block, "pgleash_longest_block_seconds", Gauge, "seconds",
     "The longest wait for a lock now, as of the newest sample. Absent while nobody can tell.",
     labels<server>},
    {Metric::blocker_sessions,
     "pgleash_blocker_sessions",
     Gauge,
     {},
     "The same blocking sessions by application, as far as they come through pgleash.",
     labels<server, application>},
    {Metric::prepared_transactions,
     "pgleash_prepared_transactions",
     Gauge,
     {},
     "Transactions that were prepared for a two-phase commit and neither committed nor rolled "
     "back. Nobody but their owner can know which it should be: pgleash reports them only.",
     labels<server>},
    {Metric::oldest_prepared_transaction, "pgleash_oldest_prepared_transaction_seconds", Gauge,
     "seconds", "Since when the oldest of them is prepared; 0 when there is none.", labels<server>},
    {Metric::inactive_replication_slots,
     "pgleash_inactive_replication_slots",
     Gauge,
     {},
     "Replication slots that nobody reads from: they keep WAL, and row versions too if they hold a "
     "transaction id.",
     labels<server>},
    {Metric::xmin_horizon_age, "pgleash_xmin_horizon_age_transactions", Gauge, "transactions",
     "Age of the oldest transaction id that VACUUM has to respect, by what holds it; 0 when "
     "nothing of the sort does.",
     labels<server, holder>},
    {Metric::monitor_up,
     "pgleash_monitor_up",
     Gauge,
     {},
     "1 when the last sample of pg_stat_activity succeeded; absent when no monitor is configured.",
     labels<server>},
    {Metric::monitor_last_success_timestamp, "pgleash_monitor_last_success_timestamp_seconds",
     Gauge, "seconds since 1970-01-01 UTC", "When the last sample succeeded.", labels<server>},
    {Metric::monitor_query_duration, "pgleash_monitor_query_duration_seconds", Histogram, "seconds",
     "Time one sample took.", labels<server>},

    {Metric::audit_records,
     "pgleash_audit_records_total",
     Counter,
     {},
     "Lines written to the audit log.",
     labels<sink>},
    {Metric::audit_write_errors,
     "pgleash_audit_write_errors_total",
     Counter,
     {},
     "Lines that could not be written. No audit line, no kill.",
     labels<sink>},
    {Metric::notifications,
     "pgleash_notifications_total",
     Counter,
     {},
     "What became of the notices for a webhook; `retried` counts the attempts that failed and are "
     "to be repeated. given_up, dropped and rejected are lost.",
     labels<webhook, notification_result>},
    {Metric::notification_queue,
     "pgleash_notification_queue_length",
     Gauge,
     {},
     "Notices that wait for their webhook, the one under way included.",
     labels<webhook>},
    {Metric::recording_frames,
     "pgleash_recording_frames_total",
     Counter,
     {},
     "Snapshots recorded, the lost ones among them. Absent without [recording].",
     labels<server>},
    {Metric::recording_lost,
     "pgleash_recording_lost_total",
     Counter,
     {},
     "Snapshots that did not get into the recording: the disk is full, or too slow.",
     labels<server>},
    {Metric::journal_up,
     "pgleash_journal_up",
     Gauge,
     {},
     "1 when the journal of server legs is kept, 0 when it could not be had: after a crash no "
     "backend can then be proven ours. Absent when it is off.",
     {}},
    {Metric::journal_unrecorded,
     "pgleash_journal_unrecorded_total",
     Counter,
     {},
     "Sessions that found no room in the journal.",
     {}},
    {Metric::quota_sessions,
     "pgleash_quota_sessions",
     Gauge,
     {},
     "The most sessions that one application, user, database or address of that quota has now.",
     labels<quota>},
    {Metric::quota_sessions_limit,
     "pgleash_quota_sessions_limit",
     Gauge,
     {},
     "How many sessions that quota allows to each. Absent when it limits new ones only.",
     labels<quota>},
    {Metric::quota_refused,
     "pgleash_quota_refused_total",
     Counter,
     {},
     "Sessions that the quota refused.",
     labels<quota>},
    {Metric::event_loop_lag,
     "pgleash_event_loop_lag_seconds",
     Histogram,
     "seconds",
     "How late the ticks of the workers came, one to twenty a second and worker: what else the "
     "thread, and the machine, had to do.",
     {}},
    {Metric::label_overflow,
     "pgleash_label_overflow_total",
     Counter,
     {},
     "Names that found no label value of their own and are counted as `other`; each name once for "
     "as long as it stays.",
     labels<family>},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].id != static_cast<Metric>(i)) {
      return false;
    }
  }
  return true;
}
static_assert(in_order(), "a row a metric, in the order of the enumeration");

std::string_view word(prometheus::MetricType type) noexcept {
  switch (type) {
    case Counter:
      return "counter";
    case Gauge:
      return "gauge";
    case Histogram:
      return "histogram";
    default:
      return "untyped";
  }
}

void append_label(std::string& page, const LabelSpec& label) {
  page.append("- `").append(label.name).append("`: ");
  if (label.values.empty()) {
    page.append(label.bound);
  }
  for (std::size_t i = 0; i < label.values.size(); ++i) {
    page.append(i == 0 ? "`" : ", `").append(label.values[i]).append("`");
  }
  page.append("\n");
}

}  // namespace

std::span<const MetricSpec, metric_count> catalogue() noexcept {
  return table;
}

const MetricSpec& spec(Metric metric) noexcept {
  return table[static_cast<std::size_t>(metric)];
}

std::string generate_metrics_page() {
  std::string page =
      "# Metrics\n\n"
      "<!-- Made from metrics/catalogue.cpp. To make it again: PGLEASH_UPDATE_GOLDEN=1 "
      "unit_metrics -->\n\n"
      "All that `/metrics` has, in the text format 0.0.4. No label ever holds a pid, an address, a "
      "port, a statement, or an id of a session or incident.\n\n"
      "Gauges of live things are taken from the newest snapshot at the moment of the scrape: when "
      "the last session of an application is gone, so are its series. Counters stay and begin at "
      "0, so that `rate()` sees the first event, where the set of labels is small and known: their "
      "closed sets are listed below.\n\n"
      "At most 12,000 series with 3 servers and 50 rules, at most 550 with one server, one "
      "application and the default rules.\n";
  for (const MetricSpec& metric : table) {
    page.append("\n## ").append(metric.name).append("\n\n");
    page.append(word(metric.type));
    if (!metric.unit.empty()) {
      page.append(", ").append(metric.unit);
    }
    page.append(". ").append(metric.help).append("\n");
    if (!metric.labels.empty()) {
      page.append("\n");
    }
    for (const LabelSpec& label : metric.labels) {
      append_label(page, label);
    }
  }
  return page;
}

std::string generate_metrics_list() {
  std::string list;
  for (const MetricSpec& metric : table) {
    list.append(metric.name).append(" ").append(word(metric.type));
    for (std::size_t i = 0; i < metric.labels.size(); ++i) {
      list.append(i == 0 ? " " : ",").append(metric.labels[i].name);
    }
    list.append("\n");
  }
  return list;
}

}  // namespace pgleash::metrics
