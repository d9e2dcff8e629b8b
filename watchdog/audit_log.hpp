#pragma once

#include "config/config.hpp"
#include "watchdog/audit_record.hpp"
#include "watchdog/audit_sink.hpp"
#include "watchdog/task.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace pgleash::watchdog {

/// The append-only evidence of what was done: JSON lines, one a record, chained by hash
/// (audit_chain.hpp).
///
/// A thread of its own writes and syncs, so that a slow disk holds up nobody but who waits for this
/// very record. What has queued up meanwhile goes out with one sync. Any thread may write(); the
/// answer comes on the caller's executor. Destroy it before the io_contexts of its callers, and
/// once none of their tasks waits on it.
class AuditLog {
 public:
  static constexpr Duration deadline = std::chrono::seconds{1};
  static constexpr std::size_t max_queued = 1024;

  /// Null, and `problem` says why. Sink "off" gives a log that accepts everything and keeps
  /// nothing.
  [[nodiscard]] static std::unique_ptr<AuditLog> open(const config::Audit& settings,
                                                      std::string& problem);
  /// Writes what is queued first.
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  /// True when the record is on the disk. False: it could not be written, or not within the
  /// deadline; no line, no kill.
  Task<bool> write(AuditRecord record);
  /// The same for what was done already: the line is not given up, but kept until the disk takes
  /// it, in front of those that come meanwhile. So each intent gets its outcome, if late.
  Task<bool> write_in_any_case(AuditRecord record);
  /// How much of a statement the lines from now on show. Any thread.
  void set_statement_text(config::StatementTextPolicy policy) noexcept;
  /// After rotation (SIGUSR1). False: the old file stays in use.
  Task<bool> reopen();

  /// The last record could not be written: nobody is ended now.
  [[nodiscard]] bool failing() const noexcept { return failing_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t records() const noexcept {
    return records_.load(std::memory_order_relaxed);
  }
  /// Records whose writer was told no.
  [[nodiscard]] std::uint64_t errors() const noexcept {
    return errors_.load(std::memory_order_relaxed);
  }

 private:
  struct Answer;
  struct Job;

  explicit AuditLog(std::unique_ptr<AuditSink> sink);
  Task<bool> write(Job job);
  Task<bool> ask(Job job);
  void run();
  void carry_out();
  void write_batch(std::size_t count);

  std::unique_ptr<AuditSink> sink_;  ///< the thread's; null: off
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;         ///< guarded by mutex_
  std::deque<Job> taken_;         ///< of the queue, and under way; the thread's
  std::deque<AuditRecord> owed_;  ///< what must follow, the oldest first; the thread's
  bool stopping_ = false;         ///< guarded by mutex_
  std::atomic<std::uint64_t> records_ = 0;
  std::atomic<std::uint64_t> errors_ = 0;
  std::atomic<bool> failing_ = false;
  std::thread thread_;
};

}  // namespace pgleash::watchdog
