#include "watchdog/activity_query.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <utility>

namespace pgleash::watchdog {
namespace {

namespace column {
enum : int {
  pid,
  backend_type,
  backend_start,
  datid,
  usesysid,
  application_name,
  client_addr,
  client_port,
  state,
  state_change,
  xact_start,
  query_start,
  wait_event_type,
  wait_event,
  xid,
  xmin,
  server_now,
  query,
};
}  // namespace column

/// Without the torn character that a cut at a byte may leave at the end.
std::string_view whole_characters(std::string_view text, std::size_t cut) {
  if (text.size() < cut) return text;
  std::size_t tail = 0;
  while (tail < 3 && (static_cast<unsigned char>(text[text.size() - 1 - tail]) & 0xC0U) == 0x80U)
    ++tail;
  const auto lead = static_cast<unsigned char>(text[text.size() - 1 - tail]);
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  return length > tail + 1 ? text.substr(0, text.size() - 1 - tail) : text;
}

/// Both of PostgreSQL's clock, which may be set back meanwhile.
Duration age(ServerTime now, ServerTime then) {
  return std::chrono::microseconds{std::max<std::int64_t>(0, now.microseconds - then.microseconds)};
}

ActivityRow decode(const PgRows& rows, int i, ServerTime now, std::size_t cut) {
  ActivityRow row;
  row.backend = {protocol::BackendPid{rows.int4(i, column::pid)},
                 rows.time(i, column::backend_start).value_or(ServerTime{})};
  row.application_name = rows.text(i, column::application_name);
  row.client_addr = rows.text(i, column::client_addr);
  row.client_port = rows.null(i, column::client_port) ? -1 : rows.int4(i, column::client_port);
  row.state = rows.text(i, column::state);
  row.wait_event_type = rows.text(i, column::wait_event_type);
  row.wait_event = rows.text(i, column::wait_event);
  row.query = whole_characters(rows.text(i, column::query), cut);
  row.query_start = rows.time(i, column::query_start).value_or(ServerTime{});
  row.state_change = rows.time(i, column::state_change).value_or(ServerTime{});
  row.xact_start = rows.time(i, column::xact_start);
  row.backend_age = age(now, row.backend.backend_start);
  if (!rows.null(i, column::state_change)) row.state_age = age(now, row.state_change);
  if (!rows.null(i, column::query_start)) row.query_age = age(now, row.query_start);
  if (row.xact_start) row.transaction_age = age(now, *row.xact_start);
  row.xid = rows.boolean(i, column::xid);
  row.xmin = rows.boolean(i, column::xmin);
  return row;
}

}  // namespace

// The function and not the view: two joins less. textsend, as a text may be in another database's
// encoding, on which left() and substr() of text would fail; the bytes are cut instead.
const char* const activity_sql = R"(
SELECT s.pid, s.backend_type, s.backend_start, s.datid, s.usesysid, s.application_name,
       pg_catalog.host(s.client_addr), s.client_port, s.state, s.state_change, s.xact_start, s.query_start,
       s.wait_event_type, s.wait_event, s.backend_xid IS NOT NULL, s.backend_xmin IS NOT NULL,
       pg_catalog.clock_timestamp(),
       CASE WHEN s.state <> 'idle' THEN pg_catalog.substr(pg_catalog.textsend(s.query), 1, 256) END
FROM pg_catalog.pg_stat_get_activity(NULL) AS s)";

const char* const activity_with_last_statements_sql = R"(
SELECT s.pid, s.backend_type, s.backend_start, s.datid, s.usesysid, s.application_name,
       pg_catalog.host(s.client_addr), s.client_port, s.state, s.state_change, s.xact_start, s.query_start,
       s.wait_event_type, s.wait_event, s.backend_xid IS NOT NULL, s.backend_xmin IS NOT NULL,
       pg_catalog.clock_timestamp(),
       CASE WHEN s.state IS NOT NULL THEN pg_catalog.substr(pg_catalog.textsend(s.query), 1, 1024) END
FROM pg_catalog.pg_stat_get_activity(NULL) AS s)";

SeenActivity decode_activity(const PgRows& rows, std::size_t cut) {
  SeenActivity seen;
  for (int i = 0; i < rows.size(); ++i) {
    const auto now = rows.time(i, column::server_now).value_or(ServerTime{});
    seen.server_now = std::max(seen.server_now, now);
    if (rows.null(i, column::backend_type)) {
      seen.hidden = true;
      // A process of the server has no database, or no role.
      if (!rows.null(i, column::datid) && rows.oid(i, column::datid) != 0 &&
          !rows.null(i, column::usesysid)) {
        SeenBackend& one = seen.veiled.emplace_back();
        one.row.backend.pid = protocol::BackendPid{rows.int4(i, column::pid)};
        one.row.application_name = rows.text(i, column::application_name);
        one.role = rows.oid(i, column::usesysid);
        one.database = rows.oid(i, column::datid);
        continue;
      }
    }
    if (rows.text(i, column::backend_type) != "client backend") {
      ++seen.background_processes;
      continue;
    }
    // From 18 on a backend is seen while it authenticates: nobody's session yet.
    if (rows.text(i, column::state) == "starting" || rows.null(i, column::usesysid)) continue;
    seen.backends.push_back(
        {decode(rows, i, now, cut), rows.oid(i, column::usesysid), rows.oid(i, column::datid)});
  }
  return seen;
}

}  // namespace pgleash::watchdog
