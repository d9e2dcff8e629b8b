#include "watchdog/watchdog.hpp"

#include "config/reload.hpp"
#include "watchdog/clock.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <utility>

namespace pgleash::watchdog {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr Duration longest_survivor_pause = 30s;
/// Applications told apart in application_actions_total; what comes later is "other".
constexpr std::size_t max_counted_applications = 200;

/// After what time an activity may be judged again although it had its verdict: when nothing was
/// done to it. Nothing: never; it is gone, over, or still being verified.
std::optional<Duration> until_judged_again(const Verdict& verdict, Outcome outcome) {
  switch (outcome) {
    case Outcome::exempted:
      return 1s;  // a COMMIT was on its way
    case Outcome::recovered:
      // A rule that judges a whole session or transaction can meet the same activity again.
      if (verdict.counter == proxy::JudgedCounter::session ||
          verdict.counter == proxy::JudgedCounter::transaction)
        return 1s;
      return std::nullopt;
    case Outcome::error:
      return 10s;  // the audit log, mostly
    case Outcome::denied:
      return 60s;  // somebody has to grant something
    default:
      return std::nullopt;
  }
}

VerdictIds fresh_ids() {
  std::random_device random;
  return VerdictIds{(std::uint64_t{random()} << 32U) | random()};
}

/// The patterns were compiled before, by the rule engine, which reports their faults.
Protection protection_of(const config::Config& config) {
  std::vector<config::Diagnostic> known;
  return Protection{config.protect, known};
}

std::unique_ptr<RuleEngine> direct_engine(const config::Config& config,
                                          const config::Server& server) {
  if (server.direct_sessions != config::DirectSessions::judge || !server.monitor.enabled)
    return nullptr;
  std::vector<config::Diagnostic> known;
  return RuleEngine::compile(rules_for_direct(config.rules), config.protect, known, fresh_ids(),
                             config.enforcement.evidence_max_age);
}

/// Rules over what the server tells of the sessions whose bytes nobody here can read.
std::unique_ptr<RuleEngine> opaque_engine(const config::Config& config,
                                          const config::Server& server) {
  const auto passes = [&](const config::Listener& listener) {
    return listener.server == server.name && listener.tls.mode == config::ListenerTlsMode::opaque;
  };
  if (!server.monitor.enabled || std::ranges::none_of(config.listeners, passes)) return nullptr;
  std::vector<config::Diagnostic> known;
  return RuleEngine::compile(rules_for_direct(config.rules), config.protect, known, fresh_ids(),
                             config.enforcement.evidence_max_age);
}

bool cancels_for_lost_clients(const config::Config& config, const config::Server& server) {
  return std::none_of(config.listeners.begin(), config.listeners.end(),
                      [&](const config::Listener& listener) {
                        return listener.server == server.name &&
                               listener.on_client_gone == config::OnClientGone::finish;
                      });
}

const std::vector<proxy::LegRecord>& inherited(proxy::SessionDirectory& sessions) {
  static const std::vector<proxy::LegRecord> none;
  const proxy::LegJournal* journal = sessions.journal();
  return journal == nullptr ? none : journal->inherited();
}

/// Rules judge direct sessions under the same names.
void add_status(std::vector<RuleStatus>& rules, const std::vector<RuleStatus>& more) {
  for (const RuleStatus& one : more) {
    const auto same = std::find_if(rules.begin(), rules.end(),
                                   [&](const RuleStatus& rule) { return rule.rule == one.rule; });
    if (same == rules.end()) continue;
    same->matching += one.matching;
    same->warned_total += one.warned_total;
    same->paused += one.paused;
  }
}

/// "sessions.jsonl"; of several servers "sessions-NAME.jsonl".
std::string recording_file(const std::string& file, std::size_t servers, const std::string& name) {
  if (servers == 1) return file;
  const auto slash = file.rfind('/');
  const auto dot = file.rfind('.');
  const bool has_end = dot != std::string::npos && (slash == std::string::npos || dot > slash + 1);
  const auto at = has_end ? dot : file.size();
  return file.substr(0, at) + '-' + name + file.substr(at);
}

template <class Histogram>
void observe(Histogram& histogram, Duration took) {
  const double seconds = std::chrono::duration<double>(took).count();
  const auto bucket =
      std::lower_bound(action_duration_bounds.begin(), action_duration_bounds.end(), seconds);
  ++histogram.buckets[static_cast<std::size_t>(bucket - action_duration_bounds.begin())];
  histogram.sum_seconds += seconds;
}

}  // namespace

