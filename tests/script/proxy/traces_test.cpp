#include "tests/script/proxy/stage.hpp"
#include "tests/unit/protocol/trace.hpp"

#include <gmock/gmock.h>

/// Conversations recorded with PostgreSQL 15 and 18, through the proxy: both sides get the same
/// bytes, and the session's state is the expected one at each point.
namespace pgleash::proxy {
namespace {

namespace trace = protocol::trace;

struct Recorded {
  const char* name;
  const char* script;
};

std::ostream& operator<<(std::ostream& out, const Recorded& recorded) {
  return out << recorded.name;
}

const Recorded recorded[] = {
    {"SimpleQuery", "> Q(select 1) = busy < T D C Z = idle"},
    {"EmptyQuery", "> Q() = busy < I Z = idle"},
    {"ErrorInTheMiddle", "> Q(select 1; select 1/0; select 3) = busy < T D C E Z = idle"},
    {"FailureInBindDiscardsTheNextBatch",
     "> P(select 1/0) B E P(x) B E S P(select 2) B E S < 1 E Z = busy < 1 2 D C Z = idle"},
    {"QueryEndsAPipelineOn15", "> P(begin) B E Q(select 1) = busy < 1 2 D C T D C Z = idle"},
    {"QueryEndsAPipelineOn18",
     "> P(begin) B E Q(select 1) = busy < 1 2 D C T D C Z(T) = in_transaction"},
    {"QueryBehindAFailure", "> P(bad) B E Q(select 1) < 1 E = failed > S = busy < Z = idle"},
    {"OneReadyForThree", "> P(bad) B E Q(a) Q(b) S < 1 E Z = idle"},
    {"FunctionCallBehindAFailure", "> P(bad) B E F S < 1 E Z = idle"},
    {"FlushBehindAFailure", "> P(bad) B E H < 1 E = failed > X = closing"},
    {"BareSyncs", "> S S S = busy < Z Z Z = idle"},
    {"SuspendedPortals", "> P(q) B E E S < 1 2 D s D s Z = idle"},
    {"ErrorInsideSync", "> P(a) B E S P(b) B E S < 1 2 C E Z = busy < 1 2 D C Z = idle"},
    {"AbortedTransaction",
     "> Q(begin) < C(BEGIN) Z(T) = in_transaction > Q(bad) < E Z(E) = aborted > S < Z(E) = aborted"
     "> Q(commit) < C(ROLLBACK) Z = idle"},
    {"CommitAndChain",
     "> Q(begin) < C(BEGIN) Z(T) > Q(commit and chain) < C(COMMIT) Z(T) = in_transaction"},
    {"CopyOut", "> Q(copy t to stdout) = busy < H = copy_out < d d c C Z = idle"},
    {"CopyIn", "> Q(copy t from stdin) < G = copy_in > d c = busy < C Z = idle"},
    {"CopyInFails",
     "> Q(copy t from stdin) < G > d(bad) < E Z = idle > d c = idle > Q(select 1) < T D C Z = "
     "idle"},
    {"CopyFail", "> Q(copy t from stdin) < G = copy_in > f < E(57014) Z = idle"},
    {"TwoCopies", "> Q(two) < G > d c < C G = copy_in > d c < C T D C Z = idle"},
    {"SyncInsideCopy", "> Q(copy t from stdin) < G > S H d c < C Z = idle > S < Z = idle"},
    {"QueryInsideCopy", "> Q(copy t from stdin) < G > d Q(x) < E(08P01) FATAL(08P01) = closing"},
    {"TwoSyncsOneReady", "> P(copy t from stdin) B E S < 1 2 G = copy_in > d c S < C Z = idle"},
    {"CopyThatNeverBegan", "> P(copy x from stdin) B E S < 1 2 E Z = idle > d c S < Z = idle"},
    {"ExtendedCopyOut", "> P(copy t to stdout) B E S < 1 2 H = copy_out < d c C Z = idle"},
    {"FailedCopySyncSwallowed", "> P(copy t from stdin) B E S < 1 2 G > d(bad) c S < E Z = idle"},
    {"FailedCopyTwoReadies",
     "> P(copy t from stdin) B E S < 1 2 G > d c S < E Z = idle < Z = idle"},
    {"NotifyWhileIdle", "< A = idle"},
    {"NotifyAtCommit", "> Q(begin) < C(BEGIN) Z(T) > Q(commit) < C(COMMIT) A Z = idle"},
    {"SettingReported", "> Q(select 1) < T D C S(TimeZone=UTC) Z = idle"},
    {"UnknownTypes", "> Q(select 1) < T D C Z = idle > ~(what) = idle < ~(this) = idle"},
};

enum class Chunks : std::uint8_t { whole, bytewise };

/// Sends in pieces that arrive as such: each is read on the other side before the next goes out.
void cross(ScriptedPeer& from, ScriptedPeer& to, std::string_view bytes, std::size_t piece) {
  while (!bytes.empty()) {
    const std::string_view now = bytes.substr(0, piece);
    from.send(now);
    to.expect(now);
    bytes.remove_prefix(now.size());
  }
}

void play(Stage& stage, const std::vector<trace::Step>& steps, Chunks chunks,
          std::size_t cut_step = SIZE_MAX, std::size_t cut_at = 0) {
  Pair pair = stage.login();
  for (std::size_t number = 0; number < steps.size(); ++number) {
    const trace::Step& step = steps[number];
    if (!step.direction) {
      EXPECT_EQ(trace::Player::short_name(stage.state_of(pair)), step.state)
          << "at step " << number;
      continue;
    }
    const bool up = *step.direction == protocol::Direction::to_backend;
    ScriptedPeer& from = up ? pair.client : pair.server;
    ScriptedPeer& to = up ? pair.server : pair.client;
    std::string_view bytes = step.bytes;
    if (number == cut_step) {
      cross(from, to, bytes.substr(0, cut_at), cut_at);
      bytes.remove_prefix(cut_at);
    }
    cross(from, to, bytes, chunks == Chunks::bytewise ? 1 : bytes.size());
  }
  EXPECT_EQ(pair.client.unread(), 0U);
  EXPECT_EQ(pair.server.unread(), 0U);
}

class TraceThroughTheProxy : public ::testing::TestWithParam<Recorded> {};

TEST_P(TraceThroughTheProxy, ArrivesWholeAndByteByByte) {
  Stage stage;
  const auto steps = trace::read(GetParam().script);
  play(stage, steps, Chunks::whole);
  play(stage, steps, Chunks::bytewise);
}

INSTANTIATE_TEST_SUITE_P(Recorded, TraceThroughTheProxy, ::testing::ValuesIn(recorded),
                         [](const auto& one) { return std::string{one.param.name}; });

TEST(TraceThroughTheProxy, ArrivesTheSameCutAtEveryOffset) {
  Stage stage;
  for (const char* script :
       {"> P(begin) B E Q(select 1) = busy < 1 2 D C T D C Z(T) = in_transaction",
        "> Q(copy t from stdin) < G = copy_in > d c = busy < C Z = idle",
        "> P(bad) B E Q(select 1) < 1 E = failed > S = busy < Z = idle"}) {
    const auto steps = trace::read(script);
    for (std::size_t number = 0; number < steps.size(); ++number)
      for (std::size_t at = 1; at < steps[number].bytes.size(); ++at)
        play(stage, steps, Chunks::whole, number, at);
  }
}

TEST(TraceThroughTheProxy, RowsCutShortByAKillEndWithoutAWordOfOurs) {
  Stage stage;
  Pair pair = stage.login();
  pair.up(wire::query("select large"));
  const std::string row = wire::message('D', std::string(1000, 'x'));
  pair.down(row + row.substr(0, 500));
  pair.server.close();
  pair.client.expect_end();
}

}  // namespace
}  // namespace pgleash::proxy
