#pragma once

#include "config/config.hpp"
#include "proxy/session_directory.hpp"
#include "watchdog/activity_lister.hpp"
#include "watchdog/activity_sampler.hpp"
#include "watchdog/advice_watch.hpp"
#include "watchdog/audit_log.hpp"
#include "watchdog/brake.hpp"
#include "watchdog/by_hand.hpp"
#include "watchdog/cost_collector.hpp"
#include "watchdog/direct_sessions.hpp"
#include "watchdog/evidence.hpp"
#include "watchdog/kill_connection.hpp"
#include "watchdog/leak_endings.hpp"
#include "watchdog/leak_watch.hpp"
#include "watchdog/orphans.hpp"
#include "watchdog/own_connections.hpp"
#include "watchdog/recent_actions.hpp"
#include "watchdog/recorder.hpp"
#include "watchdog/rule_engine.hpp"
#include "watchdog/running_statements.hpp"
#include "watchdog/scram_verifiers.hpp"
#include "watchdog/session_book.hpp"
#include "watchdog/status.hpp"
#include "watchdog/task.hpp"
#include "watchdog/terminator.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// What the log says of a watchdog's doings. Called on the control thread; must not block.
class WatchdogEvents {
 public:
  virtual ~WatchdogEvents() = default;
  /// `application_name`: what the monitor's connections call themselves.
  virtual void monitor(std::string_view server, bool up, std::string_view problem,
                       std::string_view application_name) = 0;
  /// What an operator should know of that server is another than before.
  virtual void advised(std::string_view server, const std::vector<Advice>& advice) = 0;
  virtual void warned(std::string_view server, const Verdict& verdict) = 0;
  /// Somebody blocks others whom no rule can end: a direct session, a prepared transaction.
  virtual void blocking(std::string_view server, const BlockingReport& report) = 0;
  /// A verdict was decided upon; `acting`: a termination begins.
  virtual void judged(std::string_view server, const Verdict& verdict, bool acting) = 0;
  virtual void finished(std::string_view server, const Verdict& verdict,
                        const TerminationRecord& record) = 0;
  /// A fuse opened: who is within its scope is not ended for now.
  virtual void fuse_tripped(std::string_view server, const OpenFuse& fuse) = 0;
  /// The server is another one, or in another life, than the sample before.
  virtual void failover(std::string_view server, std::string_view what) = 0;
  /// A rule of cost can, or can no longer, be judged here; `why` empty: it can.
  virtual void no_data(std::string_view server, std::string_view rule, std::string_view kind,
                       std::string_view why) = 0;
  /// A backend that had survived is gone after all.
  virtual void resolved(std::string_view server, const Verdict& verdict, Duration after) = 0;
  /// A backend of ours has no session; once for each. A verdict follows.
  virtual void orphan(std::string_view server, const Orphan& orphan) = 0;
  /// The server no longer shows the backend of a session; once for each.
  virtual void backend_lost(std::string_view server, const SessionEntry& session) = 0;
  virtual void leak_detected(std::string_view server, const LeakReport& report) = 0;
  virtual void leak_cleared(std::string_view server, const LeakReport& report) = 0;
  /// The recording cannot be written; `why` empty: it can again.
  virtual void recording(std::string_view server, std::string_view why) = 0;
  virtual void failure(std::string_view where, std::string_view what) = 0;
};

/// The watchdog of one server: two loops, sampling and judging, and a task for each termination.
/// Control thread.
///
/// Judging runs on in-band views every RuleEngine::judging_interval, with the newest sample beside
/// them; without a monitor the rules that need only in-band facts go on. A slow sample delays no
/// judgement and no kill.
class Watchdog {
 public:
  /// `audit` may be null (sink off). All references outlive the watchdog; the watchdog outlives its
  /// tasks: await stop(). `server` is what needs a restart, `config` the first generation of what
  /// reload() replaces. `mark` is this watchdog's alone.
  Watchdog(boost::asio::io_context& context, std::shared_ptr<const config::Config> config,
           const config::Server& server, std::unique_ptr<RuleEngine> engine,
           proxy::SessionDirectory& sessions, AuditLog* audit, WatchdogEvents& events,
           InstanceMark mark);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start();
  /// Ends the loops and waits for terminations under way; survivors are given up.
  Task<void> stop();

  /// Takes another generation of rules and enforcement, whole, between two judgements. Verdicts
  /// under way end by the rule that gave them. `engine` and `before` are compiled from the new and
  /// the old configuration; `before` is run beside for a while, as the rehearsal of the other.
  void reload(std::shared_ptr<const config::Config> config, std::unique_ptr<RuleEngine> engine,
              std::unique_ptr<RuleEngine> before);

  /// The kill switch, and a kill by hand: see Brake.
  void pause() noexcept { brake_.pause(); }
  void resume() { brake_.resume(); }
  /// See Brake::reset_fuses.
  void reset_fuses() { brake_.reset_fuses(); }

