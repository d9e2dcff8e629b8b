#include "watchdog/fuse_box.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {

namespace {

bool is_share(std::size_t part, std::size_t whole, config::Percent percent) noexcept {
  return part * 100 >= whole * percent.value;
}

}  // namespace

std::string_view name(FuseKind kind) noexcept {
  switch (kind) {
    case FuseKind::share:
      return "share";
    case FuseKind::recovered:
      return "recovered";
    case FuseKind::survived:
      return "survived";
    case FuseKind::rehearsal:
      break;
  }
  return "rehearsal";
}

std::string_view name(FuseScope scope) noexcept {
  switch (scope) {
    case FuseScope::application:
      return "application";
    case FuseScope::rule:
      return "rule";
    case FuseScope::global:
      break;
  }
  return "global";
}

Census Census::of(const Snapshot& snapshot) {
  Census census;
  census.sessions = snapshot.sessions.size();
  for (const SessionEntry& entry : snapshot.sessions)
    ++census.applications[entry.view.who->application];
  return census;
}

FuseBox::Counts& FuseBox::Counts::operator+=(const Counts& other) noexcept {
  wanted += other.wanted;
  surplus += other.surplus;
  back += other.back;
  ended += other.ended;
  gone += other.gone;
  survived += other.survived;
  return *this;
}

// ---------------------------------------------------------------- evidence

FuseBox::Mark& FuseBox::mark(const Verdict& verdict, Instant now) {
  changed_ = true;
  Marks& marks = evidence_[verdict.rule];
  const std::uint64_t session = proxy::number(verdict.session.view.id);
  if (marks.size() >= max_marks && !marks.contains(session)) return beyond_;
  Mark& found = marks[session];
  found.at = now;
  found.application = verdict.session.view.who->application;
  return found;
}

void FuseBox::wanted(const Verdict& verdict, bool rehearsed, Instant now) {
  Mark& found = mark(verdict, now);
  found.wanted = true;
  found.surplus = !rehearsed;
}

void FuseBox::came_back(const Verdict& verdict, Instant now) {
  mark(verdict, now).back = true;
}

void FuseBox::ended(const Verdict& verdict, Instant now) {
  Mark& found = mark(verdict, now);
  found.ended = true;
  found.gone = verdict.action != config::Action::cancel;
}

void FuseBox::survived(const Verdict& verdict, Instant now) {
  mark(verdict, now).survived = true;
}

void FuseBox::forget_old(Instant now) {
  for (auto& [rule, marks] : evidence_)
    std::erase_if(marks, [now](const auto& item) { return now - item.second.at >= window; });
  std::erase_if(evidence_, [](const auto& item) { return item.second.empty(); });
}

void FuseBox::forget_rule(std::string_view rule) {
  if (const auto found = evidence_.find(rule); found != evidence_.end()) evidence_.erase(found);
  std::erase_if(fuses_, [rule](const auto& item) { return item.first.rule == rule; });
}

/// What made a fuse trip must not make it trip again when it closes.
void FuseBox::forget(const Key& key) {
  if (key.rule.empty()) {
    evidence_.clear();
    return;
  }
  const auto found = evidence_.find(key.rule);
  if (found == evidence_.end()) return;
  std::erase_if(found->second, [&key](const auto& item) {
    return key.application.empty() || item.second.application == key.application;
  });
}

// ---------------------------------------------------------------- fuses

bool FuseBox::is_open(const Key& key) const {
  const auto found = fuses_.find(key);
  return found != fuses_.end() && found->second.open;
}

const OpenFuse* FuseBox::holds(std::string_view rule, std::string_view application) const {
  if (fuses_.empty()) return nullptr;
  const std::string of{rule};
  for (const Key& key : {Key{}, Key{of, {}}, Key{of, std::string{application}}}) {
    const auto found = fuses_.find(key);
    if (found != fuses_.end() && found->second.open) return &found->second.shown;
  }
  return nullptr;
}

