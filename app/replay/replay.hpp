#pragma once

#include "app/watch/rehearsal.hpp"
#include "config/config.hpp"
#include "watchdog/recording.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::app {

/// A leak that a replay found.
struct ReplayedLeak {
  std::string application, user, database;
  Instant detected{};
  std::optional<Instant> cleared;
  std::uint32_t suspects = 0;
  std::uint32_t sessions = 0;
  std::string statement;
  double same_statement = 0;
  std::string oldest;                  ///< "10.0.0.7:40312 unused 312 s"
  std::optional<Duration> exhaustion;  ///< of the server's slots, from `detected` on
  std::optional<watchdog::QuotaForecast>
      quota;  ///< the one that refuses it first, of the same moment
};

/// Runs rules and the leak detector over recordings, by the recordings' own time. Pure but for its
/// memory.
class Replay {
 public:
  explicit Replay(config::Config config) : config_(std::move(config)) {}

  struct Fault {
    std::string file;
    std::uint64_t line = 0;
    std::string why;
  };
  /// All lines of one file, oldest file first. False: it is of another version, or the rules are
  /// faulty; faults() says which. `progress` hears the bytes read so far.
  bool read(std::istream& file, const std::string& name,
            const std::function<void(std::uint64_t)>& progress);

  [[nodiscard]] const std::vector<Fault>& faults() const noexcept { return faults_; }
  [[nodiscard]] std::uint64_t frames() const noexcept { return frames_; }
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }
  [[nodiscard]] std::optional<Instant> first() const noexcept { return first_; }
  [[nodiscard]] Instant last() const noexcept { return decoder_.snapshot().now; }
  [[nodiscard]] const std::vector<ReplayedLeak>& leaks() const noexcept { return leaks_; }
  /// Null before the first header.
  [[nodiscard]] const Rehearsal* rehearsal() const noexcept { return rehearsal_.get(); }

 private:
  bool take(std::string_view line, const std::string& name, std::uint64_t number);
  void note_leaks(const Rehearsal::Tick& tick, Instant now);

  config::Config config_;
  watchdog::RecordingDecoder decoder_;
  std::unique_ptr<Rehearsal> rehearsal_;
  std::vector<Fault> faults_;
  std::vector<ReplayedLeak> leaks_;
  std::optional<Instant> first_;
  std::uint64_t frames_ = 0;
  std::uint64_t skipped_ = 0;
};

/// For people, and for machines (one JSON object).
[[nodiscard]] std::string replay_table(const Replay& replay);
[[nodiscard]] std::string replay_json(const Replay& replay);

/// `pgleash replay`.
struct ReplayOptions {
  std::vector<std::string> files;  ///< each with the older ones of its rotation (FILE.1 …)
  std::string config;
  bool json = false;
};
/// 0 good, 1 some lines could not be read, 2 nothing could.
[[nodiscard]] int replay(const ReplayOptions& options);

}  // namespace pgleash::app
