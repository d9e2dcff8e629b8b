#pragma once

#include "watchdog/evidence.hpp"
#include "watchdog/snapshot.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

/// Recordings of snapshots: JSON lines, as docs/recording.md describes them. Pure.
namespace pgleash::watchdog {

inline constexpr int recording_version = 1;

/// The first line of each file.
struct RecordingHeader {
  std::string server;
  std::string source;  ///< "run" or "record": whether states are in-band or the server's
  std::string run;  ///< unlike that of any other run: numbers of sessions mean something within it
  std::int64_t started_ms = 0;  ///< Unix time; what the times of frames count from
  Duration interval{};
  bool operator==(const RecordingHeader&) const = default;
};

/// What of a session a frame can change. Times in milliseconds since the start of the recording.
struct RecordedState {
  char state = 's';
  std::int64_t since = 0;
  std::int64_t statement = -1;    ///< number of its statement; -1: unknown
  std::int64_t request = 0;       ///< how long before `since` the request began
  std::int64_t transaction = -1;  ///< how long before `since` the transaction began; -1: none
  std::int64_t stalled = -1;      ///< since when its client takes nothing; -1: it does
  std::int64_t wait = -1;         ///< number of "type:event"
  std::int64_t flags = 0;
  bool operator==(const RecordedState&) const = default;
};

/// Makes lines of snapshots: each tells what changed since the one before; a key frame now and then
/// tells all, so that a damaged line costs no more than what lies before the next one. No literal
/// of a statement is written, only its fingerprint and its text without them.
class RecordingEncoder {
 public:
  static constexpr Duration key_interval = std::chrono::minutes{30};

  /// `started` is header.started_ms by the snapshots' clock.
  RecordingEncoder(RecordingHeader header, Instant started);

  /// One line, or two at the beginning of a file; each with its end. Time does not run backwards.
  [[nodiscard]] std::string encode(const Snapshot& snapshot);
  /// The next line is the first of a file.
  void begin_file() noexcept { header_due_ = key_due_ = true; }
  /// The last line did not get into the file.
  void lost() noexcept { key_due_ = true; }

 private:
  struct Session {
    std::uint64_t number = 0;
    std::shared_ptr<const proxy::SessionIdentity> who;
    RecordedState state;
    ServerTime query_start;
    std::uint64_t seen = 0;
  };
  struct Line;
  [[nodiscard]] std::int64_t since_start(Instant when) const noexcept;
  std::int64_t text(std::string_view value, Line& line);
  std::int64_t statement(const ActivityRow& row, Line& line);
  RecordedState state_of(const SessionEntry& entry, const Session& session, bool key, Line& line);
  void open(const SessionEntry& entry, std::uint64_t number, Line& line);
  void add_locks(const Snapshot& snapshot, Line& line);

  RecordingHeader header_;
  Instant started_;
  FingerprintCache fingerprints_;
  std::unordered_map<std::uint64_t, Session> sessions_;
  std::unordered_map<std::string, std::int64_t> texts_;
  std::unordered_map<std::string, std::int64_t> statements_;
  std::string server_said_;
  std::uint64_t next_number_ = 1;
  std::uint64_t frame_ = 0;
  std::optional<Instant> last_key_;
  bool header_due_ = true;
  bool key_due_ = true;
};

/// Makes snapshots of lines. Any line may be damaged or missing.
class RecordingDecoder {
 public:
  enum class What : std::uint8_t {
    header,
    frame,
    skipped,  ///< a good line that means nothing without one that was lost before it
    damaged,
    other_version,  ///< a recording, but of a format this program does not know
  };
  /// `line` without its end. After `frame` snapshot() is the next moment.
  What decode(std::string_view line);

  /// Changed in place by the next frame. Its time is Unix time, and never runs backwards.
  [[nodiscard]] const Snapshot& snapshot() const noexcept { return snapshot_; }
  [[nodiscard]] const RecordingHeader& header() const noexcept { return header_; }
  /// Of a damaged line, or one of another version.
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

 private:
  struct Session {
    std::size_t index = 0;  ///< in the snapshot
    RecordedState state;
    std::uint64_t key = 0;  ///< key frame that last spoke of it
  };
  struct Frame;

  void read_header(std::string_view line);
  void apply(const Frame& frame);
  void restore(std::uint64_t number, const RecordedState& state, bool fresh);
  void remove(std::uint64_t number);
  [[nodiscard]] Instant at(std::int64_t ms) const;
  [[nodiscard]] const std::string& text(std::int64_t number) const;

  RecordingHeader header_;
  Snapshot snapshot_;
  std::unordered_map<std::uint64_t, Session> sessions_;
  std::vector<std::uint64_t> numbers_;  ///< of the snapshot's sessions
  std::vector<std::string> texts_;
  std::vector<std::pair<std::string, std::string>> statements_;  ///< fingerprint, text
  std::string why_;
  std::uint64_t run_ = 0;
  std::uint64_t keys_ = 0;
  /// A later file whose clock was set back is moved behind the one before.
  std::chrono::milliseconds shift_{};
  bool know_ = false;  ///< a key frame came, and no damage since
  bool started_ = false;
};

}  // namespace pgleash::watchdog
