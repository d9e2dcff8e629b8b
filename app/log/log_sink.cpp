#include "app/log/log_sink.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <string_view>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>

namespace pgleash::app {
namespace {

void write_all(int descriptor, std::string_view rest) {
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {  // whoever shares it with us made it so
      pollfd room{descriptor, POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return;  // nobody reads it any more
    }
  }
}

}  // namespace

LogSink::LogSink(int descriptor) : descriptor_(descriptor), thread_([this] { run(); }) {}

LogSink::~LogSink() {
  {
    const std::lock_guard lock{mutex_};
    ending_ = true;
  }
  something_.notify_one();
  end_.notify_one();
  thread_.join();
}

void LogSink::sink_it_(const spdlog::details::log_msg& message) {
  formatter_->format(message, lines_);
  if (lines_.size() > most_waiting) drop_oldest();
  if (std::exchange(idle_, false)) something_.notify_one();
}

void LogSink::drop_oldest() {
  const std::string_view all{lines_.data(), lines_.size()};
  const std::size_t end = all.find('\n', all.size() / 2);
  if (end == std::string_view::npos) return;
  const std::string_view dropped = all.substr(0, end + 1);
  lost_ += static_cast<std::uint64_t>(std::ranges::count(dropped, '\n'));
  const std::size_t left = all.size() - dropped.size();
  std::memmove(lines_.data(), lines_.data() + dropped.size(), left);
  lines_.resize(left);
}

void LogSink::run() {
  ::prctl(PR_SET_NAME, "log");
  spdlog::memory_buf_t lines;
  std::unique_lock lock{mutex_};
  for (;;) {
    idle_ = lines_.size() == 0;
    something_.wait(lock, [this] { return lines_.size() > 0 || ending_; });
    if (lines_.size() == 0) return;
    std::swap(lines, lines_);
    lock.unlock();
    write_all(descriptor_, {lines.data(), lines.size()});
    lines.clear();
    lock.lock();
    end_.wait_for(lock, rest, [this] { return ending_; });
  }
}

}  // namespace pgleash::app