Watchdog::Watchdog(asio::io_context& context, std::shared_ptr<const config::Config> config,
                   const config::Server& server, std::unique_ptr<RuleEngine> engine,
                   proxy::SessionDirectory& sessions, AuditLog* audit, WatchdogEvents& events,
                   InstanceMark mark)
    : context_(context),
      config_(std::move(config)),
      server_(server),
      mark_(std::move(mark)),
      engine_(std::move(engine)),
      sessions_(sessions),
      events_(events),
      join_(
          server.name, server.monitor.enabled,
          [&sessions](const proxy::SessionIdentity& who) { return sessions.application_of(who); }),
      protection_(protection_of(*config_)),
      orphans_(server.name, server.monitor.poll_interval, inherited(sessions)),
      orphan_ids_(fresh_ids()),
      opaque_engine_(opaque_engine(*config_, server)),
      direct_engine_(direct_engine(*config_, server)),
      orphans_may_end_(cancels_for_lost_clients(*config_, server)),
      leaks_(config_->leak, config_->protect, fresh_ids(), config_->enforcement.evidence_max_age),
      brake_(now(), config_->enforcement),
      costs_(server, config_->rules),
      kill_connection_(context.get_executor(), server, mark_.application_name()),
      verifiers_(context.get_executor(), server, mark_.application_name()),
      lister_(context.get_executor(), server, mark_.application_name()),
      terminator_(context.get_executor(), server, sessions,
                  server.monitor.enabled ? &kill_connection_ : nullptr, audit, fingerprints_),
      audit_(audit),
      timer_(context),
      idle_(context),
      hand_ids_(fresh_ids()) {
  const config::Recording& recording = config_->recording;
  if (!recording.file.empty()) {
    const RecordingFiles files{recording_file(recording.file, config_->servers.size(), server.name),
                               recording.max_size, recording.keep};
    const auto unix_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(wall_now().time_since_epoch());
    recorder_ = std::make_unique<Recorder>(
        files, RecordingHeader{server.name, "run", {}, unix_ms.count(), recording.interval}, now());
  }
  leaks_.limit(config_->quotas);
  // A quota is one for all servers: their sessions count together.
  leaks_.count_quotas_by([&sessions](config::QuotaKey key, const std::string& holder) {
    return sessions.quota_sessions(key, holder);
  });
  totals_.server = server.name;
  totals_.mode = config_->enforcement.mode;
  totals_.monitor_configured = server.monitor.enabled;
  totals_.snapshot = std::make_shared<const Snapshot>();
  if (server.monitor.enabled) {
    sampler_ = std::make_unique<ActivitySampler>(
        context.get_executor(), server,
        [this](Duration took) { observe(totals_.monitor_query_duration, took); },
        SamplerOptions{.application_name = mark_.application_name(),
                       .last_statements = recorder_ != nullptr});
    sampler_->also_ours([this] { return kill_connection_.pid(); });
    sampler_->also_ours([this] { return lister_.pid(); });
    sampler_->also_ours([this] { return verifiers_.pid(); });
    sampler_->also_ask(costs_.sampler());
    advice_ =
        std::make_unique<AdviceWatch>(context.get_executor(), server, mark_.application_name(),
                                      [this](const std::vector<Advice>& advice) {
                                        totals_.advice = advice;
                                        events_.advised(server_.name, advice);
                                      });
    advice_->configure(config_);
    sampler_->also_ours([this] { return advice_->pid(); });
  }
  totals_.rules = engine_->status();
  status_ = std::make_shared<const WatchdogStatus>(totals_);
}

