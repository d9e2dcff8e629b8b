#include "watchdog/recorder.hpp"

#include "tests/support/temp_dir.hpp"
#include "tests/support/wait_until.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;
using test::wait_until;
using testing::HasSubstr;
using testing::IsEmpty;

const Instant noon = Instant{} + 1000h;

Snapshot moment(int tick, int sessions = 20) {
  Snapshot snapshot;
  snapshot.now = noon + tick * 1s;
  snapshot.monitor_up = true;
  for (int i = 0; i < sessions; ++i) {
    proxy::SessionIdentity who;
    who.user = "web";
    who.application = "application-" + std::to_string(tick);
    SessionEntry& entry = snapshot.sessions.emplace_back();
    entry.view.id = proxy::SessionId{static_cast<std::uint64_t>(tick * 1000 + i)};
    entry.view.who = std::make_shared<const proxy::SessionIdentity>(who);
    entry.view.facts.state = protocol::SessionState::idle;
    entry.view.facts.state_since = snapshot.now;
  }
  return snapshot;
}

RecordingHeader header() {
  return {"db1", "record", {}, 1'767'225'600'000, 1s};
}

struct ReadBack {
  std::size_t frames = 0;
  std::size_t faults = 0;
};
ReadBack read(const std::string& file) {
  ReadBack found;
  RecordingDecoder decoder;
  std::ifstream stream{file};
  for (std::string line; std::getline(stream, line);) {
    const auto what = decoder.decode(line);
    if (what == RecordingDecoder::What::frame) ++found.frames;
    if (what != RecordingDecoder::What::frame && what != RecordingDecoder::What::header)
      ++found.faults;
  }
  return found;
}

TEST(Recorder, KeepsSoManyFilesEachReadableAloneAndNoneLargerThanItsBound) {
  const test::TempDir folder;
  const std::string file = folder / "a.jsonl";
  std::size_t line = 0;
  {
    Recorder recorder{{file, 4000, 3}, header(), noon};
    for (int tick = 0; tick < 60; ++tick) recorder.record(moment(tick));
    line = 4000;  // a line of twenty sessions that come and go is shorter than that
  }
  EXPECT_FALSE(std::filesystem::exists(file + ".3"));
  std::size_t frames = 0;
  for (const std::string& one : {file, file + ".1", file + ".2"}) {
    ASSERT_TRUE(std::filesystem::exists(one));
    EXPECT_LE(std::filesystem::file_size(one), 4000 + line);
    const ReadBack found = read(one);
    EXPECT_GT(found.frames, 0U);
    EXPECT_EQ(found.faults, 0U);
    frames += found.frames;
    struct stat facts {};
    ASSERT_EQ(::stat(one.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  }
  EXPECT_LT(frames, 60U) << "the oldest are gone";
}

TEST(Recorder, AFileThatIsThereIsKeptAndNotWrittenInto) {
  const test::TempDir folder;
  const std::string file = folder / "a.jsonl";
  std::ofstream{file} << "precious\n";
  { Recorder{{file, 1 << 20, 3}, header(), noon}.record(moment(0)); }
  std::ifstream old{file + ".1"};
  std::string line;
  std::getline(old, line);
  EXPECT_EQ(line, "precious");
  EXPECT_EQ(read(file).frames, 1U);
}

TEST(Recorder, WhatCannotBeWrittenIsCountedAndTheNextFrameTellsAllAgain) {
  const test::TempDir folder;
  const std::string file = folder / "later/a.jsonl";
  Recorder recorder{{file, 1 << 20, 3}, header(), noon};
  recorder.record(moment(0));
  recorder.record(moment(1));
  ASSERT_TRUE(wait_until([&] { return recorder.lost() == 2; }, 10s));
  EXPECT_THAT(recorder.problem(), HasSubstr("No such file or directory"));
  std::filesystem::create_directory(folder / "later");
  recorder.record(moment(2));
  recorder.record(moment(3));
  ASSERT_TRUE(wait_until([&] { return read(file).frames == 2; }, 10s));
  EXPECT_EQ(read(file).faults, 0U);
  ASSERT_TRUE(wait_until([&] { return recorder.problem().empty(); }, 10s));
  EXPECT_EQ(recorder.frames(), 4U);
  EXPECT_EQ(recorder.lost(), 2U);
}

TEST(Recorder, WritesIntoNoLinkAndNoDevice) {
  const test::TempDir folder;
  const std::string file = folder / "a.jsonl";
  const std::string elsewhere = folder / "elsewhere";
  std::ofstream{elsewhere} << "";
  std::filesystem::create_symlink(elsewhere, file);
  {
    Recorder recorder{{file, 1 << 20, 3}, header(), noon};
    recorder.record(moment(0));
    ASSERT_TRUE(wait_until([&] { return recorder.lost() == 1; }, 10s));
  }
  EXPECT_EQ(std::filesystem::file_size(elsewhere), 0U);
  Recorder device{{"/dev/full", 1 << 20, 3}, header(), noon};
  device.record(moment(0));
  ASSERT_TRUE(wait_until([&] { return device.lost() == 1; }, 10s));
  EXPECT_THAT(device.problem(), HasSubstr("no ordinary file"));
}

}  // namespace
}  // namespace pgleash::watchdog
