#pragma once

#include "watchdog/recording.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace pgleash::watchdog {

/// Where a recording goes, and how much of it is kept.
struct RecordingFiles {
  std::string file;  ///< the newest; older ones are FILE.1, FILE.2 …
  std::uint64_t max_size = std::uint64_t{64}
                           << 20U;  ///< bytes; a file ends with the line that passes it
  unsigned keep = 8;                ///< files, the newest among them
};

/// Writes a recording, on a thread of its own: a disk that stalls delays nobody, a full one costs
/// frames and nothing else. What is lost is counted, and the next frame that gets through tells all
/// again. A file that is there already is kept as FILE.1. Files are the owner's alone (0600).
/// One thread calls it.
class Recorder {
 public:
  /// Bytes that wait to be written; more are lost.
  static constexpr std::size_t most_waiting = std::size_t{16} << 20U;

  /// `header.run` is filled in. `now` by the snapshots' clock.
  Recorder(RecordingFiles files, RecordingHeader header, Instant now);
  /// Writes what waits, if the disk lets it.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void record(const Snapshot& snapshot);

  [[nodiscard]] std::uint64_t frames() const noexcept { return frames_; }
  [[nodiscard]] std::uint64_t lost() const noexcept { return dropped_ + failures_.load(); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return written_.load(); }
  /// What the last failure was, in one line; empty when the last write was good.
  [[nodiscard]] std::string problem() const;

 private:
  struct Job {
    std::string text;
    bool new_file = false;
  };
  void work();
  [[nodiscard]] std::string write(const Job& job);
  [[nodiscard]] std::string open();
  void rotate() const;

  RecordingFiles files_;
  RecordingEncoder encoder_;
  std::uint64_t size_ = 0;  ///< of the newest file, with what waits
  std::uint64_t frames_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t failures_seen_ = 0;
  bool new_file_ = true;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::size_t waiting_ = 0;
  std::string problem_;
  bool stopping_ = false;

  std::atomic<std::uint64_t> failures_{0};
  std::atomic<std::uint64_t> written_{0};
  int descriptor_ = -1;          // of the thread alone, as is the next
  std::uint64_t good_size_ = 0;  // up to here there are whole lines
  std::thread thread_;
};

}  // namespace pgleash::watchdog