Watchdog::~Watchdog() = default;

void Watchdog::start() {
  start_what_ended();
  spawn(judge(), "judge");
}

/// Nothing but stop() or an exception, for lack of memory mostly, ends these loops.
void Watchdog::start_what_ended() {
  if (sampler_ && !sampler_runs_) spawn(sampler_->run(), "sampler", &sampler_runs_);
  if (advice_ && !advice_runs_) spawn(advice_->run(), "advice", &advice_runs_);
}

Task<void> Watchdog::stop() {
  stopping_ = true;
  if (sampler_) sampler_->stop();
  if (advice_) advice_->stop();
  timer_.cancel();
  while (tasks_ > 0) {
    idle_.expires_at(asio::steady_timer::time_point::max());
    (void)co_await idle_.async_wait(as_result);
  }
  kill_connection_.close();
  verifiers_.close();
  lister_.close();
}

void Watchdog::spawn(Task<void> task, const char* what, bool* runs) {
  const auto runs_now = [this, runs](bool now) {
    now ? ++tasks_ : --tasks_;
    if (runs != nullptr) *runs = now;
  };
  auto ended = [this, what, runs_now](const std::exception_ptr& failure) {
    runs_now(false);
    idle_.cancel();
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      events_.failure(what, e.what());
    }
  };
  runs_now(true);  // before it, as it may be over at once
  try {
    asio::co_spawn(context_, std::move(task), std::move(ended));
  } catch (...) {
    runs_now(false);
    throw;
  }
}

// ---------------------------------------------------------------- judging

Task<void> Watchdog::judge() {
  while (!stopping_) {
    std::exception_ptr failure;
    try {
      start_what_ended();
      co_await tick();
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) {
      // One bad tick must not end the watchdog; the next one starts from fresh views.
      try {
        std::rethrow_exception(failure);
      } catch (const std::exception& e) {
        events_.failure("tick", e.what());
      }
    }
    if (stopping_) co_return;
    timer_.expires_after(engine_->judging_interval());
    (void)co_await timer_.async_wait(as_result);
  }
}

Task<void> Watchdog::tick() {
  const Instant views_asked = now();
  const bool anew = book_.lost();
  book_.lose();
  proxy::ViewChanges changes = co_await sessions_.changes(server_.name, anew);
  book_.apply(std::move(changes));
  note_monitor();
  const Instant at = now();
  judge_again(at);
  note_server(at);
  const bool up = sampler_ && sampler_->state().up;
  auto snapshot = std::make_shared<Snapshot>(
      join_.join(at, book_.views(), sampler_ ? sampler_->latest() : nullptr, up));
  costs_.fill(*snapshot);
  if (const Needs needs = engine_->needs(); needs.fingerprint) {
    auto questions = statements_.fill(*snapshot, views_asked, *needs.fingerprint);
    if (!questions.empty()) spawn(learn(std::move(questions)), "statements");
  }
  reconcile(*snapshot);
  std::optional<Snapshot> direct;
  if (direct_engine_) {
    others_.see(*snapshot, server_.monitor);
    direct = direct_snapshot(*snapshot, server_.monitor, others_, orphans_.backends());
  }
  // The brake looks after all whom a verdict may be about.
  std::optional<Snapshot> wider;
  if (const auto orphans = orphans_.entries(); direct || !orphans.empty()) {
    wider = *snapshot;
    wider->sessions.insert(wider->sessions.end(), orphans.begin(), orphans.end());
    if (direct)
      wider->sessions.insert(wider->sessions.end(), direct->sessions.begin(),
                             direct->sessions.end());
  }
  const Snapshot& all = wider ? *wider : *snapshot;
  for (const Verdict& waited : brake_.release(all)) forget(waited);
  rehearse(*snapshot);
  Evaluation evaluation = engine_->evaluate(*snapshot);
  for (const BlockingReport& report : evaluation.blocking) events_.blocking(server_.name, report);
  ledger_.feed(evaluation.suspects, *snapshot);
  totals_.exempt = evaluation.exempt;
  for (const Verdict& verdict : evaluation.warnings) events_.warned(server_.name, verdict);
  judge_opaque(*snapshot, evaluation.verdicts);
  judge_others(direct, evaluation.verdicts);
  watch_leaks(*snapshot, evaluation.verdicts);
  if (sampler_)
    sampler_->want_advisory(engine_->needs().advisory_locks || leaks_.wants_advisory_locks() ||
                            recorder_ != nullptr);  // other rules will ask the recording
  for (const OpenFuse& fuse : brake_.weigh(evaluation.verdicts, all))
    events_.fuse_tripped(server_.name, fuse);
  for (Verdict& verdict : evaluation.verdicts) decide(std::move(verdict), at);
  costs_.read_processes(*snapshot);
  if (recorder_) record(*snapshot);
  publish(std::move(snapshot));
}

