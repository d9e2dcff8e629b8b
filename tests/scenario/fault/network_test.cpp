#include "tests/scenario/fault/fault.hpp"
#include "tests/support/cable.hpp"
#include "tests/support/free_port.hpp"
#include "tests/support/rough_road.hpp"

#include <fstream>
#include <functional>
#include <vector>

/// Networks that delay, splinter, drop, and go dark.
namespace pgleash::test {
namespace {

class NetworkFault : public Fault {
 protected:
  std::map<std::string, std::string> over(const RoughRoad& road, const std::string& name) {
    return pgleash().words({{"port", std::to_string(road.port())}, {"application_name", name}});
  }
};

TEST_F(NetworkFault, ARoadThatDelaysAndSplintersChangesNoByte) {
  RoughRoad to_server{postgres().port()};
  auto& house = this->house({.rules = end_leaky_transactions(), .server_port = to_server.port()});
  RoughRoad to_pgleash{pgleash().port()};
  to_server.splinter(700);
  to_pgleash.splinter(700);
  house.watch("pgleash_relay_bytes_total", {{"direction", "to_frontend"}});

  Application client{over(to_pgleash, "far")};
  const std::string all =
      "SELECT string_agg(md5(i::text), '' ORDER BY i) FROM generate_series(1, 10000) i";
  EXPECT_EQ(client.exec(all), postgres().value(all)) << "320,000 bytes, in splinters on both legs";
  client.exec("CREATE TEMP TABLE landed (line text)");
  ASSERT_EQ(PQresultStatus(Result{PQexec(client.raw(), "COPY landed FROM STDIN")}.get()),
            PGRES_COPY_IN);
  for (int i = 0; i < 2000; ++i) {
    const auto line =
        fmt::format("line {} {}\n", i, std::string(static_cast<std::size_t>(i % 90), 'x'));
    ASSERT_EQ(PQputCopyData(client.raw(), line.data(), static_cast<int>(line.size())), 1);
  }
  ASSERT_EQ(PQputCopyEnd(client.raw(), nullptr), 1);
  EXPECT_FALSE(client.finish());
  EXPECT_EQ(client.exec("SELECT count(*) || ' ' || sum(length(line)) FROM landed"),
            postgres().value(
                "SELECT count(*) || ' ' || sum(length(line)) FROM (SELECT 'line ' || i || ' ' "
                "|| repeat('x', i % 90) AS line FROM generate_series(0, 1999) i) lines"));
  Application leaky{over(to_pgleash, "leaky")};
  leaky.exec("BEGIN");
  const auto error = leaky.ended(20s);
  ASSERT_TRUE(error) << "and who is to be ended is told, through all that";
  EXPECT_EQ(error->sqlstate, "25P03");
  house.expect_in_order();
}

TEST_F(NetworkFault, ConnectionsThatAreResetAnywhereLeaveNothingBehind) {
  auto& house = this->house({});
  RoughRoad road{pgleash().port()};
  house.watch("pgleash_session_ends_total", {{"cause", "client_abort"}});
  // From within the login (some 400 bytes) to within a long result.
  for (std::size_t bytes = 1; bytes < 200'000; bytes = bytes * 3 / 2 + 1) {
    road.reset_after(bytes);
    try {
      Application client{over(road, "dropped")};
      client.send("BEGIN; SELECT repeat('y', 300000); SELECT pg_sleep(600)");
      EXPECT_TRUE(client.ended(10s)) << bytes;
    } catch (const std::runtime_error&) {  // in the login
    }
  }
  EXPECT_GE(road.resets(), 25U);
  EXPECT_TRUE(wait_until(
      [&] {
        return postgres().value(
                   "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dropped'") ==
               "0";
      },
      20s))
      << "no query of theirs goes on";
  house.expect_in_order();
}

TEST_F(NetworkFault, AServerLegThatIsResetIsToldAndTakesNobodyElseAlong) {
  RoughRoad road{postgres().port()};
  auto& house = this->house({.server_port = road.port()});
  house.watch("pgleash_session_ends_total", {{"cause", "server_error"}});
  int told = 0;
  for (std::size_t bytes = 1; bytes < 100'000; bytes = bytes * 2 + 1) {
    road.reset_after(bytes);
    try {
      Application client = login_as("unlucky");
      client.send("SELECT repeat('y', 200000)");
      EXPECT_TRUE(client.ended(10s)) << bytes;
      ++told;
    } catch (const std::runtime_error& error) {
      EXPECT_THAT(error.what(), testing::Not(HasSubstr("timeout"))) << bytes;
    }
  }
  road.reset_no_more();
  EXPECT_GE(told, 3);
  house.expect_in_order();
}

// ---------------------------------------------------------------- a leg goes dark

struct Darkness {
  const char* name;
  void (Cable::*fall)() const;
};
void PrintTo(const Darkness& darkness, std::ostream* out) {
  *out << darkness.name;
}

class DarkLeg : public NetworkFault, public testing::WithParamInterface<Darkness> {
 protected:
  void SetUp() override {
    Fault::SetUp();
    if (IsSkipped()) return;
    cable_ = std::make_unique<Cable>();
    if (!cable_->made()) GTEST_SKIP() << "NO NETWORK NAMESPACES HERE: needs CAP_NET_ADMIN and ip";
  }
  void TearDown() override {
    Fault::TearDown();
    cable_.reset();
  }
  void fall() { std::invoke(GetParam().fall, *cable_); }

