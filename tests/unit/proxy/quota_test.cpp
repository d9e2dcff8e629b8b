#include "proxy/quota.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace pgleash::proxy {
namespace {

using config::QuotaKey;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr Instant noon{12h};

SessionIdentity who(std::string application, std::string user = "web",
                    std::string address = "10.0.0.7") {
  SessionIdentity made;
  made.application = std::move(application);
  made.user = std::move(user);
  made.database = "orders";
  made.client.address = std::move(address);
  return made;
}

config::Quota limit(std::string name, QuotaKey key, std::optional<std::uint32_t> sessions,
                    std::optional<std::uint32_t> new_per_second = {}) {
  return {std::move(name), key, sessions, new_per_second, "53300"};
}

using Tickets = std::vector<QuotaKeeper::Ticket>;

bool in(QuotaKeeper& keeper, Tickets& tickets, const SessionIdentity& session, Instant now = noon) {
  QuotaKeeper::Ticket ticket;
  if (keeper.admit(session, now, ticket)) return false;
  tickets.push_back(std::move(ticket));
  return true;
}

TEST(Quota, LetsEachValueOfItsKeyHaveSoManyAtOnce) {
  QuotaKeeper keeper{{limit("q", QuotaKey::application, 2)}};
  Tickets tickets;
  EXPECT_TRUE(in(keeper, tickets, who("checkout")));
  EXPECT_TRUE(in(keeper, tickets, who("checkout")));
  EXPECT_FALSE(in(keeper, tickets, who("checkout")));
  EXPECT_TRUE(in(keeper, tickets, who("billing")));
  EXPECT_EQ(keeper.use().at("q").most, 2U);
  EXPECT_EQ(keeper.use().at("q").refused, 1U);
  tickets.erase(tickets.begin());
  EXPECT_TRUE(in(keeper, tickets, who("checkout")));
}

TEST(Quota, TellsQuotaWhomCountAndLimit) {
  QuotaKeeper keeper{{limit("per-host", QuotaKey::address, 1)}};
  Tickets tickets;
  ASSERT_TRUE(in(keeper, tickets, who("checkout")));
  QuotaKeeper::Ticket ticket;
  const auto refused = keeper.admit(who("billing"), noon, ticket);
  ASSERT_TRUE(refused);
  EXPECT_FALSE(ticket.taken());
  EXPECT_EQ(refused->message,
            "too many sessions for address \"10.0.0.7\" (pgleash quota 'per-host')");
  EXPECT_EQ(refused->detail, "1 are open, the quota is 1");
  EXPECT_EQ(refused->sqlstate, "53300");
}

TEST(Quota, LetsSoManyNewOnesInAtOnceAndThenSoManyASecond) {
  QuotaKeeper keeper{{limit("q", QuotaKey::user, std::nullopt, 4)}};
  Tickets tickets;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(in(keeper, tickets, who("a")));
  EXPECT_FALSE(in(keeper, tickets, who("a"), noon + 240ms));
  EXPECT_TRUE(in(keeper, tickets, who("a"), noon + 260ms));
  EXPECT_FALSE(in(keeper, tickets, who("a"), noon + 270ms));
  EXPECT_TRUE(in(keeper, tickets, who("a", "other"), noon + 270ms));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(in(keeper, tickets, who("a"), noon + 10s));
  EXPECT_FALSE(in(keeper, tickets, who("a"), noon + 10s)) << "what was not used does not pile up";
}

TEST(Quota, WhoIsRefusedByOneUsesUpNoOther) {
  QuotaKeeper keeper{
      {limit("rate", QuotaKey::user, std::nullopt, 2), limit("hosts", QuotaKey::address, 1)}};
  Tickets tickets;
  ASSERT_TRUE(in(keeper, tickets, who("a")));
  EXPECT_FALSE(in(keeper, tickets, who("a"))) << "its address is full";
  EXPECT_TRUE(in(keeper, tickets, who("a", "web", "10.0.0.8"))) << "one of the rate is left";
}

TEST(Quota, CountsAcrossAChangeOfItsLimits) {
  QuotaKeeper keeper{{}};
  EXPECT_FALSE(keeper.active());
  EXPECT_TRUE(keeper.configure({limit("q", QuotaKey::user, 2)}));
  auto before = keeper.count(who("a"));
  Tickets tickets;
  EXPECT_TRUE(in(keeper, tickets, who("a")));
  EXPECT_FALSE(in(keeper, tickets, who("a")));
  EXPECT_FALSE(keeper.configure({limit("q", QuotaKey::user, 3)}));
  EXPECT_TRUE(in(keeper, tickets, who("a")));
  EXPECT_FALSE(keeper.configure({limit("q", QuotaKey::user, 1)}));
  EXPECT_FALSE(in(keeper, tickets, who("a"))) << "nobody is thrown out, nobody comes in";
  before.give_back();
  tickets.clear();
  EXPECT_TRUE(in(keeper, tickets, who("a")));
}

TEST(Quota, ForgetsKeysThatAreGone) {
  QuotaKeeper keeper{{limit("q", QuotaKey::address, 5, 100)}};
  for (int i = 0; i < 1'000; ++i) {
    Tickets tickets;
    EXPECT_TRUE(in(keeper, tickets, who("a", "web", "10.0.0." + std::to_string(i)), noon));
  }
  Tickets tickets;
  EXPECT_TRUE(in(keeper, tickets, who("a"), noon + 1min));
  EXPECT_LE(keeper.keys(), 4U);
}

TEST(Quota, IsExactBetweenThreads) {
  QuotaKeeper keeper{{limit("q", QuotaKey::database, 10)}};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&keeper, t] {
      for (int i = 0; i < 2'000; ++i) {
        Tickets tickets;
        for (int n = 0; n < 5; ++n) (void)in(keeper, tickets, who("a" + std::to_string(t)));
        EXPECT_LE(keeper.use().at("q").most, 10U);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(keeper.use().at("q").most, 0U);
}

}  // namespace
}  // namespace pgleash::proxy
