#include "app/console/desk.hpp"

#include "app/console/rows.hpp"
#include "config/loader.hpp"
#include "proxy/clock.hpp"
#include "watchdog/direct_sessions.hpp"
#include "watchdog/explain.hpp"
#include "watchdog/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

// What is looked at, and how each command is let through and written down; desk_acts.cpp has those
// that end somebody.
namespace pgleash::console {

namespace {

constexpr std::size_t longest_command = 1024;

std::string select_tag(std::size_t rows) {
  return "SELECT " + std::to_string(rows);
}

/// One line, whatever was typed: for the audit log and the log.
std::string in_one_line(std::string_view text) {
  std::string line = cleaned(text.substr(0, longest_command));
  for (char& c : line)
    if (c == '\n' || c == '\t') c = ' ';
  return line;
}

/// PAUSE can only make things safer: a full disk must not stand in its way.
bool changes_something(const Action& action) noexcept {
  if (const auto* plain = std::get_if<Plain>(&action)) return plain->kind != Plain::Kind::pause;
  return std::holds_alternative<Exempt>(action);
}

/// Ends nobody and changes nothing: a flood of it must not fill the disk.
bool only_looks(const Action& action) noexcept {
  return !std::holds_alternative<Signal>(action) && !std::holds_alternative<Confirm>(action) &&
         !std::holds_alternative<Exempt>(action) && !std::holds_alternative<Plain>(action);
}

std::vector<Row> lines_of(std::string_view text) {
  std::vector<Row> rows;
  while (!text.empty()) {
    const auto end = text.find('\n');
    rows.push_back({console::text(text.substr(0, end))});
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return rows;
}

Reply reply_of(std::vector<Column> columns, std::vector<Row> rows) {
  Reply reply;
  reply.tag = select_tag(rows.size());
  reply.table = Table{std::move(columns), std::move(rows)};
  return reply;
}

std::string incident_text(std::string_view server, const watchdog::RecentAction& action) {
  const watchdog::Verdict& verdict = action.verdict;
  const proxy::SessionIdentity& who = *verdict.session.view.who;
  std::string text = fmt::format("incident {} on server {}, {}\n", verdict.id.text, server,
                                 watchdog::in_utc(action.at));
  text += fmt::format("  {} of user {}, database {}, from {}, application {}\n",
                      watchdog::name(verdict.target), watchdog::printable(who.user),
                      watchdog::printable(who.database),
                      who.client.address.empty() ? "a Unix socket" : who.client.address,
                      who.application.empty() ? "unknown" : watchdog::printable(who.application));
  if (verdict.session.backend)
    text += fmt::format("  backend pid {}, started {}\n",
                        static_cast<std::int32_t>(verdict.session.backend->pid),
                        to_text(verdict.session.backend->backend_start, Type::timestamp));
  text += fmt::format("  it was {} for {}\n", protocol::name(verdict.session.view.facts.state),
                      watchdog::in_seconds(verdict.measured));
  if (verdict.actor.empty()) {
    text += fmt::format("  rule '{}' ({}), limit {}, action {}, mode {}\n", verdict.rule,
                        watchdog::kind_name(verdict), watchdog::in_seconds(verdict.limit),
                        config::name(verdict.action), config::name(action.mode));
  } else {
    text += fmt::format("  ordered by {} on the console: {}\n", watchdog::printable(verdict.actor),
                        config::name(verdict.action));
  }
  text += fmt::format("  outcome {}", watchdog::name(action.outcome));
  if (!action.step.empty() && action.step != "none") text += fmt::format(", by {}", action.step);
  if (action.took > Duration::zero())
    text += fmt::format(", proven after {}", watchdog::in_seconds(action.took));
  if (!action.why.empty()) text += fmt::format(": {}", action.why);
  return text + '\n' + watchdog::to_text(action.evidence);
}

}  // namespace

Desk::Desk(Host& host, PendingKills& kills, proxy::FloodCount& floods, proxy::ConsoleGuest guest)
    : host_(host), kills_(kills), floods_(floods), guest_(std::move(guest)) {}

Role Desk::role() const {
  return role_of(host_.config()->console, guest_.user);
}

// ---------------------------------------------------------------- the desk itself

Task<Outcome<Reply>> Desk::execute(const Statement& statement, Scope scope) {
  const Role has = role();
  const Role needs = role_for(statement.action);
  std::string command = in_one_line(statement.text);
  if (has < needs) {
    SqlError error{
        "42501",
        fmt::format("permission denied: user \"{}\" is {}, this takes {}", cleaned(guest_.user),
                    has == Role::none ? "nobody here any more" : "a " + std::string{name(has)},
                    needs == Role::viewer ? "a viewer"
                    : needs == Role::op   ? "an operator"
                                          : "an admin"),
        {},
        fmt::format("[console] {}s of the configuration lists who may", std::string{name(needs)})};
    co_await write_down_some(std::move(command), "refused: " + error.message);
    co_return error;
  }
  const bool first = changes_something(statement.action);
  if (first) {
    const bool written = co_await write_down(command, "ok");
    if (!written)
      co_return SqlError{"58030", "the audit log could not be written: nothing was changed"};
  }
  auto reply = co_await perform(statement, scope);
  std::string result =
      reply ? "ok" : "error " + reply.error().sqlstate + ": " + reply.error().message;
  if (only_looks(statement.action)) {
    co_await write_down_some(std::move(command), std::move(result));
  } else if (!first || !reply) {
    (void)co_await write_down(std::move(command), std::move(result));
  }
  co_return reply;
}

Task<void> Desk::refused(std::string text, SqlError error) {
  std::string command = in_one_line(text);
  std::string result = "error " + error.sqlstate + ": " + error.message;
  co_await write_down_some(std::move(command), std::move(result));
}

Task<void> Desk::write_down_some(std::string command, std::string result) {
  // Whoever may do nothing here may have any name.
  const Role has = role();
  const std::string kind{has == Role::none ? std::string_view{} : guest_.user};
  if (!floods_.admit(kind, proxy::monotonic_now())) co_return;
  (void)co_await write_down(std::move(command), std::move(result));
}

Task<bool> Desk::write_down(std::string command, std::string result) {
  const std::string_view as = name(role());
  host_.commanded(guest_.user, as, command, result);
  watchdog::AuditLog* audit = host_.audit();
  if (audit == nullptr) co_return true;
  watchdog::AuditRecord line;
  line.ts = proxy::wall_now();
  line.event = watchdog::AuditEvent::command;
  line.actor = guest_.user;
  line.role = as;
  line.command = command.empty() ? "(nothing)" : std::move(command);
  line.result = std::move(result);
  line.server = guest_.server;
  line.client_addr = guest_.client.address;
  if (!guest_.client.address.empty()) line.client_port = guest_.client.port;
  const bool written = co_await audit->write(std::move(line));
  co_return written;
}

Task<Outcome<Reply>> Desk::perform(const Statement& statement, const Scope& scope) {
  const Action& action = statement.action;
  if (const auto* asked = std::get_if<Query>(&action)) co_return co_await query(*asked, scope);
  if (const auto* asked = std::get_if<Explain>(&action)) co_return co_await explain(*asked, scope);
  if (const auto* asked = std::get_if<Signal>(&action)) co_return co_await signal(*asked, scope);
  if (const auto* asked = std::get_if<Preview>(&action)) co_return co_await preview(*asked, scope);
  if (const auto* asked = std::get_if<Confirm>(&action)) co_return co_await confirm(*asked, scope);
  if (const auto* asked = std::get_if<Exempt>(&action)) co_return co_await exempt(*asked, scope);
  if (const auto* asked = std::get_if<Plain>(&action)) co_return plain(*asked);
  co_return SqlError{"XX000", "nobody answers this"};
}

// ---------------------------------------------------------------- looking

Task<Desk::All> Desk::sessions() {
  All all;
  all.now = server_time(proxy::wall_now());
  for (watchdog::Watchdog* one : host_.watchdogs()) {
    const std::vector<watchdog::SessionEntry> entries = co_await one->entries_now();
    const Instant now = proxy::monotonic_now();
    std::optional<watchdog::ActivityListing> listing;
    if (one->server().monitor.enabled) {
      auto read = co_await one->list_activity();
      if (read) {
        listing = std::move(*read);
      } else {
        all.warnings.push_back({"01000",
                                fmt::format("server \"{}\" could not be asked: {}",
                                            one->server().name, read.error().message),
                                "Shown is what pgleash knows by itself: its own sessions."});
      }
    }
    const watchdog::ServerTime server_now = listing ? listing->server_now : all.now;
    if (listing) all.now = server_now;
    const SessionSources sources{one->server().name,
                                 one->server().monitor.user,
                                 entries,
                                 listing ? &*listing : nullptr,
                                 now,
                                 server_now,
                                 [one](proxy::SessionId id) { return one->exempt_until(id); }};
    add_session_rows(sources, all.rows);
    for (const watchdog::SessionEntry& entry : entries)
      all.targets.push_back({one, entry, watchdog::target_of(entry)});
    // The rows behind those of our sessions are the server's other processes, in its order.
    for (std::size_t i = all.targets.size(); i < all.rows.size(); ++i) {
      Target target;
      target.watchdog = one;
      target.kind = watchdog::Target::direct;
      const auto pid = std::get<std::int64_t>(all.rows[i][*column_of(View::sessions, "pid")]);
      for (const watchdog::ListedProcess& process : listing->processes)
        if (static_cast<std::int64_t>(process.pid) == pid)
          target.entry = entry_of(process, *listing, now);
      all.targets.push_back(std::move(target));
    }
  }
  co_return all;
}

std::vector<Row> Desk::status_rows(View view) {
  std::vector<Row> rows;
  const auto config = host_.config();
  const Instant now = proxy::monotonic_now();
  switch (view) {
    case View::config:
      for (const auto& [key, value] : config::effective_values(*config))
        rows.push_back({text(key), text(value)});
      return rows;
    case View::version: {
      const Host::Build build = host_.build_facts();
      rows.push_back({text(build.version), text(build.revision), server_time(build.started)});
      return rows;
    }
    case View::help:
      add_help_rows(rows);
      return rows;
    default:
      break;
  }
  for (watchdog::Watchdog* one : host_.watchdogs()) {
    const auto status = one->status();
    switch (view) {
      case View::rules:
        add_rule_rows(*status, *config, rows);
        break;
      case View::actions:
        add_action_rows(status->server, one->recent_actions(), rows);
        break;
      case View::leaks:
        add_leak_rows(*status, rows);
        break;
      case View::blocking:
        add_blocking_rows(*status, rows);
        break;
      case View::fuses:
        add_fuse_rows(*status, now, rows);
        break;
      default:
        rows.push_back(server_row(*status, one->server()));
        break;
    }
  }
  return rows;
}

Task<Outcome<Reply>> Desk::query(const Query& query, Scope scope) {
  std::vector<SqlError> warnings;
  std::vector<Row> rows;
  if (query.view == View::sessions) {
    All all = co_await sessions();
    rows = std::move(all.rows);
    warnings = std::move(all.warnings);
    scope.now = all.now;
  } else {
    rows = status_rows(query.view);
  }
  auto table = console::run(query, std::move(rows), scope);
  if (!table) co_return std::move(table.error());
  Reply reply = reply_of(std::move(table->columns), std::move(table->rows));
  reply.warnings = std::move(warnings);
  co_return reply;
}

Task<Outcome<Reply>> Desk::explain(const Explain& asked, const Scope& scope) {
  if (!asked.whom) {
    const auto id = evaluate(asked.incident, Type::text, scope);
    if (!id) co_return id.error();
    const auto* text = std::get_if<std::string>(&*id);
    std::string upper = text != nullptr ? *text : std::string{};
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    for (watchdog::Watchdog* one : host_.watchdogs())
      if (const auto* action = one->recent_actions().find(upper))
        co_return reply_of(explain_columns(), lines_of(incident_text(one->server().name, *action)));
    co_return SqlError{"42704",
                       "no recent incident \"" + cleaned(upper) + '"',
                       {},
                       "The audit log and the log have older ones: search them for the id."};
  }
  auto target = co_await find(*asked.whom, scope);
  if (!target) co_return std::move(target.error());
  if (!watchdog::is_ours(target->kind))
    co_return SqlError{"0A000",
                       "this session does not come through pgleash: no rule of it can be explained",
                       {},
                       "direct_sessions = \"judge\" on the server lets rules judge such sessions"};
  const auto explanation = co_await target->watchdog->explain_fully(target->entry.view.id);
  if (!explanation)
    co_return SqlError{
        "55000", "the session is too young: no rule has seen it yet", {}, "ask again in a second"};
  co_return reply_of(explain_columns(),
                     lines_of(watchdog::to_text(*explanation, proxy::wall_now())));
}

Outcome<Reply> Desk::plain(const Plain& asked) {
  std::string said;
  switch (asked.kind) {
    case Plain::Kind::pause:
      host_.set_paused(true, guest_.user);
      said = "no rule ends anybody until RESUME ENFORCEMENT";
      break;
    case Plain::Kind::resume:
      host_.set_paused(false, guest_.user);
      said = "rules act again; open fuses are reset";
      break;
    case Plain::Kind::reset_fuse: {
      std::size_t open = 0;
      for (watchdog::Watchdog* one : host_.watchdogs()) {
        open += one->status()->brake.open_fuses.size();
        one->reset_fuses();
      }
      said = fmt::format("{} open fuse{} reset", open, open == 1 ? "" : "s");
      break;
    }
    case Plain::Kind::reload: {
      const std::string problem = host_.reload_for(guest_.user);
      if (!problem.empty())
        return SqlError{"F0000", "the configuration was not taken over: " + problem,
                        "the one before it is in force", "pgleash check --config FILE"};
      said = "the configuration is in force; the log names what waits for a restart";
      break;
    }
    case Plain::Kind::drain:
      host_.drain_for(guest_.user);
      said = "draining: no longer ready, then sessions end as they become idle";
      break;
  }
  return reply_of(plain_columns(), {{text(said)}});
}

}  // namespace pgleash::console