void Watchdog::record(const Snapshot& snapshot) {
  if (snapshot.now - recorded_ < config_->recording.interval) return;
  recorded_ = snapshot.now;
  recorder_->record(snapshot);
  totals_.recording = RecordingTotals{recorder_->frames(), recorder_->lost()};
  std::string problem = recorder_->problem();
  if (problem == recording_problem_) return;
  recording_problem_ = std::move(problem);
  events_.recording(server_.name, recording_problem_);
}

/// Beside the judging: who waits for a text delays no verdict.
Task<void> Watchdog::learn(std::vector<RunningStatements::Question> questions) {
  for (const auto& question : questions) {
    if (stopping_) co_return;
    const std::optional<proxy::StatementEvidence> evidence =
        co_await sessions_.evidence(question.session);
    std::optional<std::uint64_t> known;
    if (evidence && !evidence->last_statement.empty()) {
      const Fingerprint& print =
          fingerprints_.of(evidence->last_statement, evidence->last_truncated);
      known = std::stoull(print.hash, nullptr, 16);
    }
    statements_.learnt(question, known, now());
  }
}

// ---------------------------------------------------------------- leaks

/// Adds the verdicts on suspects to those of the rules, for the same brake. A session that a rule
/// is about to end has to be judged again if it is still there.
void Watchdog::watch_leaks(const Snapshot& snapshot, std::vector<Verdict>& verdicts) {
  LeakWatch::Tick tick = leaks_.tick(snapshot);
  for (const LeakReport& report : tick.cleared) events_.leak_cleared(server_.name, report);
  for (LeakReport& report : tick.detected) spawn(report_leak(std::move(report)), "leak report");
  const std::size_t of_rules = verdicts.size();
  for (Verdict& verdict : tick.verdicts) {
    const auto end = verdicts.begin() + static_cast<std::ptrdiff_t>(of_rules);
    const bool taken = std::any_of(verdicts.begin(), end, [&](const Verdict& other) {
      return other.session.view.id == verdict.session.view.id &&
             other.action != config::Action::observe && other.exemption == Exemption::none;
    });
    if (taken) {
      leaks_.forget(verdict);
    } else {
      verdict.target = target_of(verdict.session);
      // The rehearsal of a reload knows only rules; [leak] is taken at a restart.
      brake_.rehearse(verdict.session.view.id);
      verdicts.push_back(std::move(verdict));
    }
  }
}

Task<void> Watchdog::report_leak(LeakReport report) {
  const std::shared_ptr<const Snapshot> snapshot = status_->snapshot;
  LeakEndings endings{report};
  for (const LeakSuspect& suspect : report.oldest) {
    const auto entry = std::ranges::find(snapshot->sessions, suspect.session,
                                         [](const SessionEntry& one) { return one.view.id; });
    if (entry == snapshot->sessions.end()) continue;
    const SessionEvidence evidence = co_await terminator_.evidence_of(*entry, target_of(*entry));
    endings.add(evidence);
  }
  events_.leak_detected(server_.name, report);
  leak_reports_.push_back(std::make_shared<const LeakReport>(std::move(report)));
}

