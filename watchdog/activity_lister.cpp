#include "watchdog/activity_lister.hpp"

#include <fmt/format.h>

namespace pgleash::watchdog {
namespace {

namespace column {
enum : int {
  datid,
  datname,
  pid,
  leader_pid,
  usesysid,
  usename,
  superuser,
  application_name,
  client_addr,
  client_hostname,
  client_port,
  backend_start,
  xact_start,
  query_start,
  state_change,
  wait_event_type,
  wait_event,
  state,
  backend_xid,
  backend_xmin,
  query_id,
  query,
  backend_type,
  server_now,
};
}  // namespace column

/// The function and two joins, as the view itself does it; textsend, since a text may be in another
/// database's encoding, on which functions of text would fail.
std::string listing_sql(int version) {
  return fmt::format(
      "SELECT s.datid, d.datname::pg_catalog.text, s.pid, {}, s.usesysid, "
      "u.rolname::pg_catalog.text, "
      "COALESCE(u.rolsuper, false), s.application_name, pg_catalog.host(s.client_addr), "
      "s.client_hostname, s.client_port, s.backend_start, s.xact_start, s.query_start, "
      "s.state_change, s.wait_event_type, s.wait_event, s.state, s.backend_xid, s.backend_xmin, "
      "{}, "
      "pg_catalog.substr(pg_catalog.textsend(s.query), 1, {}), s.backend_type, "
      "pg_catalog.clock_timestamp() "
      "FROM pg_catalog.pg_stat_get_activity(NULL) AS s "
      "LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.datid "
      "LEFT JOIN pg_catalog.pg_roles AS u ON u.oid = s.usesysid",
      version >= 130000 ? "s.leader_pid" : "NULL::pg_catalog.int4",
      version >= 140000 ? "s.query_id" : "NULL::pg_catalog.int8", ActivityListing::max_query);
}

std::optional<std::int32_t> number(const PgRows& rows, int row, int at) {
  if (rows.null(row, at)) return std::nullopt;
  return rows.int4(row, at);
}
std::optional<std::uint32_t> oid(const PgRows& rows, int row, int at) {
  if (rows.null(row, at)) return std::nullopt;
  return rows.oid(row, at);
}

ListedProcess decode(const PgRows& rows, int i) {
  ListedProcess one;
  one.datid = oid(rows, i, column::datid);
  one.datname = rows.text(i, column::datname);
  one.pid = protocol::BackendPid{rows.int4(i, column::pid)};
  one.leader_pid = number(rows, i, column::leader_pid);
  one.usesysid = oid(rows, i, column::usesysid);
  one.usename = rows.text(i, column::usename);
  one.superuser = rows.boolean(i, column::superuser);
  one.application_name = rows.text(i, column::application_name);
  one.client_addr = rows.text(i, column::client_addr);
  one.client_hostname = rows.text(i, column::client_hostname);
  one.client_port = number(rows, i, column::client_port);
  one.backend_start = rows.time(i, column::backend_start);
  one.xact_start = rows.time(i, column::xact_start);
  one.query_start = rows.time(i, column::query_start);
  one.state_change = rows.time(i, column::state_change);
  one.wait_event_type = rows.text(i, column::wait_event_type);
  one.wait_event = rows.text(i, column::wait_event);
  one.state = rows.text(i, column::state);
  one.backend_xid = oid(rows, i, column::backend_xid);
  one.backend_xmin = oid(rows, i, column::backend_xmin);
  if (!rows.null(i, column::query_id)) one.query_id = rows.int8(i, column::query_id);
  one.query = rows.text(i, column::query);
  one.backend_type = rows.text(i, column::backend_type);
  return one;
}

}  // namespace

Task<PgResult<ActivityListing>> ActivityLister::read(Instant deadline) {
  const auto rows = co_await connection_.run("listing", listing_sql, PgParameters{}, deadline);
  if (!rows) co_return rows.error();
  ActivityListing listing;
  listing.processes.reserve(static_cast<std::size_t>(rows->size()));
  for (int i = 0; i < rows->size(); ++i) {
    // From 18 on a backend is seen while it authenticates: nobody's session yet.
    if (rows->text(i, column::state) == "starting") continue;
    listing.server_now = rows->time(i, column::server_now).value_or(ServerTime{});
    listing.processes.push_back(decode(*rows, i));
  }
  co_return listing;
}

}  // namespace pgleash::watchdog