std::vector<OpenFuse> FuseBox::open() const {
  std::vector<OpenFuse> all;
  for (const auto& [key, fuse] : fuses_)
    if (fuse.open) all.push_back(fuse.shown);
  return all;
}

void FuseBox::reset_by_hand() {
  fuses_.clear();
  evidence_.clear();
}

bool FuseBox::close_due(Instant now) {
  bool closed = false;
  for (auto& [key, fuse] : fuses_) {
    if (!fuse.open || !fuse.shown.closes || now < *fuse.shown.closes) continue;
    fuse.open = false;
    closed = true;
  }
  // One that stayed closed for as long as it was open has proved itself.
  std::erase_if(fuses_, [now](const auto& item) {
    const Fuse& fuse = item.second;
    return !fuse.open && now - fuse.opened >= 2 * fuse.interval;
  });
  return closed;
}

void FuseBox::trip(FuseKind kind, FuseScope scope, const Key& key, std::string why, Instant now,
                   std::vector<OpenFuse>& tripped) {
  Fuse& fuse = fuses_[key];
  const bool by_hand = scope == FuseScope::global || !fuse_.reset;
  fuse.interval = fuse.interval == Duration{} || by_hand
                      ? Duration{fuse_.reset.value_or(config::Duration{})}
                      : std::min(2 * fuse.interval, longest_reset);
  fuse.open = true;
  fuse.opened = now;
  fuse.shown = {kind, scope, key.rule, key.application, std::move(why), {}};
  if (!by_hand) fuse.shown.closes = now + fuse.interval;
  ++trips_[static_cast<std::size_t>(kind)][static_cast<std::size_t>(scope)];
  tripped.push_back(fuse.shown);
  forget(key);
}

// ---------------------------------------------------------------- weighing

std::vector<OpenFuse> FuseBox::weigh(const Census& census, Instant now) {
  std::vector<OpenFuse> tripped;
  if (!std::exchange(changed_, false) || is_open(Key{})) return tripped;
  forget_old(now);
  std::map<std::string, Evidence> rules;
  std::vector<std::string> names;
  for (const auto& [rule, marks] : evidence_) names.push_back(rule);
  for (const std::string& rule : names) {
    if (is_open({rule, {}})) continue;
    rules[rule] = weigh_rule(rule, evidence_[rule], census, now, tripped);
    if (is_open({rule, {}})) rules.erase(rule);
  }
  weigh_all(rules, census, now, tripped);
  return tripped;
}

std::map<std::string, FuseBox::Counts> FuseBox::by_application(const Marks& marks) const {
  std::map<std::string, Counts> counts;
  for (const auto& [session, mark] : marks) {
    Counts& count = counts[mark.application];
    count.wanted += mark.wanted ? 1 : 0;
    count.surplus += mark.surplus ? 1 : 0;
    count.back += mark.back ? 1 : 0;
    count.ended += mark.ended ? 1 : 0;
    count.gone += mark.gone ? 1 : 0;
    count.survived += mark.survived ? 1 : 0;
  }
  return counts;
}

