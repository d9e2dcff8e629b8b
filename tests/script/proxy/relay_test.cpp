#include "protocol/encode.hpp"
#include "tests/script/proxy/stage.hpp"

#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <thread>
#include <unistd.h>

namespace pgleash::proxy {
namespace {

constexpr std::size_t mebibyte = 1024 * 1024;

std::size_t resident_bytes() {
  std::ifstream statm{"/proc/self/statm"};
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

/// A stream whose bytes are known at each offset, for checks without keeping it: one block again
/// and again, of a length that is no multiple of any buffer's.
const std::string& pattern() {
  static const std::string block = [] {
    std::string made(65'521, '\0');
    for (std::size_t i = 0; i < made.size(); ++i)
      made[i] = static_cast<char>(i * 2654435761U >> 13U);
    return made;
  }();
  return block;
}

void send_body(ScriptedPeer& peer, std::size_t size) {
  for (std::size_t at = 0; at < size; at += pattern().size())
    peer.send(std::string_view{pattern()}.substr(0, size - at));
}

/// How much of `size` bytes came as it was sent.
std::size_t check_body(ScriptedPeer& peer, std::size_t size,
                       const std::function<void()>& now_and_then = {}) {
  std::array<char, 65536> block{};
  for (std::size_t at = 0; at < size;) {
    const std::size_t offset = at % pattern().size();
    const std::size_t got = peer.read_some(
        block.data(), std::min({block.size(), size - at, pattern().size() - offset}));
    if (got == 0 || pattern().compare(offset, got, block.data(), got) != 0) return at;
    if (now_and_then && at / (16 * mebibyte) != (at + got) / (16 * mebibyte)) now_and_then();
    at += got;
  }
  return size;
}

std::string header(char type, std::size_t body) {
  return type + wire::int32(static_cast<std::uint32_t>(body + 4));
}

TEST(Relay, StreamsAHugeMessageInConstantMemory) {
  constexpr std::size_t size = 256 * mebibyte;
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select huge"));
  const std::size_t before = resident_bytes();
  std::size_t most = before;
  std::jthread sender{[&] {
    pair.server.send(header('D', size));
    send_body(pair.server, size);
    pair.server.send(wire::complete("SELECT 1") + wire::ready());
  }};
  pair.client.expect(header('D', size));
  EXPECT_EQ(check_body(pair.client, size, [&] { most = std::max(most, resident_bytes()); }), size);
  pair.client.expect(wire::complete("SELECT 1") + wire::ready());
  sender.join();
  EXPECT_LT(most - before, 8 * mebibyte);
  EXPECT_EQ(stage.state_of(pair), protocol::SessionState::idle);
}

TEST(Relay, CarriesBothDirectionsAtOnce) {
  constexpr std::size_t size = 32 * mebibyte;
  Stage stage;
  Pair pair = stage.login();
  pair.client.send(header('d', size));
  pair.server.send(header('d', size));
  pair.server.expect(header('d', size));
  pair.client.expect(header('d', size));
  std::size_t at_client = 0;
  {
    const std::jthread down{[&] { send_body(pair.server, size); }};
    const std::jthread up{[&] { send_body(pair.client, size); }};
    const std::jthread reader{[&] { at_client = check_body(pair.client, size); }};
    EXPECT_EQ(check_body(pair.server, size), size);
  }
  EXPECT_EQ(at_client, size);
}

TEST(Relay, StopsReadingTheServerWhileTheClientDoesNot) {
  constexpr std::size_t size = 64 * mebibyte;
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select much"));
  const std::size_t before = resident_bytes();
  std::atomic<bool> all_sent{false};
  std::jthread sender{[&] {
    pair.server.send(header('D', size));
    send_body(pair.server, size);
    all_sent = true;
  }};
  EXPECT_TRUE(soon([&] { return stage.session_of(pair).stalled_since != Instant{}; }));
  EXPECT_FALSE(all_sent);
  EXPECT_LT(resident_bytes() - before, 8 * mebibyte);
  pair.client.expect(header('D', size));
  EXPECT_EQ(check_body(pair.client, size), size);
  sender.join();
  pair.down(wire::complete("SELECT 1") + wire::ready());
  EXPECT_EQ(stage.session_of(pair).stalled_since, Instant{});
  pair.echo();
}

TEST(Relay, GoesOnWithAClientThatFilledTheQueueOfOutstandingMessages) {
  // Pipelines of this length come from bulk inserts; the queue is bounded, and answers make room in
  // it.
  constexpr int statements = 60'000;
  Stage stage;
  Pair pair = stage.login();
  const std::string request = wire::bind("s") + wire::execute() + wire::sync();
  const std::string answer = wire::message('2') + wire::complete("INSERT 0 1") + wire::ready();
  std::jthread sender{[&] {
    for (int i = 0; i < statements; ++i) pair.client.send(request);
  }};
  // The server answers a batch only when no more requests come: only then must the proxy read on by
  // itself.
  std::jthread server{[&] {
    int owed = 0;
    for (int taken = 0; taken < statements;) {
      pair.server.expect(request);
      ++taken;
      ++owed;
      const bool more = test::wait_until([&] { return pair.server.unread() >= request.size(); },
                                         owed > 20'000 ? 50ms : 1s);
      if (more && taken < statements) continue;
      for (; owed > 0; --owed) pair.server.send(answer);
    }
  }};
  for (int i = 0; i < statements; ++i)
    ASSERT_NO_THROW(pair.client.expect(answer)) << "answer " << i;
  sender.join();
  server.join();
  EXPECT_EQ(stage.state_of(pair), protocol::SessionState::idle);
  EXPECT_EQ(stage.session_of(pair).facts.anomalies, 0U);
}

TEST(Relay, LetsAFloodStarveNobody) {
  Stage stage{[](config::Config& config) { config.process.workers = 1; }};
  Pair flood = stage.login();
  Pair quiet = stage.login();
  flood.up(wire::query("select endless"));
  std::atomic<bool> stop{false};
  std::jthread sender{[&] {
    const std::string row = wire::message('D', std::string(65'000, 'x'));
    while (!stop) flood.server.send(row);
    flood.server.half_close();
  }};
  std::jthread reader{[&] {
    std::array<char, 65536> block{};
    while (flood.client.read_some(block.data(), block.size()) > 0) {
    }
  }};
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) quiet.echo();
  const auto took = std::chrono::steady_clock::now() - begin;
  stop = true;
  sender.join();
  reader.join();
  EXPECT_LT(took, 10s) << "200 round trips beside a flood";
}

TEST(Relay, PassesHalfClosesOnBothWays) {
  Stage stage;
  Pair by_client = stage.login();
  by_client.client.half_close();
  by_client.server.expect_end();
  by_client.down(wire::message('A', "late"));
  by_client.server.close();
  by_client.client.expect_end();

  Pair by_server = stage.login();
  by_server.server.half_close();
  by_server.client.expect_end();
}

TEST(Relay, PassesOnThatTheClientResetTheConnection) {
  Stage stage;
  Pair pair = stage.login();
  pair.client.reset();
  EXPECT_TRUE(soon([&] { return pair.server.end() != StreamEnd::open; }));
  EXPECT_TRUE(soon([&] { return stage.events.count("closed client_abort") == 1; }));
}

TEST(Relay, PassesOnTheLastWordsOfAServerThatResets) {
  Stage stage;
  const std::string words = wire::error("57P01", "FATAL");
  for (int i = 0; i < 100; ++i) {
    Pair pair = stage.login();
    pair.client.send(wire::query("nobody reads this"));
    ASSERT_TRUE(soon([&] { return pair.server.unread() > 0; }));
    pair.server.send(words);
    pair.server.close();  // over unread bytes: a reset
    ASSERT_EQ(pair.client.read_to_end(), words) << "session " << i;
  }
}

TEST(Relay, TellsTheClientThatTheServersConnectionBroke) {
  Stage stage;
  Pair idle = stage.login();
  idle.server.reset();
  const std::string words = idle.client.read_to_end();
  EXPECT_EQ(test::error_field(words, 'C'), "08006");
  EXPECT_EQ(test::error_field(words, 'S'), "FATAL");
  EXPECT_EQ(test::error_field(words, 'D'), std::strerror(ECONNRESET));

  // In the middle of a message it would be read as a part of that.
  Pair reading = stage.login();
  const std::string half = wire::message('D', std::string(100, 'x')).substr(0, 50);
  reading.down(half);
  reading.server.reset();
  EXPECT_EQ(reading.client.read_to_end(), "");
  EXPECT_TRUE(soon([&] { return stage.events.count("closed server_error") == 2; }));
}

TEST(Relay, EndsASessionWhoseMessagesCannotBeToldApart) {
  Stage stage;
  Pair healthy = stage.login();
  Pair pair = stage.login();
  pair.client.send("Q" + wire::int32(3));
  EXPECT_EQ(test::error_field(pair.client.read_to_end(), 'C'), "08P01");
  EXPECT_TRUE(soon([&] { return pair.server.end() != StreamEnd::open; }));
  healthy.echo();
}

TEST(Relay, KeepsNothingOfSessionsThatEnded) {
  Stage stage;
  stage.login().echo();
  ASSERT_TRUE(soon([&] { return stage.views().empty(); }));
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 2000; ++i) {
    Pair pair = stage.login();
    if (i % 4 == 0) pair.client.send(protocol::terminate());
    if (i % 4 == 1) pair.client.reset();
    if (i % 4 == 2) pair.server.reset();
  }
  EXPECT_TRUE(soon([&] { return stage.views().empty() && open_descriptors() <= before; }));
  EXPECT_EQ(stage.proxy->total_live(), 0U);
}

TEST(Relay, ServesManySessionsThatSpeakAtOnce) {
  // More than one batch of epoll has room for.
  Stage stage{[](config::Config& config) { config.process.workers = 1; }};
  std::vector<Pair> pairs;
  for (int i = 0; i < 400; ++i) pairs.push_back(stage.login());
  for (Pair& pair : pairs) pair.client.send(wire::query("select 1"));
  for (Pair& pair : pairs) pair.server.expect(wire::query("select 1"));
  for (Pair& pair : pairs) pair.server.send(wire::ready());
  for (Pair& pair : pairs) pair.client.expect(wire::ready());
}

}  // namespace
}  // namespace pgleash::proxy
