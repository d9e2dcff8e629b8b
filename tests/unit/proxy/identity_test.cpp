#include "proxy/identity.hpp"

#include "config/defaults.hpp"
#include "config/network.hpp"
#include "proxy/fold_name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <variant>

namespace pgleash::proxy {
namespace {

config::Identity with_defaults() {
  config::Identity identity;
  identity.driver_defaults = config::default_driver_names();
  return identity;
}

config::ClientName network(const char* text, const char* as) {
  return {{std::get<config::Network>(config::parse_network(text))}, as};
}

struct Fold {
  const char* name;
  const char* folded;
};

class FoldName : public ::testing::TestWithParam<Fold> {};

TEST_P(FoldName, TakesOutWhatTellsCopiesApart) {
  EXPECT_EQ(fold_name(GetParam().name), GetParam().folded);
}

INSTANTIATE_TEST_SUITE_P(
    Names, FoldName,
    ::testing::Values(Fold{"checkout-7d9f8b6c5-x2x9z", "checkout"},
                      Fold{"checkout-api-5d4f7b9c8d-qk7rt", "checkout-api"},
                      Fold{"worker-12", "worker"}, Fold{"worker_3", "worker"},
                      Fold{"app - 4711", "app"}, Fold{"app[4711]", "app"}, Fold{"app#7", "app"},
                      Fold{"worker12345", "worker"}, Fold{"fluentd-x2x9z", "fluentd"},
                      Fold{"report-28391040-x2x9z", "report"},
                      Fold{"puma: cluster worker 2: 4711 [shop]", "puma: cluster worker [shop]"},
                      Fold{"job 550e8400-e29b-41d4-a716-446655440000", "job"},
                      Fold{"550e8400-e29b-41d4-a716-446655440000:etl", "etl"},
                      Fold{"billing-3f1a9c0b77de", "billing"}, Fold{"import 10.0.0.12", "import"},
                      // Names as people give them.
                      Fold{"checkout", "checkout"}, Fold{"oauth2", "oauth2"},
                      Fold{"s3-sync", "s3-sync"}, Fold{"web-proxy", "web-proxy"},
                      Fold{"api-v2", "api-v2"}, Fold{"rock-crystl", "rock-crystl"},
                      Fold{"feed-facade", "feed-facade"}, Fold{"4711", "4711"}, Fold{"", ""},
                      Fold{"psql", "psql"}, Fold{"dépôt-7", "dépôt"}));

TEST(ApplicationNames, MakesThreeApplicationsOfThreeServicesThatSetNothing) {
  const ApplicationNames names{with_defaults()};
  const std::set<std::string> applications{
      names.resolve({"PostgreSQL JDBC Driver", "", "10.0.0.1", "billing", "shop"}),
      names.resolve({"", "", "10.0.0.1", "cart", "shop"}),
      names.resolve({"", "", "10.0.0.1", "reports", "shop"})};
  EXPECT_THAT(applications, ::testing::ElementsAre("billing@shop", "cart@shop", "reports@shop"));
}

TEST(ApplicationNames, TakesNothingAndADriversDefaultForNoName) {
  const ApplicationNames names{with_defaults()};
  EXPECT_FALSE(names.is_name(""));
  EXPECT_FALSE(names.is_name("PostgreSQL JDBC Driver"));
  EXPECT_TRUE(names.is_name("PostgreSQL JDBC Driver of billing"));
}

TEST(ApplicationNames, TellsServicesOfOneRoleApartByTheirNetworks) {
  auto identity = with_defaults();
  identity.client_map = {network("10.20.4.0/24", "billing"), network("10.20.0.0/16", "other-team"),
                         network("2001:db8::/32", "six")};
  const ApplicationNames names{identity};
  EXPECT_EQ(names.resolve({"", "", "10.20.4.9", "app", "shop"}), "billing");
  EXPECT_EQ(names.resolve({"", "", "10.20.5.9", "app", "shop"}), "other-team");
  EXPECT_EQ(names.resolve({"", "", "2001:db8::7", "app", "shop"}), "six");
  EXPECT_EQ(names.resolve({"", "", "192.0.2.1", "app", "shop"}), "app@shop");
  EXPECT_EQ(names.resolve({"", "", "", "app", "shop"}), "app@shop");
}

TEST(ApplicationNames, TakesTheListenersNameBeforeTheNetworks) {
  auto identity = with_defaults();
  identity.client_map = {network("10.20.4.0/24", "billing")};
  EXPECT_EQ(ApplicationNames{identity}.resolve({"vertx-pg-client", "door", "10.20.4.9", "u", "d"}),
            "door");
  identity.sources = {config::IdentitySource::client_map, config::IdentitySource::listener};
  EXPECT_EQ(ApplicationNames{identity}.resolve({"said", "door", "10.20.4.9", "u", "d"}), "billing");
  EXPECT_EQ(ApplicationNames{identity}.resolve({"said", "", "10.9.9.9", "u", "d"}), "");
}

TEST(ApplicationNames, FoldsTheReportedNameByTheOwnersPatternsFirst) {
  auto identity = with_defaults();
  identity.fold = {{"checkout-(blue|green)-[0-9]+", "shop"}};
  const ApplicationNames names{identity};
  EXPECT_EQ(names.resolve({"checkout-blue-7", "", "", "u", "d"}), "shop");
  EXPECT_EQ(names.resolve({"checkout-red-7", "", "", "u", "d"}), "checkout-red");
}

TEST(ApplicationNames, LeavesTheListenersNameAsItWasWritten) {
  const ApplicationNames names{with_defaults()};
  EXPECT_EQ(names.resolve({"", "door-7", "", "u", "d"}), "door-7");
}

}  // namespace
}  // namespace pgleash::proxy
