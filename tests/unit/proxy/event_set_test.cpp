#include "proxy/event_set.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <sys/eventfd.h>
#include <unistd.h>

namespace pgleash::proxy {
namespace {

struct Bell final : Watched {
  Bell() : fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {}
  void ready(std::uint32_t /*events*/, Instant /*now*/) override {
    ++rung;
    if (then) then();
  }
  void ring() const {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(fd.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  Fd fd;
  std::function<void()> then;
  int rung = 0;
};

void serve_once(EventSet& set) {
  for (const epoll_event& event : set.wait(0)) EventSet::hand_over(event, Instant{});
}

TEST(EventSet, TellsWhoIsReady) {
  boost::asio::io_context context{1};
  EventSet set{context};
  Bell bell, other;
  ASSERT_TRUE(set.add(bell.fd.get(), EPOLLIN | EPOLLET, bell));
  ASSERT_TRUE(set.add(other.fd.get(), EPOLLIN | EPOLLET, other));
  bell.ring();
  serve_once(set);
  serve_once(set);
  EXPECT_EQ(bell.rung, 1);
  EXPECT_EQ(other.rung, 0);
}

TEST(EventSet, TellsNobodyWhoWasForgottenEarlierInTheSameBatch) {
  boost::asio::io_context context{1};
  EventSet set{context};
  Bell first, second;
  ASSERT_TRUE(set.add(first.fd.get(), EPOLLIN | EPOLLET, first));
  ASSERT_TRUE(set.add(second.fd.get(), EPOLLIN | EPOLLET, second));
  first.then = [&] { set.remove(second.fd.get(), second); };
  second.then = [&] { set.remove(first.fd.get(), first); };
  first.ring();
  second.ring();
  serve_once(set);
  EXPECT_EQ(first.rung + second.rung, 1) << "whoever came first removed the other";
}

TEST(EventSet, LeavesEventsOfOthersAlone) {
  boost::asio::io_context context{1};
  EventSet set{context};
  const Bell bell;
  ASSERT_TRUE(set.add(bell.fd.get(), EPOLLIN | EPOLLET, std::uint64_t{16} | 1));
  bell.ring();
  const auto events = set.wait(0);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_FALSE(EventSet::hand_over(events.front(), Instant{}));
  EXPECT_EQ(events.front().data.u64, 17U);
}

TEST(EventSet, TellsOnceMoreOfWhatIsReadyWhenItsEventsChange) {
  boost::asio::io_context context{1};
  EventSet set{context};
  Bell bell;
  ASSERT_TRUE(set.add(bell.fd.get(), EPOLLIN | EPOLLET, bell));
  bell.ring();
  serve_once(set);
  set.change(bell.fd.get(), EPOLLIN | EPOLLOUT | EPOLLET, bell);
  serve_once(set);
  EXPECT_EQ(bell.rung, 2);
}

TEST(EventSet, IsServedByTheContextWhereNobodyElseDoes) {
  boost::asio::io_context context{1};
  EventSet set{context};
  Bell bell;
  ASSERT_TRUE(set.add(bell.fd.get(), EPOLLIN | EPOLLET, bell));
  set.serve();
  bell.then = [&] { set.stop(); };
  bell.ring();
  context.run_for(std::chrono::seconds{10});
  EXPECT_EQ(bell.rung, 1);
  EXPECT_TRUE(context.stopped()) << "nothing is left to wait for";
}

}  // namespace
}  // namespace pgleash::proxy
