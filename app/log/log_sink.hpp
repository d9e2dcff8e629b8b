#pragma once

#include <spdlog/sinks/base_sink.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>

namespace pgleash::app {

/// Writes the log's lines to a descriptor, on a thread of its own. A line that comes alone is
/// written at once. Behind it the thread rests for a moment, so that lines that come one after the
/// other are written together, and nobody has to wake it for each. Whoever logs never waits for a
/// reader: what he is too slow for is dropped, the oldest lines first.
class LogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  static constexpr auto rest = std::chrono::milliseconds{50};
  static constexpr std::size_t most_waiting = 4 * 1024 * 1024;  ///< bytes

  /// `descriptor` outlives it.
  explicit LogSink(int descriptor);
  /// Writes what is left.
  ~LogSink() override;

  /// Lines that were dropped. Any thread.
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}
  void run();
  void drop_oldest();

  int descriptor_;
  spdlog::memory_buf_t lines_;  ///< under mutex_, as all else but lost_
  std::condition_variable something_;
  std::condition_variable end_;
  bool idle_ = false;  ///< the thread waits for a line
  bool ending_ = false;
  std::atomic<std::uint64_t> lost_ = 0;
  std::thread thread_;
};

}  // namespace pgleash::app