/// Of those that do not stand any more nobody asks.
void Watchdog::forget_leaks(const std::vector<Leak>& standing) {
  std::erase_if(leak_reports_, [&](const auto& report) {
    return std::none_of(standing.begin(), standing.end(), [&](const Leak& leak) {
      return leak.group == report->leak.group && leak.detected == report->leak.detected;
    });
  });
}

// ---------------------------------------------------------------- verdicts

void Watchdog::judge_again(Instant at) {
  const auto due = std::stable_partition(later_.begin(), later_.end(),
                                         [&](const Later& one) { return at < one.when; });
  std::for_each(due, later_.end(), [&](const Later& one) { forget(one.verdict); });
  later_.erase(due, later_.end());
}

/// Pids, and what waits for them, mean nothing in another life of the server.
void Watchdog::note_server(Instant at) {
  const ActivitySample* sample = sampler_ ? sampler_->latest() : nullptr;
  if (sample == nullptr || identity_ == sample->identity) return;
  const auto before = std::exchange(identity_, sample->identity);
  const std::string_view what = before ? failover_between(*before, *identity_) : "";
  if (what.empty()) return;
  for (const Verdict& dropped : brake_.fail_over(at)) forget(dropped);
  for (const Later& later : std::exchange(later_, {})) forget(later.verdict);
  events_.failover(server_.name, what);
}

void Watchdog::rehearse(const Snapshot& snapshot) {
  if (!before_) return;
  if (!brake_.rehearsing(snapshot.now)) {
    before_.reset();
    return;
  }
  for (const Verdict& verdict : before_->evaluate(snapshot).verdicts)
    if (verdict.exemption == Exemption::none) brake_.rehearse(verdict.session.view.id);
}

void Watchdog::reload(std::shared_ptr<const config::Config> config,
                      std::unique_ptr<RuleEngine> engine, std::unique_ptr<RuleEngine> before) {
  leaks_.protect(config->protect, config->enforcement.evidence_max_age);
  leaks_.limit(config->quotas);
  const config::Config& old = *config_;
  const bool locks_open = old.enforcement.mode != config->enforcement.mode &&
                          config->enforcement.mode == config::Mode::enforce;
  std::vector<std::string> changed;
  for (const config::Rule& rule : old.rules) {
    const auto same = std::find_if(config->rules.begin(), config->rules.end(),
                                   [&](const auto& one) { return config::same_rule(one, rule); });
    if (same == config->rules.end()) changed.push_back(rule.name);
  }
  const auto judges = [](std::string_view key) {
    return key == "rule" || key.starts_with("rule.") || key.starts_with("protect.") ||
           key.starts_with("identity.") || key.starts_with("enforcement.");
  };
  const auto differences = config::changes(old, *config);
  const bool otherwise = std::any_of(differences.begin(), differences.end(),
                                     [&](const auto& one) { return judges(one.key); });
  engine->inherit(*engine_, locks_open);
  engine_ = std::move(engine);
  brake_.reload(config->enforcement, changed, otherwise, now());
  if (otherwise) before_ = std::move(before);
  std::erase_if(later_, [&](const Later& later) {
    return std::find(changed.begin(), changed.end(), later.verdict.rule) != changed.end();
  });
  costs_.set_rules(config->rules);
  totals_.mode = config->enforcement.mode;
  config_ = std::move(config);
  if (advice_) advice_->configure(config_);
  protection_ = protection_of(*config_);
  if (auto fresh = direct_engine(*config_, server_)) {
    if (direct_engine_) fresh->inherit(*direct_engine_, locks_open);
    direct_engine_ = std::move(fresh);
  }
  if (auto fresh = opaque_engine(*config_, server_)) {
    if (opaque_engine_) fresh->inherit(*opaque_engine_, locks_open);
    opaque_engine_ = std::move(fresh);
  }
  timer_.cancel();  // the new rules may want to be asked more often
}

