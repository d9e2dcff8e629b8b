#include "app/replay/replay.hpp"

#include "watchdog/message.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pgleash::app {

using What = watchdog::RecordingDecoder::What;

namespace {

/// Faults that are told one by one; more are only counted.
constexpr std::size_t most_faults = 1000;
constexpr std::uint64_t lines_between_progress = 256;

}  // namespace

bool Replay::take(std::string_view line, const std::string& name, std::uint64_t number) {
  switch (decoder_.decode(line)) {
    case What::header:
      if (!rehearsal_) {
        std::vector<config::Diagnostic> diagnostics;
        const auto source = decoder_.header().source == "record" ? Rehearsal::Source::outside
                                                                 : Rehearsal::Source::recording;
        rehearsal_ = Rehearsal::compile(config_, source, 1, diagnostics);
        for (const config::Diagnostic& one : diagnostics)
          faults_.push_back({one.position.source, one.position.line, one.message});
        return rehearsal_ != nullptr;
      }
      return true;
    case What::frame: {
      const watchdog::Snapshot& snapshot = decoder_.snapshot();
      if (!first_) first_ = snapshot.now;
      ++frames_;
      note_leaks(rehearsal_->tick(snapshot), snapshot.now);
      return true;
    }
    case What::skipped:
      ++skipped_;
      return true;
    case What::damaged:
      ++skipped_;
      if (faults_.size() < most_faults) faults_.push_back({name, number, decoder_.why()});
      return true;
    case What::other_version:
      break;
  }
  faults_.push_back({name, number, decoder_.why()});
  return false;
}

void Replay::note_leaks(const Rehearsal::Tick& tick, Instant now) {
  for (const watchdog::LeakReport& report : tick.detected) {
    ReplayedLeak& leak = leaks_.emplace_back();
    leak.application = report.leak.group.application;
    leak.user = report.leak.group.user;
    leak.database = report.leak.group.database;
    leak.detected = now;
    leak.suspects = report.leak.suspect_count;
    leak.sessions = report.leak.sessions;
    leak.statement = report.statement;
    leak.same_statement = report.same_statement;
    leak.exhaustion = report.forecast.expected;
    leak.quota = report.quota;
    if (report.oldest.empty()) continue;
    const watchdog::LeakSuspect& oldest = report.oldest.front();
    leak.oldest =
        fmt::format("{} unused {}",
                    oldest.who->client.address.empty()
                        ? "local"
                        : fmt::format("{}:{}", oldest.who->client.address, oldest.who->client.port),
                    watchdog::in_seconds(oldest.unused));
  }
  for (const watchdog::LeakReport& report : tick.cleared) {
    const auto& group = report.leak.group;
    const auto found = std::find_if(leaks_.rbegin(), leaks_.rend(), [&](const ReplayedLeak& leak) {
      return !leak.cleared && leak.application == group.application && leak.user == group.user &&
             leak.database == group.database;
    });
    if (found != leaks_.rend()) found->cleared = now;
  }
}

bool Replay::read(std::istream& file, const std::string& name,
                  const std::function<void(std::uint64_t)>& progress) {
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;
  std::string line;
  while (std::getline(file, line)) {
    ++number;
    bytes += line.size() + 1;
    if (!take(line, name, number)) return false;
    if (number % lines_between_progress == 0) progress(bytes);
  }
  progress(bytes);
  return true;
}

}  // namespace pgleash::app