  static constexpr const char* soon =
      "keepalive = { idle = \"1s\", interval = \"1s\", count = 2 }\nuser_timeout = \"2s\"\n";
  std::unique_ptr<Cable> cable_;
};

TEST_P(DarkLeg, OfClientsIsNoticedAndTheirWorkEndsWhileOthersGoOn) {
  const auto far_port = free_port();
  auto& house =
      this->house({.more = fmt::format(
                       "[[listener]]\nname = \"far\"\nlisten = [\"{}:{}\"]\nserver = \"main\"\n{}",
                       cable_->here(), far_port, soon)});
  house.watch("pgleash_session_ends_total", {{"cause", "client_timeout"}});
  std::unique_ptr<Application> open;
  std::unique_ptr<Application> working;
  std::unique_ptr<Application> reading;
  const auto words = pgleash().words(
      {{"host", cable_->here()}, {"port", std::to_string(far_port)}, {"application_name", "far"}});
  cable_->at_the_other_end([&] {
    open = std::make_unique<Application>(words);
    working = std::make_unique<Application>(words);
    reading = std::make_unique<Application>(words);
  });
  open->exec("BEGIN; CREATE TABLE half_done (id int)");
  working->send("SELECT pg_sleep(600)");
  reading->send("SELECT repeat('z', 1000) FROM generate_series(1, 100000)");
  const auto left = [&] {
    return postgres().value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'far'");
  };
  ASSERT_TRUE(wait_until([&] { return left() == "3"; }, 10s));

  fall();
  EXPECT_TRUE(wait_until([&] { return left() == "0"; }, 40s)) << left() << " are left";
  EXPECT_TRUE(house.steady().works_on());
  cable_->mend();
  house.expect_in_order();
}

TEST_P(DarkLeg, OfAServerIsToldToItsClientsWhileAnotherServesOn) {
  std::unique_ptr<MonitoredServer> far;
  cable_->at_the_other_end([&] {
    far =
        std::make_unique<MonitoredServer>(PostgresOptions{.settings = {"listen_addresses = '*'"}});
  });
  ASSERT_TRUE(far);
  std::ofstream{(*far)->value("SHOW hba_file"), std::ios::app}
      << "host all all " << cable_->network() << " scram-sha-256\n";
  (*far)->sql("SELECT pg_reload_conf()");
  const auto far_port = free_port();
  auto& house = this->house(
      {.rules = end_leaky_transactions(),
       .listener = "server = \"main\"",
       .more = fmt::format(
           "[[listener]]\nname = \"far\"\nlisten = [\"127.0.0.1:{}\"]\nserver = \"far\"\n"
           "[[server]]\nname = \"far\"\nhost = \"{}\"\nport = {}\nconnect_timeout = \"2s\"\n{}"
           "[server.monitor]\npassword_file = \"{}\"\npoll_interval = \"200ms\"\n",
           far_port, cable_->there(), (*far)->port(), soon, far->section().monitor.password_file)});
  const auto far_up = [&] { return pgleash().metric("pgleash_monitor_up", {{"server", "far"}}); };
  ASSERT_TRUE(wait_until([&] { return far_up() == 1; }, 10s));
  house.watch("pgleash_session_ends_total", {{"server", "far"}, {"cause", "server_error"}});
  Application idle{pgleash().words({{"port", std::to_string(far_port)}})};
  Application working{pgleash().words({{"port", std::to_string(far_port)}})};
  working.send("SELECT pg_sleep(600)");
  // Only a backend that the monitor has seen is provably ours when it is left behind.
  const auto samples = [&] {
    return pgleash().metric("pgleash_monitor_query_duration_seconds_count", {{"server", "far"}});
  };
  const double before = samples();
  ASSERT_TRUE(wait_until([&] { return samples() >= before + 3; }, 20s));

  fall();
  const auto error = working.ended(40s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "08006") << error->message;
  EXPECT_TRUE(idle.ended(40s));
  EXPECT_TRUE(wait_until([&] { return far_up() == 0; }, 40s));
  auto leaky = login_as("leaky");
  leaky.exec("BEGIN");
  EXPECT_TRUE(leaky.ended(20s)) << "rules of the other server go on";
  EXPECT_THROW((Application{pgleash().words({{"port", std::to_string(far_port)}})}),
               std::runtime_error);
  cable_->mend();
  EXPECT_TRUE(wait_until([&] { return far_up() == 1; }, 60s));
  EXPECT_EQ(
      (Application{pgleash().words({{"port", std::to_string(far_port)}})}).exec("SELECT 'back'"),
      "back");
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_orphan_backends", {{"server", "far"}}) == 0;
      },
      60s));
  house.expect_in_order();
}

INSTANTIATE_TEST_SUITE_P(NetworkFault, DarkLeg,
                         testing::Values(Darkness{"Cut", &Cable::cut},
                                         Darkness{"Swallowed", &Cable::swallow}),
                         [](const auto& one) { return std::string{one.param.name}; });

}  // namespace
}  // namespace pgleash::test
