#pragma once

#include "app/console/conversation.hpp"
#include "app/console/host.hpp"
#include "app/console/pending_kills.hpp"
#include "app/console/reply.hpp"
#include "proxy/console_door.hpp"
#include "proxy/flood_count.hpp"

#include <string>
#include <vector>

namespace pgleash::console {

/// A process of the server as a session that is not ours: see watchdog::entry_of.
[[nodiscard]] watchdog::SessionEntry entry_of(const watchdog::ListedProcess& process,
                                              const watchdog::ActivityListing& listing,
                                              Instant taken);

/// Answers one guest's commands: checks the role, which a reload may change at any time, does what
/// was asked, writes down who asked for it and what came of it. Nothing is changed by an act that
/// cannot be written down, but for PAUSE, which only makes things safer. Control thread.
class Desk final : public Commander {
 public:
  /// `kills` are those of all guests. References outlive the desk.
  /// `floods` counts what is looked at and refused, by who asked.
  Desk(Host& host, PendingKills& kills, proxy::FloodCount& floods, proxy::ConsoleGuest guest);

  Task<Outcome<Reply>> execute(const Statement& statement, Scope scope) override;
  Task<void> refused(std::string text, SqlError error) override;

 private:
  /// A session or process that a command names.
  struct Target {
    watchdog::Watchdog* watchdog = nullptr;
    watchdog::SessionEntry entry;
    watchdog::Target kind = watchdog::Target::session;
  };
  struct All {
    std::vector<Row> rows;
    std::vector<SqlError> warnings;
    /// Of each row, in its order: what an act on it would need.
    std::vector<Target> targets;
    watchdog::ServerTime now;
  };

  Task<Outcome<Reply>> perform(const Statement& statement, const Scope& scope);
  Task<Outcome<Reply>> query(const Query& query, Scope scope);
  Task<Outcome<Reply>> explain(const Explain& asked, const Scope& scope);
  Task<Outcome<Reply>> signal(const Signal& asked, const Scope& scope);
  Task<Outcome<Reply>> preview(const Preview& asked, Scope scope);
  Task<Outcome<Reply>> confirm(const Confirm& asked, const Scope& scope);
  Task<Outcome<Reply>> exempt(const Exempt& asked, const Scope& scope);
  Outcome<Reply> plain(const Plain& asked);

  Task<All> sessions();
  [[nodiscard]] std::vector<Row> status_rows(View view);
  /// Who is meant: a pid is resolved to pid and backend_start here and now. Refuses what is out of
  /// reach.
  Task<Outcome<Target>> find(const Whom& whom, const Scope& scope);
  Task<Row> act(Target target, proxy::KillAction action, proxy::JudgedCounter counter);
  Task<bool> write_down(std::string command, std::string result);
  /// The same for what changed nothing: of a flood only so many, and then how many more.
  Task<void> write_down_some(std::string command, std::string result);
  [[nodiscard]] Role role() const;

  Host& host_;
  PendingKills& kills_;
  proxy::FloodCount& floods_;
  proxy::ConsoleGuest guest_;
};

}  // namespace pgleash::console
