#include "watchdog/audit_log.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <new>
#include <optional>
#include <signal.h>
#include <utility>
#include <vector>

namespace pgleash::watchdog {
namespace {

/// Until what must follow is tried again, when nothing else is to be written.
constexpr std::chrono::seconds owed_pause{1};

}  // namespace

/// What the caller waits for. Touched on the caller's executor only, but for `abandoned`.
struct AuditLog::Answer {
  explicit Answer(const boost::asio::any_io_executor& where) : executor(where), timer(where) {}
  boost::asio::any_io_executor executor;
  boost::asio::steady_timer timer;
  bool yes = false;
  std::atomic<bool> abandoned =
      false;  ///< the caller gave up: a record not begun yet need not be written
};

struct AuditLog::Job {
  std::optional<AuditRecord> record;  ///< none: reopen
  std::shared_ptr<Answer> answer;
  bool in_any_case = false;
  bool given_up = false;  ///< by who asked, before it was begun

  void reply(bool yes) noexcept {
    const auto executor = answer->executor;
    auto tell = [answer = std::move(answer),
                 yes] {  // moved, so that the timer also dies on its own executor
      answer->yes = yes;
      answer->timer.cancel();
    };
    try {
      boost::asio::post(executor, std::move(tell));
    } catch (const std::bad_alloc&) {  // the deadline of who waits says no
    }
  }
};

std::unique_ptr<AuditLog> AuditLog::open(const config::Audit& settings, std::string& problem) {
  std::unique_ptr<AuditSink> sink;
  if (settings.sink != config::AuditSink::off) {
    sink = AuditSink::open(settings, problem);
    if (!sink) return nullptr;
  }
  return std::unique_ptr<AuditLog>{new AuditLog{std::move(sink)}};
}

AuditLog::AuditLog(std::unique_ptr<AuditSink> sink) : sink_(std::move(sink)) {
  if (!sink_) return;
  // Signals are the main thread's affair, and a closed standard output is an error here, not the
  // end of the process.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread{[this] { run(); }};
  ::pthread_setname_np(thread_.native_handle(), "audit");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

AuditLog::~AuditLog() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Task<bool> AuditLog::write(AuditRecord record) {
  if (!sink_) co_return true;
  const auto executor = co_await boost::asio::this_coro::executor;
  Job job{std::move(record), std::make_shared<Answer>(executor)};
  co_return co_await write(std::move(job));
}

Task<bool> AuditLog::write_in_any_case(AuditRecord record) {
  if (!sink_) co_return true;
  const auto executor = co_await boost::asio::this_coro::executor;
  Job job{std::move(record), std::make_shared<Answer>(executor), true};
  co_return co_await write(std::move(job));
}

Task<bool> AuditLog::write(Job job) {
  const bool written = co_await ask(std::move(job));
  ++(written ? records_ : errors_);
  if (!written) failing_.store(true, std::memory_order_relaxed);
  co_return written;
}

void AuditLog::set_statement_text(config::StatementTextPolicy policy) noexcept {
  if (sink_) sink_->set_statement_text(policy);
}

Task<bool> AuditLog::reopen() {
  if (!sink_) co_return true;
  const auto executor = co_await boost::asio::this_coro::executor;
  Job job{std::nullopt, std::make_shared<Answer>(executor)};
  co_return co_await ask(std::move(job));
}

Task<bool> AuditLog::ask(Job job) {
  const auto answer = job.answer;
  answer->timer.expires_after(deadline);
  {
    const std::lock_guard lock{mutex_};
    if (queue_.size() >= max_queued) co_return false;
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  boost::system::error_code answered_or_late;
  co_await answer->timer.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, answered_or_late));
  answer->abandoned.store(true, std::memory_order_relaxed);
  co_return answer->yes;
}

void AuditLog::run() {
  for (bool last = false; !last;) {
    {
      std::unique_lock lock{mutex_};
      const auto wanted = [this] { return stopping_ || (taken_.empty() && !queue_.empty()); };
      if (owed_.empty() && taken_.empty())
        wake_.wait(lock, wanted);
      else
        wake_.wait_for(lock, owed_pause, wanted);
      if (taken_.empty()) taken_.swap(queue_);  // which takes no memory
      last = stopping_ && queue_.empty();
    }
    try {
      carry_out();
    } catch (const std::bad_alloc&) {  // what is left is tried again after a pause
      failing_.store(true, std::memory_order_relaxed);
    }
  }
}

/// In order: records in one go, up to a reopen. When it throws, what was not done is in taken_ yet.
void AuditLog::carry_out() {
  do {
    const auto reopen = std::find_if(taken_.begin(), taken_.end(),
                                     [](const Job& job) { return !job.record.has_value(); });
    write_batch(static_cast<std::size_t>(reopen - taken_.begin()));
    if (taken_.empty()) return;
    taken_.front().reply(sink_->reopen());
    taken_.pop_front();
  } while (!taken_.empty());
}

/// So many of the front, and what is owed before them.
void AuditLog::write_batch(std::size_t count) {
  std::vector<const AuditRecord*> records;
  records.reserve(owed_.size() + count);
  for (const AuditRecord& record : owed_) records.push_back(&record);
  for (std::size_t i = 0; i < count; ++i) {
    Job& job = taken_[i];
    job.given_up = !job.in_any_case && job.answer->abandoned.load(std::memory_order_relaxed);
    if (!job.given_up) records.push_back(&*job.record);
  }
  bool written = false;
  try {
    written = !records.empty() && sink_->append(records);
  } catch (const std::bad_alloc&) {  // before a byte was written
  }
  if (written) {
    records_ += owed_.size();
    owed_.clear();
    failing_.store(false, std::memory_order_relaxed);
  }
  for (; count > 0; --count) {
    Job& job = taken_.front();
    if (!written && job.in_any_case && owed_.size() < max_queued)
      owed_.push_back(std::move(*job.record));
    job.reply(written && !job.given_up);
    taken_.pop_front();
  }
}

}  // namespace pgleash::watchdog
