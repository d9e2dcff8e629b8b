#include "app/replay/progress_bar.hpp"
#include "app/replay/replay.hpp"
#include "app/watch/outside_sampling.hpp"
#include "app/watch/render.hpp"
#include "app/watch/text.hpp"
#include "config/defaults.hpp"
#include "config/diagnostic.hpp"
#include "config/loader.hpp"
#include "watchdog/clock.hpp"
#include "watchdog/utf8.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <utility>

/// What a replay found, for people and for machines; and the command that makes one.
namespace pgleash::app {

namespace json = boost::json;

namespace {

constexpr int exit_good = 0;
constexpr int exit_damaged = 1;
constexpr int exit_faults = 2;
constexpr std::size_t shown_faults = 20;
constexpr unsigned most_rotated = 1000;

/// A recording's instants are Unix time.
std::string utc(Instant when) {
  return app::utc(std::chrono::system_clock::time_point{
      std::chrono::duration_cast<std::chrono::system_clock::duration>(when.time_since_epoch())});
}

json::string text(std::string_view value) {
  return json::string{watchdog::valid_utf8(value)};
}

json::value seconds(const std::optional<Duration>& duration) {
  if (!duration) return nullptr;
  return std::chrono::duration<double>(*duration).count();
}

/// Rows that would have acted, the most first; then those that were exempt only.
std::vector<std::pair<Rehearsal::Key, WouldAct>> rows_of(const Replay& replay) {
  std::vector<std::pair<Rehearsal::Key, WouldAct>> rows;
  if (replay.rehearsal() == nullptr) return rows;
  rows.assign(replay.rehearsal()->would_act().begin(), replay.rehearsal()->would_act().end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
  return rows;
}

void draw(const std::string& text) {
  if (text.empty()) return;
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

/// Takes the bar off the terminal again, whichever way the replay ends.
class Drawn {
 public:
  explicit Drawn(const ProgressBar& bar) : bar_(bar) {}
  ~Drawn() { draw(bar_.removed()); }
  Drawn(const Drawn&) = delete;
  Drawn& operator=(const Drawn&) = delete;

 private:
  const ProgressBar& bar_;
};

/// A file with the older ones of its rotation, oldest first.
std::vector<std::string> with_rotated(const std::string& file) {
  std::vector<std::string> all;
  for (unsigned i = 1; i < most_rotated; ++i) {
    std::string older = fmt::format("{}.{}", file, i);
    if (std::error_code none; !std::filesystem::exists(older, none)) break;
    all.push_back(std::move(older));
  }
  std::reverse(all.begin(), all.end());
  all.push_back(file);
  return all;
}

}  // namespace

std::string replay_table(const Replay& replay) {
  std::string out;
  if (replay.first())
    out += fmt::format("{} frames, {} to {} ({})\n", replay.frames(), utc(*replay.first()),
                       utc(replay.last()), short_age(replay.last() - *replay.first()));
  const auto rows = rows_of(replay);
  if (rows.empty()) {
    out += "no rule would have acted\n";
  } else {
    std::array<std::size_t, 2> widths{4, 11};
    for (const auto& [key, row] : rows) {
      widths[0] = std::max(widths[0], columns_of(safe_line(key.first)));
      widths[1] = std::max(widths[1], columns_of(safe_line(key.second)));
    }
    out += fmt::format("{}  {}  {:>9}  {:>8}  {:>8}  {:<20}  {:<20}  {}\n", fit("rule", widths[0]),
                       fit("application", widths[1]), "would act", "sessions", "exempt", "first",
                       "last", "evidence");
    for (const auto& [key, row] : rows)
      out +=
          fmt::format("{}  {}  {:>9}  {:>8}  {:>8}  {:<20}  {:<20}  {}\n",
                      fit(safe_line(key.first), widths[0]), fit(safe_line(key.second), widths[1]),
                      row.count, row.sessions, row.exempted, row.count > 0 ? utc(row.first) : "-",
                      row.count > 0 ? utc(row.last) : "-", safe_line(row.evidence));
  }
  for (const ReplayedLeak& leak : replay.leaks()) {
    out += fmt::format("leak: {} ({}@{}) detected {}{}: {} of {} sessions unused; oldest {}",
                       safe_line(leak.application), safe_line(leak.user), safe_line(leak.database),
                       utc(leak.detected),
                       leak.cleared ? ", cleared " + utc(*leak.cleared) : std::string{},
                       leak.suspects, leak.sessions, safe_line(leak.oldest));
    if (leak.exhaustion)
      out += fmt::format("; the last slot foretold for {} later", short_age(*leak.exhaustion));
    if (leak.quota)
      out += fmt::format("; quota {} ({}) to refuse it {} later", safe_line(leak.quota->quota),
                         leak.quota->limit, short_age(*leak.quota->end.expected));
    if (!leak.statement.empty())
      out += fmt::format("; {:.0f} % ended in: {}", leak.same_statement * 100,
                         safe_line(leak.statement));
    out += '\n';
  }
  if (replay.rehearsal() != nullptr && !replay.rehearsal()->unjudged().empty())
    out += fmt::format("not judged, as the recording does not tell: {}\n",
                       fmt::join(replay.rehearsal()->unjudged(), ", "));
  return out;
}

std::string replay_json(const Replay& replay) {
  json::object all;
  all["frames"] = replay.frames();
  all["skipped_lines"] = replay.skipped();
  all["first"] = replay.first() ? json::value(text(utc(*replay.first()))) : json::value(nullptr);
  all["last"] = replay.first() ? json::value(text(utc(replay.last()))) : json::value(nullptr);
  json::array rules;
  for (const auto& [key, row] : rows_of(replay)) {
    json::object one;
    one["rule"] = text(key.first);
    one["kind"] = config::name(row.kind);
    one["action"] = config::name(row.action);
    one["application"] = text(key.second);
    one["would_act"] = row.count;
    one["sessions"] = row.sessions;
    one["exempted"] = row.exempted;
    one["first"] = row.count > 0 ? json::value(text(utc(row.first))) : json::value(nullptr);
    one["last"] = row.count > 0 ? json::value(text(utc(row.last))) : json::value(nullptr);
    one["evidence"] = text(row.evidence);
    rules.push_back(std::move(one));
  }
  all["would_act"] = std::move(rules);
  json::array leaks;
  for (const ReplayedLeak& leak : replay.leaks()) {
    json::object one;
    one["application"] = text(leak.application);
    one["usename"] = text(leak.user);
    one["datname"] = text(leak.database);
    one["detected"] = text(utc(leak.detected));
    one["cleared"] = leak.cleared ? json::value(text(utc(*leak.cleared))) : json::value(nullptr);
    one["suspects"] = leak.suspects;
    one["sessions"] = leak.sessions;
    one["oldest"] = text(leak.oldest);
    one["exhaustion_seconds"] = seconds(leak.exhaustion);
    one["quota"] = leak.quota ? json::value(text(leak.quota->quota)) : json::value(nullptr);
    one["quota_exhaustion_seconds"] =
        leak.quota ? seconds(leak.quota->end.expected) : json::value(nullptr);
    one["statement"] = text(leak.statement);
    one["same_statement_share"] = leak.same_statement;
    leaks.push_back(std::move(one));
  }
  all["leaks"] = std::move(leaks);
  json::array unjudged;
  if (replay.rehearsal() != nullptr)
    for (const std::string& rule : replay.rehearsal()->unjudged()) unjudged.push_back(text(rule));
  all["unjudged_rules"] = std::move(unjudged);
  json::array faults;
  for (const Replay::Fault& fault : replay.faults())
    faults.push_back(
        json::object{{"file", text(fault.file)}, {"line", fault.line}, {"why", text(fault.why)}});
  all["faults"] = std::move(faults);
  return json::serialize(all) + "\n";
}

int replay(const ReplayOptions& options) {
  config::Config config;
  if (options.config.empty()) {
    config.identity.driver_defaults = config::default_driver_names();
    config::complete(config);
  } else {
    config::LoadResult loaded = load_rules(options.config);
    for (const config::Diagnostic& one : loaded.diagnostics)
      std::fprintf(stderr, "%s\n", config::render(one, false).c_str());
    if (!loaded.config) return exit_faults;
    config = std::move(*loaded.config);
  }
  std::vector<std::string> files;
  for (const std::string& file : options.files)
    for (std::string& one : with_rotated(file)) files.push_back(std::move(one));
  std::uint64_t total = 0;
  for (const std::string& file : files) {
    std::error_code failed;
    const auto size = std::filesystem::file_size(file, failed);
    if (!failed) total += size;
  }
  Replay run{std::move(config)};
  bool good = true;
  {
    ProgressBar bar{total, ::isatty(STDERR_FILENO) != 0, watchdog::now()};
    const Drawn drawn{bar};
    std::uint64_t before = 0;
    for (const std::string& file : files) {
      std::ifstream stream{file, std::ios::binary};
      if (!stream) {
        std::fprintf(stderr, "pgleash replay: cannot open %s\n", file.c_str());
        return exit_faults;
      }
      std::uint64_t read = 0;
      good = run.read(stream, file, [&](std::uint64_t bytes) {
        read = bytes;
        draw(bar.at(before + bytes, watchdog::now()));
      });
      before += read;
      if (!good) break;
    }
  }
  const auto& faults = run.faults();
  for (std::size_t i = 0; i < std::min(shown_faults, faults.size()); ++i)
    std::fprintf(stderr, "%s:%llu: %s\n", faults[i].file.c_str(),
                 static_cast<unsigned long long>(faults[i].line), faults[i].why.c_str());
  if (run.skipped() > 0)
    std::fprintf(
        stderr,
        "%llu lines left out: damaged, or without meaning until the next key frame; if they "
        "are whole where they were recorded, copy the file again\n",
        static_cast<unsigned long long>(run.skipped()));
  if (!good) return exit_faults;
  if (run.frames() == 0) {
    std::fputs("pgleash replay: there is no frame to judge\n", stderr);
    return exit_faults;
  }
  std::fputs((options.json ? replay_json(run) : replay_table(run)).c_str(), stdout);
  return run.skipped() > 0 ? exit_damaged : exit_good;
}

}  // namespace pgleash::app
