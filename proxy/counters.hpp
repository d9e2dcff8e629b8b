#pragma once

#include "protocol/types.hpp"
#include "proxy/application_counters.hpp"
#include "proxy/count.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pgleash::proxy {

/// How a client connection ended its start-up: label `result` of client_connections_total.
enum class AcceptResult : std::uint8_t {
  accepted,
  not_allowed,
  no_challenge,
  protocol_error,
  proxy_header,
  tls_error,
  login_timeout,
  login_limit,
  session_limit,
  quota,
  server_unreachable,
  server_refused,
  client_gone,
  draining,
  cancel_request,
  console,
  count_,
};
/// Why a session ended: label `cause` of session_ends_total, and the log's close reason.
enum class EndCause : std::uint8_t {
  client_terminate,
  client_abort,
  client_timeout,
  server_close,
  server_error,
  rule,
  admin,
  drain,
  proxy_error,
  count_,
};
/// What became of a cancel request: labels `origin` and `result` of cancel_requests_total.
enum class CancelOrigin : std::uint8_t { client, rule, client_gone, drain, count_ };
enum class CancelResult : std::uint8_t {
  delivered,
  unreachable,
  timeout,
  unknown_key,
  overload,
  observed,
  count_
};

[[nodiscard]] std::string_view name(AcceptResult result) noexcept;
[[nodiscard]] std::string_view name(EndCause cause) noexcept;
[[nodiscard]] std::string_view name(CancelOrigin origin) noexcept;
[[nodiscard]] std::string_view name(CancelResult result) noexcept;

/// How full a [[quota]] is.
struct QuotaUse {
  std::uint64_t refused = 0;
  std::uint32_t most = 0;   ///< that one application, user, database or address has now
  std::uint32_t limit = 0;  ///< of sessions; 0: without
};

/// Upper bounds of the duration histograms, in seconds; the last bucket is +Inf.
inline constexpr std::array<double, 14> duration_bounds{0.001, 0.005, 0.01, 0.05, 0.1,  0.5,  1, 5,
                                                        15,    60,    300,  1800, 7200, 86400};

/// The same of a worker's lateness.
inline constexpr std::array<double, 10> lag_bounds{0.0005, 0.001, 0.0025, 0.005, 0.01,
                                                   0.025,  0.05,  0.1,    0.5,   1};

template <const auto& bounds>
struct Histogram {
  std::array<Count, bounds.size() + 1> buckets;  ///< not cumulative
  Count sum_microseconds;

  void observe(Duration took) noexcept {
    const double seconds = std::chrono::duration<double>(took).count();
    const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), seconds);
    buckets[static_cast<std::size_t>(bucket - bounds.begin())].add();
    sum_microseconds.add(microseconds(took));
  }
};
using HistogramCounts = Histogram<duration_bounds>;
using LagCounts = Histogram<lag_bounds>;

/// SQLSTATE classes that are told apart (label sqlstate_class); all others are "other".
inline constexpr std::array<std::string_view, 16> sqlstate_classes{
    "08", "0A", "22", "23", "25", "28", "40", "42",
    "53", "54", "55", "57", "58", "XX", "P0", "other"};

/// Counters of one worker for one server. The worker writes, the metrics collector sums over
/// workers.
struct ServerCounters {
  Count bytes_to_backend;
  Count bytes_to_frontend;
  std::array<Count, static_cast<std::size_t>(EndCause::count_)> ends;
  std::array<std::array<Count, static_cast<std::size_t>(CancelResult::count_)>,
             static_cast<std::size_t>(CancelOrigin::count_)>
      cancels;
  std::array<Count, sqlstate_classes.size()> server_errors;
  HistogramCounts session_duration;
  HistogramCounts statement_duration;
  HistogramCounts transaction_duration;
  Count anomalies;
  Level untold;                     ///< clients who do not know yet that their session was ended
  HistogramCounts cancel_duration;  ///< of cancel requests that were sent
  Level cancels_waiting;            ///< for their turn to be sent
  ApplicationCounters applications;
};

/// Counters of one worker for one listener.
struct ListenerCounters {
  std::array<Count, static_cast<std::size_t>(AcceptResult::count_)> connections;
};

}  // namespace pgleash::proxy