void Watchdog::forget(const Verdict& verdict) {
  if (verdict.kind == config::RuleKind::leak) return leaks_.forget(verdict);
  switch (verdict.target) {
    case Target::session:
      return engine_->forget(verdict);
    case Target::opaque:
      if (opaque_engine_) opaque_engine_->forget(verdict);
      return;
    case Target::direct:
      if (direct_engine_) direct_engine_->forget(verdict);
      return;
    case Target::orphan:
      return orphans_.forget(*verdict.session.backend);
  }
}

OrphanReport Watchdog::reconcile(const Snapshot& snapshot) {
  if (!sampler_) return {};
  OrphanReport report = orphans_.reconcile(snapshot, sampler_->latest(), snapshot.monitor_up);
  totals_.orphans = report.orphans;
  totals_.lost_sessions = report.lost_sessions;
  if (proxy::LegJournal* journal = sessions_.journal()) {
    for (const auto& one : report.completions) journal->complete(one.slot, one.session, one.proof);
    for (const std::size_t record : report.settled) journal->settle(record);
  }
  for (const proxy::SessionId id : report.newly_lost)
    for (const SessionEntry& entry : snapshot.sessions)
      if (entry.view.id == id) events_.backend_lost(server_.name, entry);
  return report;
}

/// Those whose TLS is end to end. The rehearsal of a reload does not know them.
void Watchdog::judge_opaque(const Snapshot& snapshot, std::vector<Verdict>& verdicts) {
  if (!opaque_engine_) return;
  Evaluation evaluation = opaque_engine_->evaluate(opaque_snapshot(snapshot));
  for (Verdict& verdict : evaluation.warnings) {
    verdict.target = Target::opaque;
    events_.warned(server_.name, verdict);
  }
  for (std::size_t i = 0; i < evaluation.exempt.size(); ++i)
    totals_.exempt[i] += evaluation.exempt[i];
  for (Verdict& verdict : evaluation.verdicts) {
    verdict.target = Target::opaque;
    brake_.rehearse(verdict.session.view.id);
    verdicts.push_back(std::move(verdict));
  }
}

/// The verdicts on who is no session of ours. The rehearsal of a reload knows only sessions.
void Watchdog::judge_others(const std::optional<Snapshot>& direct, std::vector<Verdict>& verdicts) {
  const std::size_t first = verdicts.size();
  for (Orphan& orphan : orphans_.unsaid()) {
    // The session's own verdict is not through with it: it speaks first.
    if (in_hand(orphan.row.backend)) {
      orphans_.forget(orphan.row.backend);
      continue;
    }
    if (!orphan.again) events_.orphan(server_.name, orphan);
    verdicts.push_back(orphan_verdict(orphan, protection_, orphans_may_end_, orphan_ids_.next()));
  }
  if (direct) {
    Evaluation evaluation = direct_engine_->evaluate(*direct);
    for (Verdict& verdict : evaluation.warnings) {
      verdict.target = Target::direct;
      events_.warned(server_.name, verdict);
    }
    for (Verdict& verdict : evaluation.verdicts) {
      verdict.target = Target::direct;
      verdicts.push_back(std::move(verdict));
    }
  }
  for (std::size_t i = first; i < verdicts.size(); ++i)
    brake_.rehearse(verdicts[i].session.view.id);
}

bool Watchdog::in_hand(const BackendId& backend) const {
  return std::find(in_hand_.begin(), in_hand_.end(), backend) != in_hand_.end();
}

void Watchdog::decide(Verdict verdict, Instant at) {
  exempt_by_hand(verdict);
  Decision decision = brake_.decide(verdict, at);
  switch (decision.permission) {
    case Permission::act:
      events_.judged(server_.name, verdict, true);
      if (is_ours(verdict.target)) ledger_.acted(verdict.session.view.id);
      spawn(terminate_one(std::move(verdict), config_->enforcement.mode), "termination");
      return;
    case Permission::observe:
      finish_without_act(verdict, Outcome::observed, {});
      return;
    case Permission::exempt:
      finish_without_act(verdict, Outcome::exempted, std::string{name(verdict.exemption)});
      ++totals_.exempted_total[{verdict.rule, std::string{name(verdict.exemption)}}];
      return;
    case Permission::defer:
      finish_without_act(verdict, Outcome::deferred, std::move(decision.why));
      return;
    case Permission::fuse:
      finish_without_act(verdict, Outcome::fused, std::move(decision.why));
      return;
  }
}