FuseBox::Evidence FuseBox::weigh_rule(const std::string& rule, const Marks& marks,
                                      const Census& census, Instant now,
                                      std::vector<OpenFuse>& tripped) {
  const std::size_t at_least = fuse_.at_least;
  const auto counts = by_application(marks);
  Evidence evidence;
  std::size_t there_were = census.sessions;
  std::size_t most_wanted = 0;
  std::size_t of_the_most = 0;
  for (const auto& [application, count] : counts) {
    const Key key{rule, application};
    there_were += count.gone;
    if (is_open(key)) continue;
    const auto live = census.applications.find(application);
    const std::size_t sessions =
        (live == census.applications.end() ? 0 : live->second) + count.gone;
    const std::size_t decided = count.ended + count.back;
    if (count.back >= at_least && is_share(count.back, sessions, fuse_.share_of_sessions)) {
      trip(FuseKind::share, FuseScope::application, key,
           fmt::format("{} of {} sessions of '{}' that rule '{}' wanted came back to life",
                       count.back, sessions, application, rule),
           now, tripped);
      continue;
    }
    if (decided >= at_least && is_share(count.back, decided, fuse_.recovered_share)) {
      trip(FuseKind::recovered, FuseScope::application, key,
           fmt::format("{} of {} sessions of '{}' that rule '{}' wanted came back to life by "
                       "themselves, the others were ended",
                       count.back, decided, application, rule),
           now, tripped);
      continue;
    }
    evidence.all += count;
    if (count.wanted > most_wanted) {
      most_wanted = count.wanted;
      of_the_most = sessions;
    }
  }
  evidence.swept = evidence.all.wanted - most_wanted;
  evidence.outside = there_were - std::min(of_the_most, there_were);

  const Counts& all = evidence.all;
  const Key key{rule, {}};
  if (all.wanted >= at_least && is_share(all.wanted, there_were, fuse_.share_of_sessions) &&
      2 * evidence.swept >= at_least &&
      is_share(evidence.swept, evidence.outside, fuse_.share_of_sessions)) {
    trip(FuseKind::share, FuseScope::rule, key,
         fmt::format("rule '{}' wants {} of {} sessions, {} of them outside the application it "
                     "wants most",
                     rule, all.wanted, there_were, evidence.swept),
         now, tripped);
  } else if (all.surplus >= at_least &&
             is_share(all.surplus, there_were, fuse_.share_of_sessions)) {
    trip(FuseKind::rehearsal, FuseScope::rule, key,
         fmt::format("since the reload rule '{}' wants {} of {} sessions that the rules before it "
                     "do not want",
                     rule, all.surplus, there_were),
         now, tripped);
  } else if (all.survived >= fuse_.survived) {
    trip(FuseKind::survived, FuseScope::rule, key,
         fmt::format("{} backends survived rule '{}'", all.survived, rule), now, tripped);
  } else if (all.ended + all.back >= at_least &&
             is_share(all.back, all.ended + all.back, fuse_.recovered_share)) {
    trip(FuseKind::recovered, FuseScope::rule, key,
         fmt::format("{} of {} sessions that rule '{}' wanted came back to life by themselves, the "
                     "others were ended",
                     all.back, all.ended + all.back, rule),
         now, tripped);
  }
  return evidence;
}

void FuseBox::weigh_all(const std::map<std::string, Evidence>& rules, const Census& census,
                        Instant now, std::vector<OpenFuse>& tripped) {
  // One rule is its own fuse's business.
  if (rules.size() < 2) return;
  Counts all;
  std::size_t swept = 0;
  for (const auto& [rule, evidence] : rules) {
    all += evidence.all;
    swept += evidence.swept;
  }
  const std::size_t at_least = std::size_t{2} * fuse_.at_least;
  const std::size_t survivors = std::size_t{2} * fuse_.survived;
  const std::size_t there_were = census.sessions + all.gone;
  const std::size_t decided = all.ended + all.back;
  if (swept >= at_least && is_share(swept, there_were, fuse_.share_of_sessions)) {
    trip(FuseKind::share, FuseScope::global, {},
         fmt::format("all rules together want {} of {} sessions outside the application that each "
                     "wants most",
                     swept, there_were),
         now, tripped);
  } else if (all.survived >= survivors) {
    trip(FuseKind::survived, FuseScope::global, {},
         fmt::format("{} backends survived, of several rules", all.survived), now, tripped);
  } else if (decided >= at_least && is_share(all.back, decided, fuse_.recovered_share)) {
    trip(FuseKind::recovered, FuseScope::global, {},
         fmt::format("{} of {} sessions that several rules wanted came back to life by themselves",
                     all.back, decided),
         now, tripped);
  }
}

}  // namespace pgleash::watchdog
