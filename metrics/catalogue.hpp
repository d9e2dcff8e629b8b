#pragma once

#include <prometheus/metric_type.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// The one table of every metric this version exports. Names, help and labels of the output come
/// from it, and so does docs/metrics.md; a metric that is not here cannot be exported.
namespace pgleash::metrics {

/// In the order of the output and of the reference page.
enum class Metric : std::uint8_t {
  build_info,
  start_time,
  process_cpu,
  process_resident_memory,
  process_open_fds,
  process_max_fds,
  config_last_reload_successful,
  config_last_reload_success_timestamp,
  config_reloads,
  enforcement_mode,
  enforcement_paused,
  enforcement_held,
  client_connections,
  sessions,
  database_sessions,
  user_sessions,
  sessions_limit,
  silent_clients,
  oldest_session_state,
  sessions_over_age,
  session_duration,
  statement_duration,
  transaction_duration,
  session_ends,
  idle_in_transaction,
  client_stalled,
  sent_bytes,
  relay_bytes,
  cancel_requests,
  cancel_duration,
  cancel_queue_length,
  server_errors,
  tracker_anomalies,
  rule_matching_sessions,
  rule_warned,
  rule_exempted,
  exempt_sessions_over_age,
  rule_paused_sessions,
  rule_without_data,
  rule_recovered,
  actions,
  application_actions,
  action_duration,
  surviving_backends,
  fuse_open,
  fuse_trips,
  pace_deferred,
  deferred_sessions,
  manual_kills,
  leak_suspect_sessions,
  leak_floor_sessions,
  leak_growth,
  leaks_detected,
  leaks_cleared,
  exhaustion_forecast,
  quota_exhaustion_forecast,
  server_connection_slots,
  orphan_backends,
  sessions_without_backend,
  blocked_sessions,
  backend_cpu,
  backend_anonymous_memory,
  temp_bytes,
  blocking_sessions,
  longest_block,
  blocker_sessions,
  prepared_transactions,
  oldest_prepared_transaction,
  inactive_replication_slots,
  xmin_horizon_age,
  monitor_up,
  monitor_last_success_timestamp,
  monitor_query_duration,
  audit_records,
  audit_write_errors,
  notifications,
  notification_queue,
  recording_frames,
  recording_lost,
  journal_up,
  journal_unrecorded,
  quota_sessions,
  quota_sessions_limit,
  quota_refused,
  event_loop_lag,
  label_overflow,
  count_,
};
inline constexpr auto metric_count = static_cast<std::size_t>(Metric::count_);

/// A label and what bounds it: the closed set of its values, or a sentence that says why there are
/// only so many.
struct LabelSpec {
  std::string_view name;
  std::span<const std::string_view> values;  ///< empty: not a closed set
  std::string_view bound;                    ///< of an open set
};

struct MetricSpec {
  Metric id{};
  std::string_view name;
  prometheus::MetricType type{};
  std::string_view unit;  ///< empty: a count or a flag
  std::string_view help;
  std::span<const LabelSpec> labels;
};

[[nodiscard]] std::span<const MetricSpec, metric_count> catalogue() noexcept;
[[nodiscard]] const MetricSpec& spec(Metric metric) noexcept;

/// docs/metrics.md, whole.
[[nodiscard]] std::string generate_metrics_page();
/// One line a metric: `name type label,label`. What a dashboard depends on.
[[nodiscard]] std::string generate_metrics_list();

}  // namespace pgleash::metrics
