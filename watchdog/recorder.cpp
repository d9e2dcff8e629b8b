#include "watchdog/recorder.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <random>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace pgleash::watchdog {
namespace {

std::string fresh_run() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

RecordingHeader with_run(RecordingHeader header) {
  header.run = fresh_run();
  return header;
}

std::string said(std::string_view what, const std::string& file) {
  return fmt::format("cannot {} {}: {}", what, file, std::strerror(errno));
}

}  // namespace

Recorder::Recorder(RecordingFiles files, RecordingHeader header, Instant now)
    : files_(std::move(files)),
      encoder_(with_run(std::move(header)), now),
      thread_([this] { work(); }) {}

Recorder::~Recorder() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string Recorder::problem() const {
  const std::lock_guard lock{mutex_};
  return problem_;
}

void Recorder::record(const Snapshot& snapshot) {
  if (const std::uint64_t failures = failures_.load(); failures != failures_seen_) {
    failures_seen_ = failures;
    encoder_.begin_file();  // nobody knows whether the file has its first line
  }
  if (size_ >= files_.max_size) {
    new_file_ = true;
    size_ = 0;
  }
  if (new_file_) encoder_.begin_file();
  Job job{encoder_.encode(snapshot), new_file_};
  ++frames_;
  const std::size_t bytes = job.text.size();
  {
    const std::lock_guard lock{mutex_};
    if (waiting_ + bytes > most_waiting) {
      ++dropped_;
      encoder_.begin_file();
      return;
    }
    waiting_ += bytes;
    jobs_.push_back(std::move(job));
  }
  size_ += bytes;
  new_file_ = false;
  wake_.notify_one();
}

void Recorder::work() {
  std::unique_lock lock{mutex_};
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::string problem;
    try {
      problem = write(job);
    } catch (const std::exception& e) {  // no memory: a frame that is lost
      problem = e.what();
    }
    if (!problem.empty()) ++failures_;
    lock.lock();
    waiting_ -= job.text.size();
    problem_ = std::move(problem);
  }
}

std::string Recorder::open() {
  descriptor_ = ::open(files_.file.c_str(),
                       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (descriptor_ < 0) return said("open", files_.file);
  struct stat facts {};
  if (::fstat(descriptor_, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    ::close(std::exchange(descriptor_, -1));
    return fmt::format("{} is no ordinary file", files_.file);
  }
  good_size_ = static_cast<std::uint64_t>(facts.st_size);
  return {};
}

void Recorder::rotate() const {
  if (files_.keep <= 1) {
    ::unlink(files_.file.c_str());
    return;
  }
  for (unsigned i = files_.keep - 1; i > 0; --i) {
    const std::string from = i == 1 ? files_.file : fmt::format("{}.{}", files_.file, i - 1);
    ::rename(from.c_str(), fmt::format("{}.{}", files_.file, i).c_str());
  }
}

/// Whole lines or nothing.
std::string Recorder::write(const Job& job) {
  if (job.new_file) {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    struct stat facts {};
    if (::stat(files_.file.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0)
      rotate();
  }
  if (descriptor_ < 0)
    if (std::string problem = open(); !problem.empty()) return problem;
  std::string_view rest = job.text;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(descriptor_, rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      std::string problem = said("write", files_.file);
      if (::ftruncate(descriptor_, static_cast<off_t>(good_size_)) != 0)
        ::close(std::exchange(descriptor_, -1));
      return problem;
    }
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  good_size_ += job.text.size();
  written_ += job.text.size();
  return {};
}

}  // namespace pgleash::watchdog
