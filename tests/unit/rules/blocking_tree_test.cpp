#include "watchdog/blocking_tree.hpp"

#include "lock_scene.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::int32_t pid_of(const BlockingRoot& root) {
  return static_cast<std::int32_t>(root.pid);
}

TEST(BlockingTree, FindsTheRootBehindAChainOfWaits) {
  LockScene scene;
  scene.session(idle_holder(1)).waits(2, {1}).waits(3, {2}).waits(4, {3, 2});
  const auto forest = scene.forest();
  ASSERT_THAT(forest.roots, SizeIs(1));
  EXPECT_EQ(pid_of(forest.roots[0]), 1);
  EXPECT_EQ(forest.roots[0].kind, RootKind::session);
  EXPECT_EQ(forest.roots[0].application, "checkout");
  EXPECT_EQ(forest.roots[0].user, "alice");
  EXPECT_EQ(forest.roots[0].state, "idle in transaction");
  EXPECT_THAT(forest.roots[0].blocked, SizeIs(3));
  EXPECT_EQ(forest.roots[0].longest, 70s);
  EXPECT_EQ(forest.taken, noon);
}

TEST(BlockingTree, KnowsNothingWithoutASampleAndNobodyInAnEmptyOne) {
  EXPECT_EQ(BlockingTree{}.forest(nullptr, {}, {}).taken, std::nullopt);
  LockScene scene;
  EXPECT_EQ(scene.forest().taken, noon);
  EXPECT_THAT(scene.forest().roots, IsEmpty());
}

TEST(BlockingTree, TellsApartWhoTheRootsAre) {
  LockScene scene;
  scene.session(idle_holder(1)).direct_session(7, "bob").prepared("tpc-1");
  scene.waits(2, {1}).waits(3, {7}).waits(4, {8}).waits(5, {0});
  std::map<std::string, std::string> who;
  for (const auto& root : scene.forest().roots)
    who[std::string{name(root.kind)}] = root.user + '/' + root.application + '/' + root.gid;
  EXPECT_EQ(who["session"], "alice/checkout/");
  EXPECT_EQ(who["direct"], "bob/psql/");
  EXPECT_EQ(who["background"], "//");
  EXPECT_EQ(who["prepared"], "alice//tpc-1");
}

TEST(BlockingTree, NamesThePreparedTransactionThatHoldsTheLockAndNoOther) {
  LockScene scene;
  scene.prepared("mine", "relation/1/2").prepared("another", "relation/1/9").waits(2, {0});
  const auto forest = scene.forest();
  ASSERT_THAT(forest.roots, SizeIs(1));
  EXPECT_EQ(forest.roots[0].gid, "mine");
  LockScene nameless;
  nameless.waits(2, {0});
  ASSERT_THAT(nameless.forest().roots, SizeIs(1));
  EXPECT_EQ(nameless.forest().roots[0].kind, RootKind::prepared);
  EXPECT_EQ(nameless.forest().roots[0].gid, "");
}

TEST(BlockingTree, EndsOnACircle) {
  LockScene scene;
  scene.waits(1, {2}).waits(2, {1}).waits(3, {1});
  EXPECT_THAT(scene.forest().roots, IsEmpty());
}

TEST(BlockingTree, IsCutOffWhereItGetsTooDeep) {
  LockScene scene;
  scene.session(idle_holder(1));
  const auto deep = static_cast<std::int32_t>(BlockingTree::max_depth) + 5;
  for (std::int32_t pid = 2; pid < deep; ++pid) scene.waits(pid, {pid - 1});
  ASSERT_THAT(scene.forest().roots, SizeIs(1));
  EXPECT_THAT(scene.forest().roots[0].blocked, SizeIs(BlockingTree::max_depth));
}

TEST(BlockingTree, DoesNotTakeAPidForOursThatASampleContradicts) {
  LockScene scene;
  scene.session(idle_holder(1).mapping(Mapping::conflict)).waits(2, {1});
  EXPECT_EQ(scene.forest().roots.at(0).kind, RootKind::background);
}

