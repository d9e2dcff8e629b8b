#include "app/console/rows.hpp"
#include "proxy/in_band_step.hpp"

#include <algorithm>
#include <unordered_map>

namespace pgleash::console {
namespace {

using watchdog::ActivityListing;
using watchdog::ListedProcess;
using watchdog::SessionEntry;

template <class T>
Cell number(const std::optional<T>& value) {
  if (!value) return Null{};
  return static_cast<std::int64_t>(*value);
}
Cell time(const std::optional<watchdog::ServerTime>& value) {
  if (!value || value->microseconds == 0) return Null{};
  return *value;
}

/// A row of nothing, to be filled by name.
class RowMaker {
 public:
  explicit RowMaker(View view) : view_(view), row_(columns_of(view).size(), Cell{Null{}}) {}
  RowMaker& set(std::string_view column, Cell cell) {
    row_[*column_of(view_, column)] = std::move(cell);
    return *this;
  }
  [[nodiscard]] Row take() { return std::move(row_); }

 private:
  View view_;
  Row row_;
};

void add_process(RowMaker& row, const ListedProcess& process) {
  row.set("datid", number(process.datid))
      .set("datname", text_or_null(process.datname))
      .set("pid", static_cast<std::int64_t>(process.pid))
      .set("leader_pid", number(process.leader_pid))
      .set("usesysid", number(process.usesysid))
      .set("usename", text_or_null(process.usename))
      .set("application_name", text(process.application_name))
      .set("client_addr", text_or_null(process.client_addr))
      .set("client_hostname", text_or_null(process.client_hostname))
      .set("client_port", number(process.client_port))
      .set("backend_start", time(process.backend_start))
      .set("xact_start", time(process.xact_start))
      .set("query_start", time(process.query_start))
      .set("state_change", time(process.state_change))
      .set("wait_event_type", text_or_null(process.wait_event_type))
      .set("wait_event", text_or_null(process.wait_event))
      .set("state", text_or_null(process.state))
      .set("backend_xid", number(process.backend_xid))
      .set("backend_xmin", number(process.backend_xmin))
      .set("query_id", number(process.query_id))
      .set("query", text(process.query))
      .set("backend_type", text_or_null(process.backend_type))
      .set("superuser", process.superuser);
}

/// What only a sample knows, when nobody could be asked now.
void add_sample(RowMaker& row, const watchdog::ActivityRow& sample) {
  row.set("xact_start", time(sample.xact_start))
      .set("query_start", time(sample.query_start))
      .set("state_change", time(sample.state_change))
      .set("wait_event_type", text_or_null(sample.wait_event_type))
      .set("wait_event", text_or_null(sample.wait_event))
      .set("query", text(sample.query));
}

Row session_row(const SessionSources& from, const SessionEntry& entry,
                const ListedProcess* process) {
  const proxy::SessionIdentity& who = *entry.view.who;
  RowMaker row{View::sessions};
  if (process != nullptr) {
    add_process(row, *process);
  } else {
    if (entry.row) add_sample(row, *entry.row);
    row.set("datname", text(who.database))
        .set("usename", text(who.user))
        .set("application_name", text(who.application_name))
        .set("pid", who.pid ? Cell{static_cast<std::int64_t>(*who.pid)} : Cell{Null{}})
        .set("state", std::string{protocol::name(entry.view.facts.state)})
        .set("backend_type", std::string{who.replication ? "walsender" : "client backend"});
    if (entry.backend) row.set("backend_start", entry.backend->backend_start);
  }
  // The client's own address, which the server does not know: it sees ours.
  row.set("client_addr", text_or_null(who.client.address))
      .set("client_port", static_cast<std::int64_t>(who.client.port))
      .set("session", static_cast<std::int64_t>(proxy::number(entry.view.id)))
      .set("server", text(from.server))
      .set("origin", std::string{"proxied"})
      .set("application", text(who.application))
      .set("listener", text(who.listener))
      .set("leg_addr", text_or_null(who.leg.address))
      .set("leg_port", static_cast<std::int64_t>(who.leg.port))
      .set("mapping", std::string{watchdog::name(entry.mapping)})
      .set("proxy_state", std::string{entry.view.stalled_since != Instant{}
                                          ? "stalled"
                                          : protocol::name(entry.view.facts.state)})
      .set("session_age", span_of(from.now - who.connected))
      .set("superuser", entry.superuser)
      .set("bytes_to_server", static_cast<std::int64_t>(entry.view.facts.frontend_bytes))
      .set("bytes_to_client", static_cast<std::int64_t>(entry.view.facts.backend_bytes));
  const bool works = proxy::server_may_work(entry.view.facts.state);
  const Instant since = works
                            ? std::max(entry.view.facts.state_since, entry.view.facts.request_since)
                            : entry.view.facts.state_since;
  row.set("state_age", span_of(std::max(Duration::zero(), from.now - since)));
  if (const Instant until = from.exempt_until ? from.exempt_until(entry.view.id) : Instant{};
      until != Instant{})
    row.set("exempt_until", watchdog::ServerTime{from.server_now.microseconds +
                                                 span_of(until - from.now).microseconds});
  return row.take();
}

Row process_row(const SessionSources& from, const ListedProcess& process) {
  RowMaker row{View::sessions};
  add_process(row, process);
  const bool client = process.backend_type == "client backend";
  const bool own = client && process.usename == from.monitor_user;
  row.set("server", text(from.server))
      .set("origin", std::string{own      ? "pgleash"
                                 : client ? "direct"
                                          : "background"});
  if (client) row.set("application", text(process.application_name));
  const auto age = [&](const std::optional<watchdog::ServerTime>& since) -> Cell {
    if (!since || since->microseconds == 0) return Null{};
    return Span{std::max<std::int64_t>(0, from.server_now.microseconds - since->microseconds)};
  };
  row.set("state_age", age(process.state_change)).set("session_age", age(process.backend_start));
  return row.take();
}

}  // namespace

watchdog::ServerTime server_time(std::chrono::system_clock::time_point time) {
  constexpr std::chrono::sys_days epoch{std::chrono::year{2000} / 1 / 1};
  return {std::chrono::duration_cast<std::chrono::microseconds>(time - epoch).count()};
}

Span span_of(Duration duration) noexcept {
  return {std::chrono::duration_cast<std::chrono::microseconds>(duration).count()};
}

const ListedProcess* process_of(const SessionEntry& entry, const ActivityListing& listing) {
  const proxy::SessionIdentity& who = *entry.view.who;
  const ListedProcess* at_leg = nullptr;
  for (const ListedProcess& process : listing.processes) {
    if (entry.backend) {
      if (process.pid == entry.backend->pid &&
          process.backend_start == entry.backend->backend_start)
        return &process;
      continue;
    }
    if (process.client_port != who.leg.port || process.client_addr != who.leg.address) continue;
    if (who.pid) {
      if (who.pid == process.pid) return &process;
      continue;
    }
    // Nobody names the backend of an opaque session: its leg has to be one backend's only.
    if (!who.opaque || at_leg != nullptr) return nullptr;
    at_leg = &process;
  }
  return at_leg;
}

void add_session_rows(const SessionSources& sources, std::vector<Row>& rows) {
  std::unordered_map<std::int32_t, const ListedProcess*> by_pid;
  if (sources.listing != nullptr)
    for (const ListedProcess& process : sources.listing->processes)
      by_pid.emplace(static_cast<std::int32_t>(process.pid), &process);
  for (const SessionEntry& entry : sources.entries) {
    const ListedProcess* process = nullptr;
    const auto pid = entry.backend ? std::optional{entry.backend->pid} : entry.view.who->pid;
    if (pid) {
      const auto found = by_pid.find(static_cast<std::int32_t>(*pid));
      if (found != by_pid.end()) {
        const watchdog::ActivityListing one{sources.server_now, {*found->second}};
        if (process_of(entry, one) != nullptr) process = found->second;
      }
    } else if (sources.listing != nullptr && entry.view.who->opaque) {
      process = process_of(entry, *sources.listing);
    }
    rows.push_back(session_row(sources, entry, process));
    if (process != nullptr) by_pid.erase(static_cast<std::int32_t>(process->pid));
  }
  if (sources.listing == nullptr) return;
  for (const ListedProcess& process : sources.listing->processes)
    if (by_pid.contains(static_cast<std::int32_t>(process.pid)))
      rows.push_back(process_row(sources, process));
}

}  // namespace pgleash::console
