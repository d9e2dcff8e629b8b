#include "tests/script/proxy/stage.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

/// The views that are patched with what changed are those that a full copy shows.
namespace pgleash::proxy {
namespace {

using Views = std::map<std::uint64_t, SessionView>;

Views by_id(const std::vector<SessionView>& views) {
  Views all;
  for (const SessionView& view : views) all.emplace(number(view.id), view);
  return all;
}

bool same(const Views& one, const Views& other) {
  return std::ranges::equal(one, other, [](const auto& a, const auto& b) {
    const SessionView& left = a.second;
    const SessionView& right = b.second;
    return a.first == b.first && left.who == right.who && left.facts == right.facts &&
           left.stalled_since == right.stalled_since && left.ending == right.ending;
  });
}

class Changes : public ::testing::Test {
 protected:
  /// Asks for what changed, and patches.
  ViewChanges ask(bool all = false) {
    ViewChanges told = stage.changes(all);
    if (told.all) patched.clear();
    for (const SessionId id : told.gone) patched.erase(number(id));
    for (const SessionView& view : told.changed) patched.insert_or_assign(number(view.id), view);
    return told;
  }
  /// Bytes may be under way: waits until both tell the same.
  bool settles() {
    return soon([&] {
      (void)ask();
      return same(patched, by_id(stage.views()));
    });
  }
  [[nodiscard]] bool told_of(const Pair& pair) {
    const SessionId id = stage.session_of(pair).id;
    return std::ranges::any_of(ask().changed, [&](const auto& view) { return view.id == id; });
  }