void Watchdog::finish_without_act(const Verdict& verdict, Outcome outcome, std::string why) {
  const config::Mode mode = config_->enforcement.mode;
  events_.judged(server_.name, verdict, false);
  TerminationRecord record;
  record.outcome = outcome;
  record.why = std::move(why);
  count(verdict, mode, outcome, {});
  events_.finished(server_.name, verdict, record);
  recent_.add(action_of(verdict, mode, outcome, record.why, wall_now()));
  spawn(write_line(AuditEvent::outcome, verdict, mode, outcome, record.why), "audit");
}

Task<void> Watchdog::write_line(AuditEvent event, Verdict verdict, config::Mode mode,
                                std::optional<Outcome> outcome, std::string why) {
  const VerdictId incident = verdict.id;
  SessionEvidence evidence =
      co_await terminator_.write(event, std::move(verdict), mode, outcome, std::move(why));
  if (event == AuditEvent::outcome) recent_.complete(incident, std::move(evidence));
}

Task<void> Watchdog::terminate_one(Verdict verdict, config::Mode mode) {
  (void)co_await terminate(std::move(verdict), mode);
}

Task<TerminationRecord> Watchdog::terminate(Verdict verdict, config::Mode mode) {
  TerminationRecord record;
  const bool up = sampler_ != nullptr && sampler_->state().up;
  std::optional<BackendId> backend;
  try {
    if (up) co_await terminator_.identify(verdict);
    backend = verdict.session.backend;
    if (backend) in_hand_.push_back(*backend);
    record = co_await terminator_.terminate(verdict, mode, up);
  } catch (const std::exception& e) {
    record.why = e.what();  // the outcome stays `error`
  }
  const bool by_rule = verdict.actor.empty();
  if (by_rule) brake_.finished(verdict, record.outcome, now());
  count(verdict, mode, record.outcome, record.took);
  events_.finished(server_.name, verdict, record);
  RecentAction action = action_of(verdict, mode, record.outcome, record.why, wall_now());
  action.step = record.step == proxy::InBandStep::none && record.sql ? "guarded_sql"
                                                                     : proxy::name(record.step);
  action.took = record.took;
  action.evidence = without_values(std::move(record.evidence));
  recent_.add(std::move(action));
  if (const auto pause = until_judged_again(verdict, record.outcome); pause && by_rule)
    later_.push_back({verdict, now() + *pause});
  if (record.outcome == Outcome::survived) {
    spawn(watch_survivor(std::move(verdict), mode, now()), "survivor");
  } else if (backend) {
    std::erase(in_hand_, *backend);
  }
  co_return record;
}

Task<void> Watchdog::watch_survivor(Verdict verdict, config::Mode mode, Instant since) {
  ++totals_.survivors;
  Duration pause = 1s;
  asio::steady_timer timer{context_};
  bool gone = false;
  while (!stopping_ && !gone) {
    const Instant due = now() + pause;
    while (!stopping_ && now() < due) {
      timer.expires_after(std::min<Duration>(due - now(), 1s));
      (void)co_await timer.async_wait(as_result);
    }
    if (stopping_) break;
    gone = co_await terminator_.is_gone(verdict);
    pause = std::min(pause * 2, longest_survivor_pause);
  }
  --totals_.survivors;
  if (verdict.session.backend) std::erase(in_hand_, *verdict.session.backend);
  if (!gone) co_return;
  events_.resolved(server_.name, verdict, now() - since);
  co_await write_line(AuditEvent::resolved, std::move(verdict), mode, std::nullopt,
                      "gone after all");
}

// ---------------------------------------------------------------- what others see