/// dump ← ALTER ← readers: the readers wait for the ALTER, and would not for the dump.
TEST(BlockingTree, FindsTheStrongLockThatLetsNobodyPass) {
  LockScene scene;
  scene.session(working_holder(1))
      .waits(2, {1}, "AccessExclusiveLock")
      .waits(3, {2})
      .waits(4, {2})
      .waits(5, {2});
  const auto forest = scene.forest();
  const auto& root = forest.roots.at(0);
  ASSERT_TRUE(root.head);
  EXPECT_EQ(forest.waits[*root.head].pid, protocol::BackendPid{2});
  EXPECT_THAT(root.behind_head, ElementsAre(1, 2, 3));
}

TEST(BlockingTree, HasNoQueueHeadWhereTheOthersWaitForTheRootToo) {
  LockScene scene;
  scene.session(working_holder(1))
      .waits(2, {1}, "AccessExclusiveLock")
      .waits(3, {2, 1}, "RowExclusiveLock")
      .waits(4, {3, 2}, "ShareLock");
  EXPECT_FALSE(scene.forest().roots.at(0).head);
}

/// The next in the queue for a row would take the place of the first.
TEST(BlockingTree, HasNoQueueHeadAmongThoseThatWaitForARow) {
  LockScene scene;
  scene.session(working_holder(1))
      .waits(2, {1}, "ShareLock", 70s, "transactionid/77")
      .waits(3, {2}, "ExclusiveLock", 70s, "tuple/1/2/3/4")
      .waits(4, {3, 2}, "ExclusiveLock", 70s, "tuple/1/2/3/4");
  EXPECT_THAT(scene.forest().roots.at(0).blocked, SizeIs(3));
  EXPECT_FALSE(scene.forest().roots.at(0).head);
}

TEST(BlockingTree, CountsThoseNobodyAskedAboutByTheirQueue) {
  LockScene scene;
  scene.session(working_holder(1)).waits(2, {1}, "AccessExclusiveLock").waits(3, {2});
  for (std::int32_t pid = 10; pid < 40; ++pid) {
    scene.waits(pid, {});
    scene.locks().waits.back().asked = false;
  }
  scene.waits(50, {}, "AccessShareLock", 70s, "relation/1/777");  // another queue
  scene.locks().waits.back().asked = false;
  const auto forest = scene.forest();
  ASSERT_THAT(forest.roots, SizeIs(1));
  EXPECT_THAT(forest.roots[0].blocked, SizeIs(32));
  EXPECT_THAT(forest.roots[0].behind_head, SizeIs(31));
}

/// A row that goes from hand to hand: its queue waits long, and none of its holders holds it long.
TEST(BlockingTree, BlamesARootForTheTimeItWasSeenInTheWay) {
  BlockingTree tree;
  LockScene scene;
  scene.session(working_holder(1)).waits(2, {1});
  const auto because = [&](Instant taken) {
    scene.locks().taken = taken;
    return tree.forest(&scene.locks(), scene.sessions(), {})
        .roots.at(0)
        .blocked.at(0)
        .because_of_it;
  };
  EXPECT_EQ(because(noon), 0s);
  EXPECT_EQ(because(noon), 0s) << "the same sample again";
  EXPECT_EQ(because(noon + 30s), 30s);
  EXPECT_EQ(because(noon + 90s), 70s) << "never longer than the wait";
  ++scene.sessions()[0].view.facts.mark.transaction;
  EXPECT_EQ(because(noon + 91s), 0s) << "another transaction of the same session";
  EXPECT_EQ(because(noon + 95s), 4s);
  scene.locks().waits[0].since = ServerTime{99};
  EXPECT_EQ(because(noon + 96s), 0s) << "another wait of the same session";
  const LockSample nobody{noon + 97s, {}, {}};
  (void)tree.forest(&nobody, scene.sessions(), {});
  EXPECT_EQ(because(noon + 98s), 0s) << "it was over in between";
}

}  // namespace
}  // namespace pgleash::watchdog
