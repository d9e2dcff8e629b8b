#include "app/log/log_sink.hpp"

#include <gtest/gtest.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace pgleash::app {
namespace {

/// A log whose reader is the test.
class LogSinkTest : public testing::Test {
 protected:
  LogSinkTest() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    sink_ = std::make_shared<LogSink>(ends_[1]);
    log_ = std::make_unique<spdlog::logger>("test", sink_);
    log_->set_pattern("%v");
  }
  ~LogSinkTest() override {
    end();
    ::close(ends_[0]);
  }
  /// Blocks while the pipe is full and nobody reads.
  void end() {
    log_.reset();
    sink_.reset();
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }
  /// What comes within the patience, until so many lines are there.
  std::string read(std::ptrdiff_t lines) {
    while (std::ranges::count(got_, '\n') < lines && read_some()) {
    }
    return got_;
  }
  bool read_some() {
    pollfd input{ends_[0], POLLIN, 0};
    std::array<char, 65536> bytes{};
    if (::poll(&input, 1, 10'000) != 1) return false;
    const ssize_t size = ::read(ends_[0], bytes.data(), bytes.size());
    if (size <= 0) return false;
    got_.append(bytes.data(), static_cast<std::size_t>(size));
    return true;
  }

  std::array<int, 2> ends_{-1, -1};
  std::shared_ptr<LogSink> sink_;
  std::unique_ptr<spdlog::logger> log_;
  std::string got_;
};

TEST_F(LogSinkTest, WritesALineThatComesAlone) {
  log_->info("one");
  EXPECT_EQ(read(1), "one\n");
  log_->info("two");
  EXPECT_EQ(read(2), "one\ntwo\n");
}

TEST_F(LogSinkTest, WritesWhatIsLeftWhenItEnds) {
  for (int i = 0; i < 100; ++i) log_->info("line {}", i);
  end();
  const std::string all = read(100);
  EXPECT_TRUE(all.starts_with("line 0\nline 1\n")) << all;
  EXPECT_TRUE(all.ends_with("line 98\nline 99\n")) << all;
}

TEST_F(LogSinkTest, KeepsTheLinesOfManyThreadsWhole) {
  constexpr int threads = 4;
  constexpr int lines = 5000;
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([this, t] {
      for (int i = 0; i < lines; ++i) log_->info("{}:{}", t, i);
    });
  const std::string text = read(threads * lines);
  for (std::thread& one : all) one.join();
  std::array<int, threads> next{};
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    const int thread = text[at] - '0';
    ASSERT_TRUE(thread >= 0 && thread < threads) << text.substr(at, 20);
    const std::string wanted = std::to_string(thread) + ':' + std::to_string(next[thread]++) + '\n';
    ASSERT_EQ(text.substr(at, wanted.size()), wanted);
  }
  EXPECT_EQ(sink_->lost(), 0U);
}

TEST_F(LogSinkTest, DropsTheOldestLinesForAReaderWhoIsTooSlowAndSaysHowMany) {
  constexpr std::uint64_t lines = 100'000;
  const std::string filler(100, 'x');
  for (std::uint64_t i = 0; i < lines; ++i) log_->info("{} {}", filler, i);  // nobody reads
  ASSERT_GT(sink_->lost(), 0U);
  const std::uint64_t lost = sink_->lost();
  const std::string text = read(static_cast<std::ptrdiff_t>(lines - lost));
  EXPECT_EQ(static_cast<std::uint64_t>(std::ranges::count(text, '\n')), lines - lost);
  EXPECT_TRUE(text.ends_with(' ' + std::to_string(lines - 1) + '\n')) << "the newest is there";
  EXPECT_LE(text.size(), LogSink::most_waiting + 1024UL * 1024);
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    ASSERT_TRUE(text.compare(at, filler.size(), filler) == 0) << "a line is cut";
}

TEST_F(LogSinkTest, WaitsForAReaderWhoMadeTheDescriptorNonBlocking) {
  ASSERT_EQ(::fcntl(ends_[1], F_SETFL, O_NONBLOCK), 0);
  const std::string filler(1000, 'x');
  for (int i = 0; i < 500; ++i) log_->info("{}", filler);  // more than a pipe holds
  EXPECT_EQ(read(500).size(), 500U * 1001);
}

}  // namespace
}  // namespace pgleash::app