std::optional<SessionExplanation> Watchdog::explain(proxy::SessionId session) const {
  const Snapshot& snapshot = *status_->snapshot;
  for (const SessionEntry& entry : snapshot.sessions) {
    if (entry.view.id != session) continue;
    SessionExplanation found;
    found.session = entry;
    found.locks.mode = config_->enforcement.mode;
    found.locks.hold_off = brake_.hold_left(snapshot.now);
    found.rules = entry.view.who->opaque && opaque_engine_
                      ? opaque_engine_->explain(entry, opaque_snapshot(snapshot))
                      : engine_->explain(entry, snapshot);
    found.rules.push_back(leaks_.explain(entry, snapshot));
    FingerprintCache once{1};
    found.evidence = session_evidence(entry, statements_of(entry, shown_statement), now(), once);
    return found;
  }
  return std::nullopt;
}

void Watchdog::count(const Verdict& verdict, config::Mode in_force, Outcome outcome,
                     Duration took) {
  const std::string action{config::name(verdict.action)};
  const std::string mode{config::name(in_force)};
  const std::string word{name(outcome)};
  ++totals_.actions_total[{verdict.rule, action, mode, word}];
  std::string application = verdict.session.view.who->application;
  auto& applications = totals_.application_actions_total;
  if (applications.size() >= max_counted_applications &&
      applications.find({application, action, mode, word}) == applications.end())
    application = "other";
  ++applications[{application, action, mode, word}];
  if (took > Duration::zero()) observe(totals_.action_duration[action], took);
}

void Watchdog::note_monitor() {
  if (!sampler_) return;
  const MonitorState& state = sampler_->state();
  if (std::exchange(monitor_logins_, state.logins) != state.logins) advice_->wake();
  const std::string& problem = state.up ? state.advice : state.problem;
  if (state.up == monitor_was_up_ && problem == monitor_problem_) return;
  if (!state.up && state.samples == 0 && problem == ActivitySampler::not_tried) return;
  monitor_was_up_ = state.up;
  monitor_problem_ = problem;
  events_.monitor(server_.name, state.up, problem, mark_.application_name());
}

/// Which rules have no data, said once each time that changes. Before the monitor came up for the
/// first time nothing is known either way.
void Watchdog::note_costs() {
  const bool up = sampler_ && sampler_->state().up;
  const bool too_early = sampler_ && sampler_->state().samples == 0;
  for (RuleStatus& rule : totals_.rules) {
    rule.no_data = too_early ? NoData::none : costs_.no_data(rule.kind, up);
    NoData& said = no_data_said_[rule.rule];
    if (too_early || rule.no_data == said) continue;
    said = rule.no_data;
    events_.no_data(server_.name, rule.rule, config::name(rule.kind),
                    said == NoData::none ? std::string_view{} : name(said));
  }
  totals_.costs_measured = costs_.needs();
  totals_.application_costs = costs_.applications();
}

void Watchdog::publish(std::shared_ptr<const Snapshot> snapshot) {
  totals_.snapshot = std::move(snapshot);
  totals_.recovered = ledger_.rows();
  totals_.rules = engine_->status();
  totals_.brake = brake_.status(totals_.snapshot->now);
  if (opaque_engine_) add_status(totals_.rules, opaque_engine_->status());
  if (direct_engine_) add_status(totals_.rules, direct_engine_->status());
  totals_.leaks = leaks_.status();
  forget_leaks(totals_.leaks.standing);
  totals_.leaks.reports = leak_reports_;
  note_costs();
  if (sampler_) {
    totals_.monitor_up = sampler_->state().up;
    totals_.monitor_problem = monitor_problem_;
    totals_.monitor_last_success = sampler_->state().last_success;
  }
  if (audit_ != nullptr) {
    totals_.audit_records_total = audit_->records();
    totals_.audit_write_errors_total = audit_->errors();
  }
  status_ = std::make_shared<const WatchdogStatus>(totals_);
}

}  // namespace pgleash::watchdog