  /// Ends, or cancels, what a person ordered, as the order names it, or nothing: by the same ladder
  /// as a rule's verdict, audited, verified; counted and not braked, in either mode.
  Task<HandResult> by_hand(HandOrder order);
  /// No rule ends the session for that long from now on, whatever was said before. Verdicts under
  /// way are not taken back.
  void exempt(proxy::SessionId session, Duration how_long);
  /// Until when; the epoch: it is not exempt by hand.
  [[nodiscard]] Instant exempt_until(proxy::SessionId session) const;
  /// All sessions as they are at this moment, with what the newest snapshot knows of their
  /// backends.
  Task<std::vector<SessionEntry>> entries_now();
  /// All processes of the server, asked for now over a connection of its own.
  /// The SCRAM secret of a role that is about to log in; empty: none may so. Ends by `deadline`.
  Task<PgResult<std::string>> scram_verifier(std::string role, Instant deadline);
  Task<PgResult<ActivityListing>> list_activity();
  [[nodiscard]] const RecentActions& recent_actions() const noexcept { return recent_; }
  [[nodiscard]] const config::Server& server() const noexcept { return server_; }
  /// Why the session is judged as it is, by the newest snapshot. Empty: it is not in it. Its
  /// statements are those that the newest sample shows.
  [[nodiscard]] std::optional<SessionExplanation> explain(proxy::SessionId session) const;
  /// The same with the statements as the session's own thread knows them.
  Task<std::optional<SessionExplanation>> explain_fully(proxy::SessionId session);

  [[nodiscard]] std::shared_ptr<const WatchdogStatus> status() const noexcept { return status_; }

 private:
  /// A verdict that left its session there: the activity is judged afresh, exemptions and all, from
  /// `when` on.
  struct Counted;
  struct Later {
    Verdict verdict;
    Instant when;
  };

  Task<void> judge();
  Task<void> tick();
  Task<void> learn(std::vector<RunningStatements::Question> questions);
  void watch_leaks(const Snapshot& snapshot, std::vector<Verdict>& verdicts);
  Task<void> report_leak(LeakReport report);
  void forget_leaks(const std::vector<Leak>& standing);
  void judge_again(Instant now);
  void note_server(Instant now);
  void rehearse(const Snapshot& snapshot);
  void forget(const Verdict& verdict);
  OrphanReport reconcile(const Snapshot& snapshot);
  void judge_opaque(const Snapshot& snapshot, std::vector<Verdict>& verdicts);
  void judge_others(const std::optional<Snapshot>& direct, std::vector<Verdict>& verdicts);
  [[nodiscard]] bool in_hand(const BackendId& backend) const;
  void decide(Verdict verdict, Instant now);
  void exempt_by_hand(Verdict& verdict);
  void finish_without_act(const Verdict& verdict, Outcome outcome, std::string why);
  Task<void> write_line(AuditEvent event, Verdict verdict, config::Mode mode,
                        std::optional<Outcome> outcome, std::string why);
  Task<TerminationRecord> terminate(Verdict verdict, config::Mode mode);
  Task<void> terminate_one(Verdict verdict, config::Mode mode);
  Task<void> watch_survivor(Verdict verdict, config::Mode mode, Instant since);
  void count(const Verdict& verdict, config::Mode mode, Outcome outcome, Duration took);
  void publish(std::shared_ptr<const Snapshot> snapshot);
  void record(const Snapshot& snapshot);
  void note_monitor();
  void note_costs();
  /// `runs` is true until it ends, by an exception or not.
  void spawn(Task<void> task, const char* what, bool* runs = nullptr);
  void start_what_ended();

  boost::asio::io_context& context_;
  std::shared_ptr<const config::Config> config_;
  const config::Server& server_;
  InstanceMark mark_;
  std::unique_ptr<RuleEngine> engine_;
  std::unique_ptr<RuleEngine> before_;  ///< the rules before a reload, as their rehearsal
  proxy::SessionDirectory& sessions_;
  WatchdogEvents& events_;
  SessionBook book_;
  SnapshotJoin join_;
  Protection protection_;
  OrphanReconcile orphans_;
  VerdictIds orphan_ids_;
  std::unique_ptr<RuleEngine> opaque_engine_;  ///< null: no listener passes TLS through
  std::unique_ptr<RuleEngine> direct_engine_;  ///< null: direct sessions are only counted
  OtherInstances others_;
  bool orphans_may_end_;  ///< no listener lets the statement of a client that is gone finish
  FalsePositiveLedger ledger_;
  std::vector<BackendId> in_hand_;  ///< being ended, or survivors
  LeakWatch leaks_;
  std::vector<std::shared_ptr<const LeakReport>> leak_reports_;  ///< of those that stand
  Brake brake_;
  FingerprintCache fingerprints_;
  RunningStatements statements_;
  std::unique_ptr<ActivitySampler> sampler_;  ///< null: monitor = "none"
  std::unique_ptr<AdviceWatch> advice_;       ///< null: monitor = "none"
  std::unique_ptr<Recorder> recorder_;        ///< null: off
  Instant recorded_{};                        ///< the last frame's
  std::string recording_problem_;             ///< as it was said last
  CostCollector costs_;
  KillConnection kill_connection_;
  ScramVerifiers verifiers_;
  ActivityLister lister_;
  Terminator terminator_;
  AuditLog* audit_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer idle_;  ///< cancelled whenever a task ends
  WatchdogStatus totals_;
  std::shared_ptr<const WatchdogStatus> status_;
  std::vector<Later> later_;
  VerdictIds hand_ids_;
  std::map<std::uint64_t, Instant> exempt_;  ///< by hand, until when
  RecentActions recent_;
  std::optional<ServerIdentity> identity_;
  std::size_t tasks_ = 0;
  bool monitor_was_up_ = false;
  std::uint64_t monitor_logins_ = 0;  ///< that were noted
  std::string monitor_problem_;
  std::map<std::string, NoData> no_data_said_;  ///< by rule
  bool sampler_runs_ = false;
  bool advice_runs_ = false;
  bool stopping_ = false;
};

}  // namespace pgleash::watchdog
