#include "app/console/desk.hpp"
#include "app/console/rows.hpp"
#include "proxy/clock.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

// The commands that end somebody, or keep somebody from being ended.
namespace pgleash::console {

namespace asio = boost::asio;

namespace {

/// Of one batch, at a time: each waits for proofs, few of them for long.
constexpr std::size_t together = 16;

Cell pid_of(const watchdog::SessionEntry& entry) {
  const auto pid = entry.backend ? std::optional{entry.backend->pid} : entry.view.who->pid;
  if (!pid) return Null{};
  return static_cast<std::int64_t>(*pid);
}
Cell start_of(const watchdog::SessionEntry& entry) {
  if (!entry.backend) return Null{};
  return entry.backend->backend_start;
}
Cell session_of(watchdog::Target kind, const watchdog::SessionEntry& entry) {
  if (!watchdog::is_ours(kind)) return Null{};
  return static_cast<std::int64_t>(proxy::number(entry.view.id));
}

Reply reply_of(const std::vector<Column>& columns, std::vector<Row> rows) {
  Reply reply;
  reply.tag = "SELECT " + std::to_string(rows.size());
  reply.table = Table{columns, std::move(rows)};
  return reply;
}

/// Why nobody may end it, whoever asks; empty: one may.
std::string never(const watchdog::SessionEntry& entry, watchdog::Target kind,
                  const config::Protect& protect, const config::Server& server) {
  if (kind == watchdog::Target::direct && entry.view.who->user == server.monitor.user)
    return "it is a connection of pgleash itself";
  return watchdog::out_of_reach(entry, protect);
}

constexpr std::string_view no_audit =
    "no audit log: nothing is ended without one (set [audit] file)";

}  // namespace

watchdog::SessionEntry entry_of(const watchdog::ListedProcess& process,
                                const watchdog::ActivityListing& listing, Instant taken) {
  const auto age = [&](const std::optional<watchdog::ServerTime>& since) {
    if (!since) return Duration::zero();
    return Duration{std::chrono::microseconds{
        std::max<std::int64_t>(0, listing.server_now.microseconds - since->microseconds)}};
  };
  watchdog::ActivityRow row;
  row.backend = {process.pid, process.backend_start.value_or(watchdog::ServerTime{})};
  row.user = process.usename;
  row.database = process.datname;
  row.application_name = process.application_name;
  row.client_addr = process.client_addr;
  row.client_port = process.client_port.value_or(-1);
  row.state = process.state;
  row.wait_event_type = process.wait_event_type;
  row.wait_event = process.wait_event;
  row.query = process.query;
  row.query_start = process.query_start.value_or(watchdog::ServerTime{});
  row.state_change = process.state_change.value_or(watchdog::ServerTime{});
  row.xact_start = process.xact_start;
  row.backend_age = age(process.backend_start);
  row.state_age = age(process.state_change);
  row.query_age = age(process.query_start);
  if (process.xact_start) row.transaction_age = age(process.xact_start);
  row.superuser = process.superuser;
  return watchdog::entry_of(row, taken);
}

// ---------------------------------------------------------------- who is meant

Task<Outcome<Desk::Target>> Desk::find(const Whom& whom, const Scope& scope) {
  const bool by_pid = whom.kind == Whom::Kind::pid;
  const auto cell = evaluate(whom.number, by_pid ? Type::int4 : Type::int8, scope);
  if (!cell) co_return cell.error();
  const auto* number = std::get_if<std::int64_t>(&*cell);
  if (number == nullptr) co_return SqlError{"22004", "a number is needed, not NULL"};

  std::vector<Target> found;
  std::string background;
  std::string problem;
  for (watchdog::Watchdog* one : host_.watchdogs()) {
    std::vector<watchdog::SessionEntry> entries = co_await one->entries_now();
    const std::size_t before = found.size();
    for (watchdog::SessionEntry& entry : entries) {
      const auto pid = entry.backend ? std::optional{entry.backend->pid} : entry.view.who->pid;
      const bool meant = by_pid
                             ? pid && static_cast<std::int64_t>(*pid) == *number
                             : static_cast<std::int64_t>(proxy::number(entry.view.id)) == *number;
      if (!meant) continue;
      const watchdog::Target kind = watchdog::target_of(entry);
      found.push_back({one, std::move(entry), kind});
    }
    if (!by_pid || found.size() > before || !one->server().monitor.enabled) continue;
    auto listing = co_await one->list_activity();
    if (!listing) {
      problem = fmt::format("server \"{}\" could not be asked: {}", one->server().name,
                            listing.error().message);
      continue;
    }
    const Instant now = proxy::monotonic_now();
    for (const watchdog::ListedProcess& process : listing->processes) {
      if (static_cast<std::int64_t>(process.pid) != *number) continue;
      if (process.backend_type == "client backend") {
        // An opaque session that no sample has seen is known by its leg only.
        const auto ours = std::ranges::find_if(entries, [&](const watchdog::SessionEntry& entry) {
          return entry.view.who->opaque && process_of(entry, *listing) == &process;
        });
        if (ours == entries.end()) {
          found.push_back({one, entry_of(process, *listing, now), watchdog::Target::direct});
        } else {
          const watchdog::Target kind = watchdog::target_of(*ours);
          found.push_back({one, std::move(*ours), kind});
        }
      } else {
        background = process.backend_type.empty() ? "hidden process" : process.backend_type;
      }
    }
  }
  if (found.size() > 1)
    co_return SqlError{"42725",
                       fmt::format("pid {} is there on {} servers", *number, found.size()),
                       {},
                       "SHOW SESSIONS WHERE pid = … shows them; KILL SESSION n names one"};
  if (!found.empty()) {
    Target one = std::move(found.front());
    if (!one.entry.backend && one.watchdog->server().monitor.enabled) {
      // No sample has seen it yet: the server is asked now, so that its end can be proven.
      const auto listing = co_await one.watchdog->list_activity();
      if (const auto* process = listing ? process_of(one.entry, *listing) : nullptr;
          process != nullptr && process->backend_start) {
        one.entry.backend = watchdog::BackendId{process->pid, *process->backend_start};
        one.entry.mapping = watchdog::Mapping::confirmed;
        one.entry.superuser = one.entry.superuser || process->superuser;
      }
    }
    co_return one;
  }
  if (!background.empty())
    co_return SqlError{"42809",
                       fmt::format("refused: pid {} is the {}, a background process", *number,
                                   cleaned(background)),
                       "Ending such a process helps nobody: PostgreSQL starts it again, or "
                       "restarts every session. It is never a target.",
                       "SHOW SESSIONS shows who the clients are"};
  if (!problem.empty()) co_return SqlError{"55000", problem};
  co_return SqlError{
      "42704", fmt::format("there is no {} {}", by_pid ? "backend with pid" : "session", *number)};
}

// ---------------------------------------------------------------- acts

Task<Row> Desk::act(Target target, proxy::KillAction action, proxy::JudgedCounter counter) {
  const watchdog::SessionEntry shown = target.entry;
  watchdog::HandResult result;
  if (host_.audit() == nullptr) {
    result.why = no_audit;
  } else {
    watchdog::HandOrder order;
    order.entry = std::move(target.entry);
    order.target = target.kind;
    order.action = action;
    order.counter = counter;
    order.actor = guest_.user;
    result = co_await target.watchdog->by_hand(std::move(order));
  }
  const proxy::SessionIdentity& who = *shown.view.who;
  Row row{text_or_null(result.incident),
          std::string{watchdog::name(result.outcome)},
          text(target.watchdog->server().name),
          session_of(target.kind, shown),
          pid_of(shown),
          start_of(shown),
          text_or_null(who.user),
          text_or_null(who.database),
          text_or_null(who.application),
          text_or_null(who.client.address),
          std::string{protocol::name(shown.view.facts.state)},
          std::string{action == proxy::KillAction::cancel ? "cancel" : "terminate"},
          text_or_null(result.step == "none" ? std::string{} : result.step),
          span_of(result.took),
          text_or_null(result.why)};
  co_return row;
}

Task<Outcome<Reply>> Desk::signal(const Signal& asked, const Scope& scope) {
  auto target = co_await find(asked.whom, scope);
  if (!target) {
    // As the function itself does it.
    const bool nobody = target.error().sqlstate == "42704";
    if (!asked.as_function || !nobody) co_return std::move(target.error());
    Reply reply = reply_of({{asked.column, Type::boolean}}, {{Cell{false}}});
    reply.warnings.push_back(
        {"01000", target.error().message + ", or it is not a PostgreSQL backend"});
    co_return reply;
  }
  const auto config = host_.config();
  const std::string why_not =
      never(target->entry, target->kind, config->protect, target->watchdog->server());
  if (!why_not.empty()) co_return SqlError{"42501", "refused: " + why_not};
  const bool cancels = asked.action == proxy::KillAction::cancel;
  Target one = std::move(*target);
  Row row = co_await act(std::move(one), asked.action,
                         cancels ? proxy::JudgedCounter::request : proxy::JudgedCounter::session);
  const std::string outcome = std::get<std::string>(row[1]);
  const bool done = outcome == watchdog::name(watchdog::Outcome::confirmed) ||
                    outcome == watchdog::name(watchdog::Outcome::already_gone);
  const std::string why = to_text(row.back(), Type::text);
  SqlError warning{"01000", fmt::format("outcome {}{}{}", outcome, why.empty() ? "" : ": ", why),
                   is_null(row[0]) ? "" : "Incident " + std::get<std::string>(row[0])};
  if (!asked.as_function) {
    std::vector<Row> rows;
    rows.push_back(std::move(row));
    Reply reply = reply_of(act_columns(), std::move(rows));
    co_return reply;
  }
  Reply reply = reply_of({{asked.column, Type::boolean}}, {{Cell{done}}});
  if (!done) reply.warnings.push_back(std::move(warning));
  co_return reply;
}

Task<Outcome<Reply>> Desk::preview(const Preview& asked, Scope scope) {
  All all = co_await sessions();
  scope.now = all.now;
  const auto keep = compile(asked.where, View::sessions, scope);
  if (!keep) co_return keep.error();
  const auto config = host_.config();
  const Instant now = proxy::monotonic_now();
  const auto column = [](std::string_view name) { return *column_of(View::sessions, name); };
  PendingKills::Batch batch;
  batch.token = fresh_token();
  batch.user = guest_.user;
  batch.server = guest_.server;
  batch.until = now + PendingKills::good_for;
  const bool cancels = asked.action == proxy::KillAction::cancel;
  std::vector<Row> rows;
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    const Row& row = all.rows[i];
    if (!(*keep)(row)) continue;
    Target& target = all.targets[i];
    std::string would = cancels ? "cancel" : "terminate";
    const Cell& origin = row[column("origin")];
    if (origin == Cell{std::string{"background"}}) {
      would = "never: a background process is never a target";
    } else if (const std::string why_not =
                   never(target.entry, target.kind, config->protect, target.watchdog->server());
               !why_not.empty()) {
      would = "never: " + why_not;
    } else {
      if (batch.orders.size() == PendingKills::most_sessions)
        co_return SqlError{
            "54000", "too many sessions",
            fmt::format("one confirmation is good for {} at most", PendingKills::most_sessions),
            "narrow the condition"};
      watchdog::HandOrder order;
      order.entry = target.entry;
      order.target = target.kind;
      order.action = asked.action;
      order.counter = cancels ? proxy::JudgedCounter::request : proxy::JudgedCounter::state;
      order.actor = guest_.user;
      batch.orders.push_back({target.watchdog, std::move(order)});
    }
    const bool acts = would.size() < 10;
    rows.push_back({acts ? Cell{batch.token} : Cell{Null{}}, std::move(would),
                    row[column("server")], row[column("session")], row[column("pid")],
                    row[column("backend_start")], row[column("usename")], row[column("datname")],
                    row[column("application")], row[column("client_addr")], row[column("state")],
                    row[column("state_age")], row[column("query")]});
  }
  Reply reply = reply_of(preview_columns(), std::move(rows));
  reply.warnings = std::move(all.warnings);
  if (!batch.orders.empty()) {
    const std::string token = batch.token;
    const std::size_t count = batch.orders.size();
    kills_.add(std::move(batch), now);
    SqlError notice{
        "00000",
        fmt::format(
            "nothing was ended yet: KILL CONFIRM '{}' within {} minutes {} {} "
            "session{}, each only if it still does the same",
            token, std::chrono::duration_cast<std::chrono::minutes>(PendingKills::good_for).count(),
            cancels ? "cancels" : "ends", count, count == 1 ? "" : "s")};
    reply.warnings.push_back(std::move(notice));
  }
  co_return reply;
}

