#include "watchdog/recording.hpp"

#include "tests/unit/rules/session_builder.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::watchdog {
namespace {

using testing::HasSubstr;
using testing::Not;
using What = RecordingDecoder::What;

constexpr std::int64_t new_year = 1'767'225'600'000;

RecordingHeader header() {
  return {"orders", "record", "RUN1", new_year, 10s};
}

constexpr std::int64_t new_year_1900 = -2'208'988'800'000;
constexpr std::int64_t new_year_2100 = 4'102'444'800'000;

std::string header_line(std::int64_t started_ms, std::int64_t interval_ms = 1000, int run = 0) {
  return fmt::format(
      R"({{"pgleash_recording":1,"server":"orders","source":"record","run":"{}","started_ms":{},"interval_ms":{}}})",
      run, started_ms, interval_ms);
}

/// One session, connected at `connected`.
std::string key_line(const std::string& connected) {
  return R"({"t":0,"k":1,"m":[100,3,5,0,1,0,0],"s":["app","orders"],"q":[["f00d","SELECT $1"]],)"
         R"("o":[[1,41,0,1,0,0,0,40001,)" +
         connected + R"(,0]],"c":[[1,"t",0]]})";
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

/// A small life: sessions come, work, wait, block and go.
class Life {
 public:
  Life() { snapshot_.monitor_up = true; }

  SessionEntry& session(int pid, SessionState state, Instant since, const std::string& query = {}) {
    for (SessionEntry& entry : snapshot_.sessions)
      if (entry.view.who->pid == protocol::BackendPid{pid})
        return change(entry, state, since, query);
    proxy::SessionIdentity who;
    who.user = "web \"q\" \\ \x01\xff";
    who.database = "orders";
    who.application = "checkout";
    who.application_name = "checkout-1";
    who.client = {"10.0.0.7", 40000 + pid};
    who.pid = protocol::BackendPid{pid};
    who.connected = since - 1h;
    SessionEntry& entry = snapshot_.sessions.emplace_back();
    entry.view.id = proxy::SessionId{static_cast<std::uint64_t>(pid)};
    entry.view.who = std::make_shared<const proxy::SessionIdentity>(who);
    entry.mapping = Mapping::confirmed;
    entry.backend = BackendId{*who.pid, ServerTime{pid}};
    return change(entry, state, since, query);
  }
  void end(int pid) {
    std::erase_if(snapshot_.sessions, [&](const SessionEntry& entry) {
      return entry.view.who->pid == protocol::BackendPid{pid};
    });
  }
  const Snapshot& at(Instant now) {
    snapshot_.now = now;
    snapshot_.sample_age = 0s;
    snapshot_.max_connections = 100;
    return snapshot_;
  }
  Snapshot& snapshot() { return snapshot_; }

 private:
  static SessionEntry& change(SessionEntry& entry, SessionState state, Instant since,
                              const std::string& query) {
    auto& facts = entry.view.facts;
    facts.state = state;
    facts.state_since = since;
    facts.outstanding = state == SessionState::busy ? 1 : 0;
    facts.transaction = state == SessionState::idle_in_transaction
                            ? TransactionStatus::in_transaction
                            : TransactionStatus::idle;
    facts.request_since = since;
    facts.transaction_since = since;
    entry.row.reset();
    ActivityRow& row = entry.row.edit();
    row.state = state == SessionState::busy ? "active" : protocol::name(state);
    row.query = query;
    row.query_start = ServerTime{since.time_since_epoch().count() / 1000};
    return entry;
  }
  Snapshot snapshot_;
};

/// Ten frames with everything in them.
std::vector<std::pair<Instant, std::string>> recorded(RecordingEncoder& encoder, Life& life) {
  std::vector<std::pair<Instant, std::string>> frames;
  const auto take = [&](Instant now) { frames.emplace_back(now, encoder.encode(life.at(now))); };
  life.session(1, SessionState::idle, noon - 1min, "SELECT 'secret 1'");
  life.session(2, SessionState::busy, noon - 2s, "UPDATE t SET a = 4711");
  take(noon);
  take(noon + 10s);
  life.session(1, SessionState::idle, noon + 11s, "SELECT 'secret 2'");
  take(noon + 20s);
  life.session(2, SessionState::idle_in_transaction, noon + 21s, "UPDATE t SET a = 4711");
  life.session(3, SessionState::idle, noon + 22s).view.facts.listening = true;
  take(noon + 30s);
  life.session(3, SessionState::busy, noon + 31s, "SELECT 1").row.edit().wait_event_type = "Lock";
  life.snapshot().sessions[2].row.edit().wait_event = "relation";
  auto& forest = life.snapshot().blocking;
  forest.taken = noon + 39s;
  BlockedSession wait;
  wait.pid = protocol::BackendPid{3};
  wait.session = 2;
  wait.mode = "AccessExclusiveLock";
  wait.lock_type = "relation";
  wait.waited = 8s;
  wait.roots = {0};
  forest.waits = {wait};
  BlockingRoot root;
  root.kind = RootKind::session;
  root.pid = protocol::BackendPid{2};
  root.session = 1;
  root.application = "checkout";
  root.state = "idle in transaction";
  root.blocked = {{0, 7s}};
  root.longest = 8s;
  root.head = 0;
  forest.roots = {root};
  take(noon + 40s);
  forest = {};
  life.end(1);
  life.end(2);
  take(noon + 50s);
  life.session(3, SessionState::idle, noon + 52s);
  take(noon + 60s);
  take(noon + 31min);  // a key frame
  life.session(3, SessionState::idle, noon + 31min + 5s, "SELECT 2");
  take(noon + 31min + 10s);
  return frames;
}

void expect_same(const Snapshot& read, const Snapshot& written, Instant start) {
  const auto shifted = [&](Instant when) {
    return Instant{} + std::chrono::milliseconds{new_year} + (when - start);
  };
  EXPECT_EQ(read.now, shifted(written.now));
  EXPECT_EQ(read.max_connections, written.max_connections);
  ASSERT_EQ(read.sessions.size(), written.sessions.size());
  for (const SessionEntry& wrote : written.sessions) {
    const auto found = std::ranges::find_if(read.sessions, [&](const SessionEntry& one) {
      return one.view.who->pid == wrote.view.who->pid;
    });
    ASSERT_NE(found, read.sessions.end());
    const auto& facts = found->view.facts;
    EXPECT_EQ(facts.state, wrote.view.facts.state);
    EXPECT_EQ(facts.state_since, shifted(wrote.view.facts.state_since));
    EXPECT_EQ(facts.transaction, wrote.view.facts.transaction);
    if (facts.outstanding > 0) {
      EXPECT_EQ(facts.request_since, shifted(wrote.view.facts.request_since));
    }
    EXPECT_EQ(facts.listening, wrote.view.facts.listening);
    EXPECT_EQ(found->view.who->application, "checkout");
    EXPECT_EQ(found->view.who->client, wrote.view.who->client);
    EXPECT_EQ(found->view.who->connected, shifted(wrote.view.who->connected));
    EXPECT_EQ(found->row->wait_event, wrote.row->wait_event);
  }
}

TEST(Recording, EveryFrameReadsBackAsItWas) {
  RecordingEncoder encoder{header(), noon};
  RecordingDecoder decoder;
  Life life;
  std::vector<Snapshot> read;
  for (const auto& [now, text] : recorded(encoder, life)) {
    for (const std::string& line : lines_of(text)) {
      const What what = decoder.decode(line);
      ASSERT_TRUE(what == What::frame || what == What::header) << decoder.why() << line;
      if (what == What::frame) read.push_back(decoder.snapshot());
    }
  }
  ASSERT_EQ(read.size(), 9U);
  EXPECT_EQ(decoder.header(), header());
  // The last one, with what it was made of; and the blocking of the fifth.
  expect_same(read.back(), life.snapshot(), noon);
  ASSERT_EQ(read[4].blocking.roots.size(), 1U);
  EXPECT_EQ(read[4].blocking.roots[0].pid, protocol::BackendPid{2});
  EXPECT_EQ(read[4].blocking.roots[0].longest, 8s);
  EXPECT_EQ(read[4].blocking.waits[0].mode, "AccessExclusiveLock");
  EXPECT_EQ(read[4].blocking.waits[0].session, 2U);
  EXPECT_FALSE(read[5].blocking.taken);
  EXPECT_EQ(read[5].sessions.size(), 1U);
}

TEST(Recording, WhatGoesOnIsOneActivityAndWhatBeginsAnewIsAnother) {
  RecordingEncoder encoder{header(), noon};
  RecordingDecoder decoder;
  Life life;
  std::vector<protocol::ActivityMark> marks;
  const auto frames = recorded(encoder, life);
  for (const auto& [now, text] : frames) {
    for (const std::string& line : lines_of(text))
      if (decoder.decode(line) == What::frame)
        for (const SessionEntry& entry : decoder.snapshot().sessions)
          if (entry.view.who->pid == protocol::BackendPid{3})
            marks.push_back(entry.view.facts.mark);
  }
  // Idle from 22 s, busy from 31 s, idle from 52 s and on through the key frame, idle anew.
  ASSERT_EQ(marks.size(), 6U);
  EXPECT_NE(marks[0].state, marks[1].state);
  EXPECT_NE(marks[0].request, marks[1].request);
  EXPECT_EQ(marks[1], marks[2]);
  EXPECT_NE(marks[2].state, marks[3].state);
  EXPECT_EQ(marks[3], marks[4]) << "told again by a key frame";
  EXPECT_NE(marks[4].state, marks[5].state);
}

TEST(Recording, NoLiteralOfAStatementIsInIt) {
  RecordingEncoder encoder{header(), noon};
  Life life;
  for (const auto& [now, text] : recorded(encoder, life)) {
    EXPECT_THAT(text, Not(HasSubstr("secret")));
    EXPECT_THAT(text, Not(HasSubstr("4711")));
    for (const char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n');
  }
}

TEST(Recording, ALineCutAnywhereIsDamagedAndTheNextKeyFrameTellsAllAgain) {
  RecordingEncoder encoder{header(), noon};
  Life life;
  std::vector<std::string> lines;
  for (const auto& [now, text] : recorded(encoder, life))
    for (std::string& line : lines_of(text)) lines.push_back(std::move(line));
  constexpr std::size_t second_key = 8;
  ASSERT_THAT(lines[second_key], HasSubstr("\"k\":1"));
  for (std::size_t victim = 0; victim < lines.size(); ++victim) {
    for (std::size_t cut = 0; cut < lines[victim].size(); ++cut) {
      RecordingDecoder decoder;
      for (std::size_t i = 0; i < lines.size(); ++i) {
        const std::string line = i == victim ? lines[i].substr(0, cut) : lines[i];
        const What what = decoder.decode(line);
        const bool known_again = i >= second_key && victim < second_key;
        if (i == victim) {
          ASSERT_EQ(what, What::damaged) << line;
          ASSERT_FALSE(decoder.why().empty());
        } else if (victim == 0) {
          ASSERT_EQ(what, What::skipped) << "without a header nothing is known";
        } else if (i < victim || known_again) {
          ASSERT_EQ(what, i == 0 ? What::header : What::frame) << i << ' ' << decoder.why();
        } else {
          ASSERT_EQ(what, What::skipped) << i;
        }
      }
    }
  }
}

TEST(Recording, AnyByteOfALineMayBeAnotherAndNothingBreaks) {
  RecordingEncoder encoder{header(), noon};
  Life life;
  std::vector<std::string> lines;
  for (const auto& [now, text] : recorded(encoder, life))
    for (std::string& line : lines_of(text)) lines.push_back(std::move(line));
  for (std::size_t victim = 0; victim < lines.size(); ++victim) {
    for (std::size_t place = 0; place < lines[victim].size(); ++place) {
      for (const char other : {'9', '-', '"', ']', '0'}) {
        RecordingDecoder decoder;
        for (std::size_t i = 0; i < lines.size(); ++i) {
          std::string line = lines[i];
          if (i == victim) line[place] = other;
          (void)decoder.decode(line);
          ASSERT_LE(decoder.snapshot().sessions.size(), 10U);
          for (const SessionEntry& entry : decoder.snapshot().sessions)
            ASSERT_NE(entry.view.who, nullptr);
        }
      }
    }
  }
}

/// A header, a key frame with one session, and `line`, which is what is looked at.
What decoded_behind_a_key_frame(RecordingDecoder& decoder, const std::string& line) {
  EXPECT_EQ(decoder.decode(header_line(new_year)), What::header);
  EXPECT_EQ(decoder.decode(key_line("0")), What::frame) << decoder.why();
  return decoder.decode(line);
}

TEST(Recording, StartsBetween1970And2099) {
  RecordingDecoder decoder;
  EXPECT_EQ(decoder.decode(header_line(0)), What::header);
  EXPECT_EQ(decoder.decode(header_line(new_year_2100 - 1)), What::header);
  EXPECT_EQ(decoder.decode(key_line("0")), What::frame) << decoder.why();
  EXPECT_EQ(decoder.decode(header_line(-1)), What::damaged);
  EXPECT_THAT(decoder.why(), HasSubstr("started_ms is -1, not between 0 and 4102444799999"));
  EXPECT_EQ(decoder.decode(header_line(new_year_2100)), What::damaged);
  EXPECT_EQ(decoder.decode(header_line(17'672'256'000'070)), What::damaged);
  EXPECT_THAT(decoder.why(), HasSubstr("started_ms is 17672256000070"));
}

TEST(Recording, AnIntervalIsTenYearsAtMost) {
  constexpr std::int64_t ten_years = std::int64_t{3650} * 86'400'000;
  RecordingDecoder decoder;
  EXPECT_EQ(decoder.decode(header_line(new_year, ten_years)), What::header);
  EXPECT_EQ(decoder.decode(header_line(new_year, ten_years + 1)), What::damaged);
  EXPECT_THAT(decoder.why(), HasSubstr("interval_ms is 315360000001"));
  EXPECT_EQ(decoder.decode(header_line(new_year, 0)), What::damaged);
}

TEST(Recording, AFrameIsNotAfter2099) {
  const std::int64_t last = new_year_2100 - 1 - new_year;
  const auto decoded = [](const std::string& t) {
    RecordingDecoder decoder;
    const What what = decoded_behind_a_key_frame(decoder, R"({"t":)" + t + '}');
    EXPECT_EQ(what == What::damaged, !decoder.why().empty());
    return what;
  };
  EXPECT_EQ(decoded(std::to_string(last)), What::frame);
  EXPECT_EQ(decoded(std::to_string(last + 1)), What::damaged);
  for (const char* t : {"9223372036854775807", "18446744073709551615", "1e99", "1.5", "\"1\""})
    EXPECT_EQ(decoded(t), What::damaged) << t;
}

TEST(Recording, NothingInItBeganBefore1900OrAfter2099) {
  const std::int64_t first = new_year_1900 - new_year;
  const std::int64_t last = new_year_2100 - 1 - new_year;
  const auto decoded = [](const std::string& change) {
    RecordingDecoder decoder;
    return decoded_behind_a_key_frame(decoder, R"({"t":1000,"c":[[1,"t",)" + change + "]]}");
  };
  EXPECT_EQ(decoded(fmt::format("{}", first)), What::frame);
  EXPECT_EQ(decoded(fmt::format("{}", first - 1)), What::damaged);
  EXPECT_EQ(decoded(fmt::format("{}", last)), What::frame);
  EXPECT_EQ(decoded(fmt::format("{}", last + 1)), What::damaged);
  // The request, the transaction: so long before.
  EXPECT_EQ(decoded(fmt::format("0,0,{}", -first)), What::frame);
  EXPECT_EQ(decoded(fmt::format("0,0,{}", -first + 1)), What::damaged);
  EXPECT_EQ(decoded(fmt::format("0,0,0,{}", -first)), What::frame);
  EXPECT_EQ(decoded(fmt::format("0,0,0,{}", -first + 1)), What::damaged);
  // Since when its client takes nothing.
  EXPECT_EQ(decoded(fmt::format("0,0,0,0,{}", last)), What::frame);
  EXPECT_EQ(decoded(fmt::format("0,0,0,0,{}", last + 1)), What::damaged);

  RecordingDecoder decoder;
  EXPECT_EQ(decoder.decode(header_line(new_year)), What::header);
  EXPECT_EQ(decoder.decode(key_line(fmt::format("{}", first))), What::frame) << decoder.why();
  EXPECT_EQ(decoder.decode(key_line(fmt::format("{}", first - 1))), What::damaged);
  EXPECT_THAT(decoder.why(), HasSubstr("outside the years 1900 to 2099"));
}

TEST(Recording, AWaitForALockIsTenYearsAtMost) {
  const auto decoded = [](std::int64_t waited, std::int64_t because_of_it, std::int64_t longest) {
    RecordingDecoder decoder;
    return decoded_behind_a_key_frame(decoder,
                                      fmt::format(R"({{"t":1000,"l":[1000,[[8,1,0,0,{},[0]]],)"
                                                  R"([[0,9,0,0,0,0,0,0,[[0,{}]],{},-1,[]]]]}})",
                                                  waited, because_of_it, longest));
  };
  constexpr std::int64_t most = std::int64_t{3650} * 86'400'000;
  EXPECT_EQ(decoded(most, most, most), What::frame);
  EXPECT_EQ(decoded(0, 0, 0), What::frame);
  EXPECT_EQ(decoded(most + 1, 0, 0), What::damaged);
  EXPECT_EQ(decoded(0, most + 1, 0), What::damaged);
  EXPECT_EQ(decoded(0, 0, most + 1), What::damaged);
  EXPECT_EQ(decoded(-1, 0, 0), What::damaged);
}

TEST(Recording, FilesWhoseClockIsSetBackAgainAndAgainEndIn2099) {
  RecordingDecoder decoder;
  const std::int64_t century = std::int64_t{36'500} * 86'400'000;
  int understood = 0;
  for (int run = 0; run < 5; ++run) {
    EXPECT_EQ(decoder.decode(header_line(0, 1000, run)), What::header);
    EXPECT_NE(decoder.decode(key_line("0")), What::skipped);
    if (decoder.decode(fmt::format(R"({{"t":{}}})", century)) == What::frame) ++understood;
  }
  EXPECT_EQ(understood, 1);
  EXPECT_LT(decoder.snapshot().now, Instant{} + std::chrono::milliseconds{new_year_2100});
}

TEST(Recording, AnotherVersionIsSaidAndNotGuessedAt) {
  RecordingDecoder decoder;
  EXPECT_EQ(decoder.decode(R"({"pgleash_recording":2,"whatever":[]})"), What::other_version);
  EXPECT_THAT(decoder.why(), HasSubstr("version 2"));
  EXPECT_EQ(decoder.decode("{}"), What::damaged);
  EXPECT_EQ(decoder.decode("[]"), What::damaged);
  EXPECT_EQ(decoder.decode(""), What::damaged);
}

TEST(Recording, AFileOfItsOwnAfterARotationNeedsNoOther) {
  RecordingEncoder encoder{header(), noon};
  Life life;
  life.session(1, SessionState::idle, noon - 1min, "SELECT 1");
  (void)encoder.encode(life.at(noon));
  encoder.begin_file();
  const auto lines = lines_of(encoder.encode(life.at(noon + 10s)));
  ASSERT_EQ(lines.size(), 2U);
  RecordingDecoder decoder;
  EXPECT_EQ(decoder.decode(lines[0]), What::header);
  EXPECT_EQ(decoder.decode(lines[1]), What::frame);
  expect_same(decoder.snapshot(), life.snapshot(), noon);
}

TEST(Recording, AnIdleServerCostsAFewBytesAFrame) {
  RecordingEncoder encoder{header(), noon};
  Life life;
  for (int i = 1; i <= 500; ++i) life.session(i, SessionState::idle, noon - 1min, "SELECT 1");
  (void)encoder.encode(life.at(noon));
  EXPECT_LT(encoder.encode(life.at(noon + 10s)).size(), 20U);
  life.session(7, SessionState::idle, noon + 12s, "SELECT 1");
  EXPECT_LT(encoder.encode(life.at(noon + 20s)).size(), 45U);
}

}  // namespace
}  // namespace pgleash::watchdog
