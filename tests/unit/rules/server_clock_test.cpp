#include "watchdog/server_clock.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;
using std::chrono::duration_cast;
using std::chrono::microseconds;

/// A server whose date can be set, sampled every two seconds.
class Sampled {
 public:
  /// The time that really passes.
  void pass(Duration time) { real_ += time; }
  void set_ahead(Duration by) { set_ += by; }
  [[nodiscard]] ServerTime date() const {
    return {new_year_2026 + duration_cast<microseconds>(real_ + set_).count()};
  }
  /// `took`: from the question to the answer, in the middle of which the date is read.
  void look(Duration took = 2ms) {
    const Instant asked = Instant{} + 1h + real_;
    pass(took / 2);
    const ServerTime read = date();
    pass(took - took / 2);
    clock.look(read, asked, Instant{} + 1h + real_);
  }
  void go_on(Duration time) {
    for (const Duration end = real_ + time; real_ < end; pass(2s)) look();
    look();
  }
  [[nodiscard]] Duration age(ServerTime then) const { return clock.age(then, date()); }

  ServerClock clock;

 private:
  static constexpr std::int64_t new_year_2026 = std::int64_t{9'497} * 86'400 * 1'000'000;
  Duration real_{};
  Duration set_{};
};

TEST(ServerClock, AgesAreTheServersWhileNobodySetsIt) {
  Sampled server;
  const ServerTime begin = server.date();
  server.go_on(1h);
  EXPECT_GE(server.age(begin), 1h);
  EXPECT_LT(server.age(begin), 1h + 10s);
  EXPECT_EQ(server.age({server.date().microseconds + 5}), 0s) << "never less than nothing";
}

TEST(ServerClock, ADateThatJumpsAheadMakesNobodyOlder) {
  Sampled server;
  server.go_on(10s);
  const ServerTime before = server.date();
  server.go_on(10s);
  server.set_ahead(72h);
  server.pass(1s);
  const ServerTime after = server.date();
  server.go_on(10s);
  EXPECT_GE(server.age(before), 20s);
  EXPECT_LE(server.age(before), 28s);
  EXPECT_GE(server.age(after), 10s);
  EXPECT_LE(server.age(after), 15s);
  server.go_on(1h);
  EXPECT_GE(server.age(before), 1h) << "it goes on growing";
  EXPECT_LT(server.age(before), 2h);
}

TEST(ServerClock, AJumpIsSeenInTheFirstSampleBehindIt) {
  Sampled server;
  server.look();
  const ServerTime before = server.date();
  server.pass(2s);
  server.set_ahead(24h);
  server.look();
  EXPECT_LE(server.age(before), 3s);
}

TEST(ServerClock, SeveralJumpsAddUp) {
  Sampled server;
  server.look();
  const ServerTime first = server.date();
  server.go_on(10s);
  server.set_ahead(24h);
  server.go_on(10s);
  const ServerTime second = server.date();
  server.set_ahead(48h);
  server.go_on(10s);
  EXPECT_LE(server.age(first), 60s);
  EXPECT_GE(server.age(first), 20s);
  EXPECT_LE(server.age(second), 40s);
}

TEST(ServerClock, ADateThatWentBackMakesNobodyOlderEither) {
  Sampled server;
  server.go_on(10s);
  const ServerTime before = server.date();
  server.go_on(10s);
  server.set_ahead(-120h);
  server.go_on(10s);
  const ServerTime within = server.date();
  server.go_on(10s);
  EXPECT_EQ(server.age(before), 0s) << "spared: by the server's word it is yet to come";
  EXPECT_GE(server.age(within), 10s);
  EXPECT_LE(server.age(within), 20s);
  // Put right, which is a jump ahead for those that began meanwhile.
  server.set_ahead(120h);
  server.go_on(10s);
  EXPECT_LE(server.age(within), 40s);
  EXPECT_GE(server.age(before), 30s);
  EXPECT_LE(server.age(before), 60s);
}

/// A server that stands still, and its clock with it, as a machine that is suspended.
TEST(ServerClock, TimeInWhichTheServerStoodStillIsNotAddedToAnyAge) {
  Sampled server;
  server.go_on(10s);
  const ServerTime before = server.date();
  server.pass(60s);
  server.set_ahead(-60s);
  server.go_on(4s);
  EXPECT_LE(server.age(before), 10s);
}

TEST(ServerClock, ASlowAnswerIsNoJump) {
  Sampled server;
  server.go_on(10s);
  const ServerTime begin = server.date();
  server.look(30s);
  server.look(2ms);
  server.look(40s);
  server.go_on(30s);
  EXPECT_GE(server.age(begin), 100s);
}

TEST(ServerClock, AClockThatIsSlewedIsNoJump) {
  Sampled server;
  const ServerTime begin = server.date();
  for (int i = 0; i < 3600; ++i) {
    server.look();
    server.pass(2s);
    server.set_ahead(1ms);  // 500 ppm, as fast as ntpd slews
  }
  EXPECT_GE(server.age(begin), 2h);
}

TEST(ServerClock, OldSettingsThatAreMergedMakeNobodyOlder) {
  Sampled server;
  server.look();
  const ServerTime begin = server.date();
  for (std::size_t i = 0; i < 3 * ServerClock::most_settings; ++i) {
    server.set_ahead(i % 3 == 2 ? -12h : 24h);
    server.go_on(4s);
  }
  EXPECT_LE(server.age(begin), 10min);
}

TEST(ServerClock, AnotherServerHasAnotherClock) {
  Sampled server;
  server.look();
  const ServerTime begin = server.date();
  server.set_ahead(24h);
  server.clock.forget();
  server.look();
  EXPECT_GE(server.age(begin), 24h) << "for all that is known it is so old";
}

TEST(ServerClock, TheAgesOfARowAreReckonedAndThoseThatAreMissingStayMissing) {
  Sampled server;
  server.look();
  ActivityRow row;
  row.backend.backend_start = row.state_change = row.query_start = server.date();
  row.backend_age = row.state_age = row.query_age = 24h;
  server.set_ahead(24h);
  server.pass(2s);
  server.look();
  ActivityRow bare;
  server.clock.reckon(row, server.date());
  server.clock.reckon(bare, server.date());
  EXPECT_LE(row.backend_age, 4s);
  EXPECT_LE(row.state_age, 4s);
  EXPECT_LE(row.query_age, 4s);
  EXPECT_FALSE(row.transaction_age);
  EXPECT_EQ(bare.state_age, 0s);
  row.xact_start = row.query_start;
  server.clock.reckon(row, server.date());
  EXPECT_LE(row.transaction_age.value_or(24h), 4s);
}

}  // namespace
}  // namespace pgleash::watchdog