Task<Outcome<Reply>> Desk::confirm(const Confirm& asked, const Scope& scope) {
  const auto cell = evaluate(asked.token, Type::text, scope);
  if (!cell) co_return cell.error();
  const auto* token = std::get_if<std::string>(&*cell);
  auto batch = kills_.take(token != nullptr ? *token : std::string{}, guest_.user, guest_.server,
                           proxy::monotonic_now());
  if (!batch)
    co_return SqlError{"22023",
                       "no such confirmation token, or it is used or too old",
                       {},
                       "KILL WHERE … shows whom it would end, and gives a new one"};
  // All at once would wait for one another on the one kill connection; one by one would take long.
  struct Shared {
    explicit Shared(asio::any_io_executor executor) : done(std::move(executor)) {}
    asio::steady_timer done;
    std::vector<Row> rows;
    std::size_t next = 0;
    std::size_t running = 0;
  };
  const auto executor = co_await asio::this_coro::executor;
  Shared shared{executor};
  shared.rows.resize(batch->orders.size());
  while (shared.next < batch->orders.size() || shared.running > 0) {
    while (shared.next < batch->orders.size() && shared.running < together) {
      const std::size_t place = shared.next++;
      PendingKills::One& one = batch->orders[place];
      Target target;
      target.watchdog = one.watchdog;
      target.kind = one.order.target;
      target.entry = std::move(one.order.entry);
      ++shared.running;
      asio::co_spawn(executor, act(std::move(target), one.order.action, one.order.counter),
                     [&shared, place](const std::exception_ptr& failure, Row row) {
                       if (!failure) shared.rows[place] = std::move(row);
                       --shared.running;
                       shared.done.cancel();
                     });
    }
    if (shared.running == 0) continue;
    shared.done.expires_at(asio::steady_timer::time_point::max());
    (void)co_await shared.done.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  std::erase_if(shared.rows, [](const Row& row) { return row.empty(); });
  Reply reply = reply_of(act_columns(), std::move(shared.rows));
  co_return reply;
}

Task<Outcome<Reply>> Desk::exempt(const Exempt& asked, const Scope& scope) {
  const auto cell = evaluate(asked.time, Type::interval, scope);
  if (!cell) co_return cell.error();
  const auto* span = std::get_if<Span>(&*cell);
  constexpr std::int64_t longest = std::int64_t{7} * 86'400 * 1'000'000;
  if (span == nullptr || span->microseconds < 1'000'000 || span->microseconds > longest)
    co_return SqlError{"22023",
                       "a session can be exempt for one second to seven days",
                       {},
                       "who needs more belongs into [protect], or into a rule's [rule.except]"};
  auto target = co_await find(asked.whom, scope);
  if (!target) co_return std::move(target.error());
  if (!watchdog::is_ours(target->kind))
    co_return SqlError{"0A000", "only a session through pgleash can be exempt"};
  const Duration time = std::chrono::microseconds{span->microseconds};
  target->watchdog->exempt(target->entry.view.id, time);
  const watchdog::ServerTime until{scope.now.microseconds + span->microseconds};
  std::vector<Row> rows;
  rows.push_back({text(target->watchdog->server().name), session_of(target->kind, target->entry),
                  pid_of(target->entry), text_or_null(target->entry.view.who->application), until});
  Reply reply = reply_of(exempt_columns(), std::move(rows));
  co_return reply;
}

}  // namespace pgleash::console
