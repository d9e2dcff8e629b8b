#include "metrics/snapshot_collectable.hpp"

#include "metrics/closed_sets.hpp"
#include "metrics/session_state.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <utility>

namespace pgleash::metrics {
namespace {

using watchdog::Snapshot;
using watchdog::WatchdogStatus;
using Statuses = SnapshotCollectable::Statuses;

double seconds(Duration duration) {
  return std::chrono::duration<double>{duration}.count();
}

/// A word of a closed set, whatever was written: a word that nobody listed must not become a new
/// series for each of its spellings.
template <std::size_t N>
std::string_view word_of(const words::Words<N>& set, std::string_view word) {
  return std::find(set.begin(), set.end(), word) != set.end() ? word : other;
}

struct Tally {
  std::uint64_t sessions = 0;
  std::array<std::uint64_t, state_count> in_state{};
};

struct AgedTally : Tally {
  std::uint64_t blockers = 0;
  std::array<Duration, state_count> oldest{};
  std::array<std::array<std::uint64_t, words::age_thresholds.size()>, state_count> over{};
};

constexpr std::array<Duration, words::age_thresholds.size()> thresholds{
    std::chrono::seconds{60}, std::chrono::seconds{600}, std::chrono::seconds{3600}};
constexpr std::array aged{StateLabel::idle, StateLabel::idle_in_transaction, StateLabel::active};
static_assert(aged.size() == words::aged_states.size());
static_assert(state_count == words::session_states.size());

void count(Tally& tally, StateLabel state) {
  ++tally.sessions;
  ++tally.in_state[static_cast<std::size_t>(state)];
}

void age(AgedTally& tally, StateLabel state, Duration age) {
  const auto index = static_cast<std::size_t>(state);
  tally.oldest[index] = std::max(tally.oldest[index], age);
  for (std::size_t i = 0; i < thresholds.size(); ++i) {
    tally.over[index][i] += age > thresholds[i] ? 1 : 0;
  }
}

/// The live sessions of one server, by each label.
struct ServerTallies {
  std::vector<AgedTally> applications;
  std::vector<Tally> databases;
  std::vector<std::uint64_t> users;
};

ServerTallies tally_of(const Snapshot& snapshot, const Assignment& applications,
                       const Assignment& users, const Assignment& databases) {
  ServerTallies tallies{std::vector<AgedTally>(applications.label_count()),
                        std::vector<Tally>(databases.label_count()),
                        std::vector<std::uint64_t>(users.label_count())};
  for (const auto& entry : snapshot.sessions) {
    const auto& who = *entry.view.who;
    const StateLabel state = state_label(snapshot, entry);
    auto& application = tallies.applications[applications.index_of(who.application)];
    count(application, state);
    count(tallies.databases[databases.index_of(who.database)], state);
    ++tallies.users[users.index_of(who.user)];
    if (!who.replication) {
      age(application, state, state_age(snapshot, entry, state));
    }
  }
  if (snapshot.monitor_up) {
    for (const auto& root : snapshot.blocking.roots) {
      if (!root.session) continue;
      const auto& who = *snapshot.sessions[*root.session].view.who;
      ++tallies.applications[applications.index_of(who.application)].blockers;
    }
  }
  return tallies;
}

void add_ages(std::string_view server, std::string_view application, const AgedTally& tally,
              Families& out) {
  for (std::size_t state = 0; state < state_count; ++state) {
    if (tally.in_state[state] > 0) {
      out.add(Metric::oldest_session_state, {server, application, words::session_states[state]},
              seconds(tally.oldest[state]));
    }
  }
  for (std::size_t i = 0; i < aged.size(); ++i) {
    const auto state = static_cast<std::size_t>(aged[i]);
    for (std::size_t t = 0; t < thresholds.size(); ++t) {
      out.add(Metric::sessions_over_age,
              {server, application, words::aged_states[i], words::age_thresholds[t]},
              tally.over[state][t]);
    }
  }
}

/// A name with a session has all its states, zeros too, so that graphs have no holes.
void add_states(Metric metric, std::string_view server, std::string_view name, const Tally& tally,
                Families& out) {
  for (std::size_t state = 0; state < state_count; ++state) {
    out.add(metric, {server, name, words::session_states[state]}, tally.in_state[state]);
  }
}

void add_slots(const WatchdogStatus& status, Families& out) {
  const Snapshot& snapshot = *status.snapshot;
  const auto slot = [&](std::size_t kind, std::uint64_t value) {
    out.add(Metric::server_connection_slots, {status.server, words::slot_kinds[kind]}, value);
  };
  if (snapshot.max_connections > 0) {
    const auto reserved = std::min(snapshot.reserved_connections, snapshot.max_connections);
    slot(0, snapshot.max_connections);
    slot(1, reserved);
    out.add(Metric::sessions_limit, {status.server, words::limit_scopes[1]},
            std::uint64_t{snapshot.max_connections - reserved});
  }
  if (status.recording) {
    out.add(Metric::recording_frames, {status.server}, status.recording->frames);
    out.add(Metric::recording_lost, {status.server}, status.recording->lost);
  }
  slot(2, snapshot.outside ? 0 : snapshot.sessions.size());
  if (!snapshot.monitor_up) {
    return;  // what an old sample says of others may be long over
  }
  // Orphans are not ours any more, and nobody's direct session.
  const auto direct_rows = static_cast<std::uint64_t>(snapshot.outside ? snapshot.sessions.size()
                                                                       : snapshot.direct.size());
  const auto orphans = std::min<std::uint64_t>(status.orphans, direct_rows);
  slot(3, direct_rows - orphans);
  slot(4, orphans);
  out.add(Metric::orphan_backends, {status.server}, orphans);
  out.add(Metric::sessions_without_backend, {status.server}, std::uint64_t{status.lost_sessions});
  const auto waits_for_lock = [](const watchdog::ActivityRow& row) {
    return row.wait_event_type == "Lock";
  };
  const auto ours =
      std::count_if(snapshot.sessions.begin(), snapshot.sessions.end(),
                    [&](const auto& entry) { return entry.row && waits_for_lock(*entry.row); });
  const auto direct = std::count_if(snapshot.direct.begin(), snapshot.direct.end(), waits_for_lock);
  out.add(Metric::blocked_sessions, {status.server}, static_cast<std::uint64_t>(ours + direct));
}

void add_blocking(const WatchdogStatus& status, Families& out) {
  const Snapshot& snapshot = *status.snapshot;
  if (!snapshot.monitor_up || !snapshot.blocking.taken) {
    return;
  }
  Duration longest{};
  for (const auto& wait : snapshot.blocking.waits) {
    longest = std::max(longest, wait.waited);
  }
  out.add(Metric::blocking_sessions, {status.server}, snapshot.blocking.roots.size());
  out.add(Metric::longest_block, {status.server}, seconds(longest));
}

/// Absent until it was asked for, and while nobody answers.
void add_horizon(const WatchdogStatus& status, Families& out) {
  const Snapshot& snapshot = *status.snapshot;
  if (!snapshot.monitor_up || !snapshot.horizon) {
    return;
  }
  const watchdog::Horizon& horizon = *snapshot.horizon;
  out.add(Metric::prepared_transactions, {status.server}, horizon.prepared_transactions);
  out.add(Metric::oldest_prepared_transaction, {status.server},
          seconds(horizon.oldest_prepared.value_or(Duration{})));
  out.add(Metric::inactive_replication_slots, {status.server}, horizon.inactive_slots);
  const std::array ages{horizon.session, horizon.standby, horizon.prepared, horizon.slot};
  for (std::size_t i = 0; i < ages.size(); ++i) {
    out.add(Metric::xmin_horizon_age, {status.server, words::horizon_holders[i]},
            ages[i].value_or(0));
  }
}

void add_exempt(const WatchdogStatus& status, Families& out) {
  for (std::size_t i = 0; i < words::exemptions.size(); ++i) {
    // Behind watchdog::Exemption::none.
    if (const std::uint64_t spared = status.exempt[i + 1]; spared > 0)
      out.add(Metric::exempt_sessions_over_age, {status.server, words::exemptions[i]}, spared);
  }
}

void add_quota_forecasts(const WatchdogStatus& status, Families& out) {
  for (const std::string& quota : status.leaks.quotas) {
    // The first of a quota is the one that is used up first.
    const auto& all = status.leaks.quota_forecasts;
    const auto first = std::ranges::find(all, quota, &watchdog::QuotaForecast::quota);
    const bool ends = first != all.end() && first->end.expected.has_value();
    out.add(Metric::quota_exhaustion_forecast, {status.server, quota},
            ends ? seconds(*first->end.expected) : std::numeric_limits<double>::infinity());
  }
}

void add_forecast(const WatchdogStatus& status, Families& out) {
  if (!status.leaks.limit_known) {
    return;
  }
  const auto& expected = status.leaks.forecast.expected;
  out.add(Metric::exhaustion_forecast, {status.server, words::limit_scopes[1]},
          expected ? seconds(*expected) : std::numeric_limits<double>::infinity());
}

/// Applications may share a label.
void add_leaks(const WatchdogStatus& status, const Assignment& applications, Families& out) {
  std::vector<watchdog::LeakStatus::Application> sums(applications.label_count());
  std::vector<bool> seen(applications.label_count());
  for (const auto& [name, one] : status.leaks.applications) {
    const std::size_t index = applications.index_of(name);
    sums[index].suspects += one.suspects;
    sums[index].floor += one.floor;
    sums[index].growth += one.growth;
    seen[index] = true;
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (!seen[i]) {
      continue;
    }
    const auto& name = applications.label(i);
    out.add(Metric::leak_suspect_sessions, {status.server, name}, sums[i].suspects);
    out.add(Metric::leak_floor_sessions, {status.server, name}, sums[i].floor);
    out.add(Metric::leak_growth, {status.server, name}, sums[i].growth);
  }
}

void add_monitor(const WatchdogStatus& status, Families& out) {
  if (!status.monitor_configured) {
    return;
  }
  out.add(Metric::monitor_up, {status.server}, std::uint64_t{status.monitor_up ? 1U : 0U});
  if (status.monitor_last_success) {
    const std::chrono::duration<double> since_epoch =
        status.monitor_last_success->time_since_epoch();
    out.add(Metric::monitor_last_success_timestamp, {status.server}, since_epoch.count());
  }
  out.add_histogram(Metric::monitor_query_duration, {status.server},
                    watchdog::action_duration_bounds, status.monitor_query_duration.buckets,
                    status.monitor_query_duration.sum_seconds);
}

/// Series that exist before anything happened, so that rate() sees the first event: what each rule
/// of the configuration can come to. Both modes, as a reload must not take a counter away.
template <class Actions>
void seed_actions(const config::Config& config, Actions& actions) {
  for (const config::Rule& rule : config.rules) {
    const std::string action{words::actions[static_cast<std::size_t>(rule.action)]};
    actions[{rule.name, action, "observe", "observed"}];
    if (rule.action == config::Action::observe) continue;
    for (const std::string_view outcome : words::outcomes) {
      if (words::possible(action, "enforce", outcome))
        actions[{rule.name, action, "enforce", std::string{outcome}}];
    }
  }
}

void add_actions(const Statuses& statuses, const config::Config& config, Families& out) {
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::uint64_t> actions;
  seed_actions(config, actions);
  for (const auto& status : statuses) {
    for (const auto& [key, value] : status->actions_total) {
      const auto& [rule, action, mode, outcome] = key;
      actions[{clean_label(rule), std::string{word_of(words::actions, action)},
               std::string{word_of(words::modes, mode)},
               std::string{word_of(words::outcomes, outcome)}}] += value;
    }
  }
  for (const auto& [key, value] : actions) {
    const auto& [rule, action, mode, outcome] = key;
    out.add(Metric::actions, {rule, action, mode, outcome}, value);
  }
}

/// Rules are shared by all servers: their counts are added up.
void add_rules(const Statuses& statuses, const config::Config& config, Families& out) {
  struct Counts {
    std::uint64_t matching = 0;
    std::uint64_t warned = 0;
    std::uint64_t paused = 0;
  };
  std::map<std::string, Counts> rules;
  std::map<std::pair<std::string, std::string>, std::uint64_t> exempted;
  for (const config::Rule& rule : config.rules) {
    rules[clean_label(rule.name)];
  }
  for (const auto& status : statuses) {
    for (const watchdog::RuleStatus& rule : status->rules) {
      auto& counts = rules[clean_label(rule.rule)];
      counts.matching += rule.matching;
      counts.warned += rule.warned_total;
      counts.paused += rule.paused;
      if (rule.no_data != watchdog::NoData::none) {
        out.add(
            Metric::rule_without_data,
            {status->server, clean_label(rule.rule), word_of(words::no_data, name(rule.no_data))},
            std::uint64_t{1});
      }
    }
    for (const auto& [key, value] : status->exempted_total) {
      exempted[{clean_label(key.first), std::string{word_of(words::exemptions, key.second)}}] +=
          value;
    }
  }
  for (const auto& [rule, counts] : rules) {
    out.add(Metric::rule_matching_sessions, {rule}, counts.matching);
    out.add(Metric::rule_warned, {rule}, counts.warned);
    out.add(Metric::rule_paused_sessions, {rule}, counts.paused);
  }
  std::map<std::string, std::array<std::uint64_t, watchdog::margin_count>> recovered;
  for (const auto& status : statuses) {
    for (const auto& [rule, row] : status->recovered) {
      auto& sum = recovered[clean_label(rule)];
      for (std::size_t i = 0; i < sum.size(); ++i) {
        sum[i] += row.recovered[i];
      }
    }
  }
  for (const auto& [rule, sum] : recovered) {
    for (std::size_t i = 0; i < sum.size(); ++i) {
      out.add(Metric::rule_recovered, {rule, words::margins[i]}, sum[i]);
    }
  }
  for (const auto& [key, value] : exempted) {
    out.add(Metric::rule_exempted, {key.first, key.second}, value);
  }
}

void add_action_durations(const Statuses& statuses, Families& out) {
  std::map<std::string_view, watchdog::ActionHistogram> sums;
  for (const auto& status : statuses) {
    for (const auto& [action, histogram] : status->action_duration) {
      auto& sum = sums[word_of(words::actions, action)];
      for (std::size_t i = 0; i < sum.buckets.size(); ++i) {
        sum.buckets[i] += histogram.buckets[i];
      }
      sum.sum_seconds += histogram.sum_seconds;
    }
  }
  for (const auto& [action, sum] : sums) {
    out.add_histogram(Metric::action_duration, {action}, watchdog::action_duration_bounds,
                      sum.buckets, sum.sum_seconds);
  }
}

using ByFuse = std::array<std::uint64_t, words::fuses.size()>;

std::size_t fuse_index(watchdog::FuseKind kind, watchdog::FuseScope scope) {
  return scope == watchdog::FuseScope::global ? watchdog::fuse_kinds
                                              : static_cast<std::size_t>(kind);
}

/// Pace and fuses are of each server; their counts are added up, as the rules' are.
void add_brakes(const Statuses& statuses, Families& out) {
  ByFuse open{};
  ByFuse trips{};
  std::array<std::uint64_t, watchdog::pace_scopes> deferred{};
  std::uint64_t manual = 0;
  bool paused = false;
  for (const auto& status : statuses) {
    const watchdog::BrakeStatus& brake = status->brake;
    for (const watchdog::OpenFuse& fuse : brake.open_fuses)
      ++open[fuse_index(fuse.kind, fuse.scope)];
    for (std::size_t kind = 0; kind < watchdog::fuse_kinds; ++kind)
      for (std::size_t scope = 0; scope < watchdog::fuse_scopes; ++scope)
        trips[fuse_index(static_cast<watchdog::FuseKind>(kind),
                         static_cast<watchdog::FuseScope>(scope))] += brake.fuse_trips[kind][scope];
    for (std::size_t i = 0; i < deferred.size(); ++i) deferred[i] += brake.deferred[i];
    manual += brake.manual_kills;
    paused = paused || brake.paused;
    out.add(Metric::deferred_sessions, {status->server}, std::uint64_t{brake.waiting});
    out.add(Metric::surviving_backends, {status->server}, status->survivors);
    for (std::size_t i = 0; i < words::hold_reasons.size(); ++i) {
      const bool held = brake.held == static_cast<watchdog::HoldReason>(i);
      out.add(Metric::enforcement_held, {status->server, words::hold_reasons[i]},
              std::uint64_t{held ? 1U : 0U});
    }
  }
  out.add(Metric::enforcement_paused, {}, std::uint64_t{paused ? 1U : 0U});
  out.add(Metric::manual_kills, {}, manual);
  for (std::size_t i = 0; i < deferred.size(); ++i)
    out.add(Metric::pace_deferred, {words::pace_scopes[i]}, deferred[i]);
  for (std::size_t i = 0; i < words::fuses.size(); ++i) {
    out.add(Metric::fuse_open, {words::fuses[i]}, open[i]);
    out.add(Metric::fuse_trips, {words::fuses[i]}, trips[i]);
  }
}

/// One log serves all servers: each status has its totals as they were then, the newest the
/// largest.
void add_audit(const Statuses& statuses, const config::Config& config, Families& out) {
  if (config.audit.sink == config::AuditSink::off) {
    return;
  }
  std::uint64_t records = 0;
  std::uint64_t errors = 0;
  for (const auto& status : statuses) {
    records = std::max(records, status->audit_records_total);
    errors = std::max(errors, status->audit_write_errors_total);
  }
  const auto sink = words::audit_sinks[config.audit.sink == config::AuditSink::file ? 0 : 1];
  out.add(Metric::audit_records, {sink}, records);
  out.add(Metric::audit_write_errors, {sink}, errors);
}

}  // namespace

SnapshotCollectable::SnapshotCollectable(std::size_t max_applications)
    : applications_(max_applications),
      users_(max_users),
      databases_(max_databases),
      acted_applications_(max_applications),
      costly_applications_(max_applications),
      leaking_applications_(max_applications) {}

void SnapshotCollectable::collect(const Statuses& statuses, const config::Config& config,
                                  Instant now, Families& out) {
  applications_.set_limit(config.metrics.max_applications);
  collect_sessions(statuses, now, out);
  for (const auto& status : statuses) {
    if (status->snapshot) {
      add_slots(*status, out);
      add_blocking(*status, out);
      add_horizon(*status, out);
    }
    add_exempt(*status, out);
    add_forecast(*status, out);
    add_quota_forecasts(*status, out);
    add_monitor(*status, out);
  }
  add_rules(statuses, config, out);
  add_actions(statuses, config, out);
  collect_application_actions(statuses, out);
  collect_costs(statuses, out);
  collect_leak_counters(statuses, out);
  add_action_durations(statuses, out);
  add_brakes(statuses, out);
  add_audit(statuses, config, out);
  out.add(Metric::label_overflow, {words::bounded_labels[0]}, applications_.overflows());
  out.add(Metric::label_overflow, {words::bounded_labels[1]}, users_.overflows());
  out.add(Metric::label_overflow, {words::bounded_labels[2]}, databases_.overflows());
}

void SnapshotCollectable::collect_sessions(const Statuses& statuses, Instant now, Families& out) {
  Census applications;
  Census users;
  Census databases;
  for (const auto& status : statuses) {
    if (!status->snapshot) {
      continue;
    }
    for (const auto& entry : status->snapshot->sessions) {
      ++applications[entry.view.who->application];
      ++users[entry.view.who->user];
      ++databases[entry.view.who->database];
    }
    for (const auto& [name, one] : status->leaks.applications) {
      applications[name];  // its last session may have just ended
    }
  }
  const Assignment by_application = applications_.assign(applications, now);
  const Assignment by_user = users_.assign(users, now);
  const Assignment by_database = databases_.assign(databases, now);

  for (const auto& status : statuses) {
    if (!status->snapshot) {
      continue;
    }
    const auto tallies = tally_of(*status->snapshot, by_application, by_user, by_database);
    for (std::size_t i = 0; i < tallies.applications.size(); ++i) {
      if (tallies.applications[i].sessions > 0) {
        const auto& name = by_application.label(i);
        add_states(Metric::sessions, status->server, name, tallies.applications[i], out);
        add_ages(status->server, name, tallies.applications[i], out);
      }
    }
    for (std::size_t i = 0; i < tallies.applications.size(); ++i) {
      if (tallies.applications[i].blockers > 0) {
        out.add(Metric::blocker_sessions, {status->server, by_application.label(i)},
                tallies.applications[i].blockers);
      }
    }
    add_leaks(*status, by_application, out);
    for (std::size_t i = 0; i < tallies.databases.size(); ++i) {
      if (tallies.databases[i].sessions > 0) {
        add_states(Metric::database_sessions, status->server, by_database.label(i),
                   tallies.databases[i], out);
      }
    }
    for (std::size_t i = 0; i < tallies.users.size(); ++i) {
      if (tallies.users[i] > 0) {
        out.add(Metric::user_sessions, {status->server, by_user.label(i)}, tallies.users[i]);
      }
    }
  }
}

/// What nobody measures has no series: a zero would be a guess.
void SnapshotCollectable::collect_costs(const Statuses& statuses, Families& out) {
  for (const auto& status : statuses) {
    std::map<std::string, watchdog::ApplicationCost> by_label;
    for (const auto& [application, cost] : status->application_costs) {
      auto& sum = by_label[costly_applications_.label(application)];
      sum.cpu += cost.cpu;
      sum.largest_memory = std::max(sum.largest_memory, cost.largest_memory);
      sum.temp_bytes += cost.temp_bytes;
    }
    for (const auto& [label, cost] : by_label) {
      if (status->costs_measured.processes) {
        out.add(Metric::backend_cpu, {status->server, label}, seconds(cost.cpu));
        if (cost.largest_memory > 0) {
          out.add(Metric::backend_anonymous_memory, {status->server, label}, cost.largest_memory);
        }
      }
      if (status->costs_measured.temp_bytes && cost.temp_bytes > 0) {
        out.add(Metric::temp_bytes, {status->server, label}, cost.temp_bytes);
      }
    }
  }
}

void SnapshotCollectable::collect_leak_counters(const Statuses& statuses, Families& out) {
  for (const auto& status : statuses) {
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> counts;
    for (const auto& [application, value] : status->leaks.detected_total) {
      counts[leaking_applications_.label(application)].first += value;
    }
    for (const auto& [application, value] : status->leaks.cleared_total) {
      counts[leaking_applications_.label(application)].second += value;
    }
    for (const auto& [label, count] : counts) {
      out.add(Metric::leaks_detected, {status->server, label}, count.first);
      out.add(Metric::leaks_cleared, {status->server, label}, count.second);
    }
  }
}

void SnapshotCollectable::collect_application_actions(const Statuses& statuses, Families& out) {
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::uint64_t> actions;
  for (const auto& status : statuses) {
    for (const auto& [key, value] : status->application_actions_total) {
      const auto& [application, action, mode, outcome] = key;
      actions[{acted_applications_.label(application), std::string{word_of(words::actions, action)},
               std::string{word_of(words::modes, mode)},
               std::string{word_of(words::outcomes, outcome)}}] += value;
    }
  }
  for (const auto& [key, value] : actions) {
    const auto& [application, action, mode, outcome] = key;
    out.add(Metric::application_actions, {application, action, mode, outcome}, value);
  }
}

}  // namespace pgleash::metrics