  Stage stage;
  Views patched;
};

TEST_F(Changes, OfSessionsThatAreIdleNothingIsToldTwice) {
  std::vector<Pair> pairs;
  for (int i = 0; i < 6; ++i) pairs.push_back(stage.login());
  ASSERT_TRUE(settles());
  EXPECT_EQ(patched.size(), 6U);
  EXPECT_TRUE(soon([&] { return ask().changed.empty(); }));
  pairs[2].echo();
  const SessionId active = stage.session_of(pairs[2]).id;
  const ViewChanges told = ask();
  ASSERT_EQ(told.changed.size(), 1U);
  EXPECT_EQ(told.changed[0].id, active);
  EXPECT_EQ(ask(true).changed.size(), 6U);
  EXPECT_TRUE(ask().changed.empty());
}

TEST_F(Changes, TheFirstAnswerAndTheOneThatIsAskedSoHaveAllSessions) {
  Pair pair = stage.login();
  ViewChanges first = ask();
  EXPECT_TRUE(first.all) << "what one worker told, another may not have";
  EXPECT_FALSE(ask().all);
  EXPECT_TRUE(ask(true).all);
}

TEST_F(Changes, ATransactionThatIdlesIsToldOfEachTimeAsItsTimeIsBooked) {
  Pair pair = stage.login();
  pair.up(wire::query("begin"));
  pair.down(wire::complete("BEGIN") + wire::ready('T'));
  ASSERT_TRUE(settles());
  EXPECT_TRUE(told_of(pair));
  EXPECT_TRUE(told_of(pair));
  pair.up(wire::query("commit"));
  pair.down(wire::complete("COMMIT") + wire::ready());
  ASSERT_TRUE(settles());
  EXPECT_TRUE(soon([&] { return ask().changed.empty(); }));
}

TEST_F(Changes, AResultThatIsNotReadIsToldOfUntilItIs) {
  Pair pair = stage.login();
  pair.up(wire::query("select large"));
  const std::string row = wire::message('D', std::string(32'000, 'x'));
  std::size_t sent = 0;
  const auto stalled = [&] {
    (void)ask();
    const auto id = number(stage.session_of(pair).id);
    return patched.contains(id) && patched.at(id).stalled_since != Instant{};
  };
  ASSERT_TRUE(soon([&] {
    if (stalled()) return true;
    pair.server.send(row);
    sent += row.size();
    return false;
  }));
  std::string sink(sent, '\0');
  std::size_t got = 0;
  while (got < sent) {
    const std::size_t some = pair.client.read_some(sink.data(), sink.size());
    ASSERT_GT(some, 0U);
    got += some;
  }
  EXPECT_TRUE(settles());
  EXPECT_TRUE(soon([&] { return !stalled(); }));
}

/// Neither the order nor its end moves a byte that would tell of it.
TEST_F(Changes, ACancelThatIsUnderWayIsToldOfAndItsEndToo) {
  Pair pair = stage.login();
  pair.up(wire::query("select pg_sleep(600)"));
  ASSERT_TRUE(settles());
  ASSERT_TRUE(soon([&] { return ask().changed.empty(); }));
  const auto id = number(stage.session_of(pair).id);
  auto asked = stage.carry_out(stage.order_for(pair, KillAction::cancel));
  test::CancelArrived cancel = stage.backend.accept_cancel();
  ASSERT_TRUE(soon([&] {
    (void)ask();
    return patched.at(id).ending;
  })) << "judged again, it could be ended twice";
  pair.server.send(wire::error("57014") + wire::ready());
  (void)pair.client.read_message();
  pair.client.expect(wire::ready());
  cancel.connection.close();
  EXPECT_EQ(Stage::result(asked).result, KillResult::done);
  ASSERT_TRUE(soon([&] {
    (void)ask();
    return !patched.at(id).ending;
  })) << "never judged again";
  EXPECT_TRUE(settles());
  EXPECT_TRUE(soon([&] { return ask().changed.empty(); }));
}

TEST_F(Changes, AfterRandomOperationsThePatchedViewsAreThoseOfAFullCopy) {
  std::mt19937 random{20261126};
  const auto below = [&](std::size_t bound) { return std::size_t{random()} % bound; };
  std::vector<Pair> pairs;
  std::vector<std::future<KillReport>> ends;
  for (int step = 0; step < 300; ++step) {
    if (pairs.empty() || (pairs.size() < 12 && below(5) == 0)) {
      pairs.push_back(stage.login());
    } else {
      const auto at = pairs.begin() + static_cast<std::ptrdiff_t>(below(pairs.size()));
      Pair& pair = *at;
      switch (below(9)) {
        case 0:
          pair.up(wire::query("begin"));
          pair.down(wire::complete("BEGIN") + wire::ready('T'));
          break;
        case 1:
          pair.up(wire::query("commit"));
          pair.down(wire::complete("COMMIT") + wire::ready());
          break;
        case 2:
          pair.down(wire::parameter("application_name", "name " + std::to_string(step)));
          break;
        case 3:
          pair.client.close();
          pair.server.expect_end();
          pairs.erase(at);
          break;
        case 4:
          pair.server.close();
          (void)pair.client.read_to_end();  // it may be told why
          pairs.erase(at);
          break;
        case 5: {
          if (stage.state_of(pair) != protocol::SessionState::idle) break;
          ends.push_back(stage.carry_out(stage.order_for(pair)));
          // Between the end's beginning and the server's: the view says that it is under way.
          const SessionId id = stage.session_of(pair).id;
          ASSERT_TRUE(soon([&] {
            (void)ask();
            return patched.at(number(id)).ending;
          })) << "step "
              << step;
          pair.server.close();
          EXPECT_EQ(Stage::result(ends.back()).result, KillResult::done);
          pairs.erase(at);
          break;
        }
        case 6: {
          ScriptedPeer in_vain = stage.connect();  // a login that does not come to its end
          in_vain.send(startup_packet());
          stage.backend.accept().close();
          (void)in_vain.read_to_end();
          break;
        }
        default:
          pair.echo();
      }
    }
    if (below(3) == 0) {
      (void)ask(below(20) == 0);
    }
    if (below(4) == 0) {
      ASSERT_TRUE(settles()) << "step " << step;
    }
  }
  EXPECT_TRUE(settles());
}

}  // namespace
}  // namespace pgleash::proxy
