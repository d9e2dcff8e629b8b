#include "watchdog/own_connections.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace pgleash::watchdog {
namespace {

using protocol::BackendPid;

ActivityRow row(std::string name, BackendPid pid, std::string address = "10.0.0.5") {
  ActivityRow made;
  made.backend.pid = pid;
  made.application_name = std::move(name);
  made.client_addr = std::move(address);
  return made;
}

constexpr std::array ours{BackendPid{7}, BackendPid{8}};

TEST(InstanceMark, IsInANameThatPostgresqlShowsWhole) {
  EXPECT_EQ(InstanceMark{0x3f9a01bc}.application_name(), "pgleash 3f9a01bc");
  EXPECT_EQ(InstanceMark{1}.application_name(), "pgleash 00000001");
  EXPECT_EQ(InstanceMark{0xffffffff}.application_name().size(), 16U);
}

TEST(InstanceMark, IsNoSubcommandsName) {
  for (const char* name : {"pgleash watch", "pgleash record", "pgleash check"})
    EXPECT_TRUE(is_name_of_a_subcommand(name)) << name;
  for (const char* name : {"", "pgleash", "pgleash 3f9a01bc", "pgleash watch2", "Pgleash watch"})
    EXPECT_FALSE(is_name_of_a_subcommand(name)) << name;
}

class OwnConnectionsTest : public testing::Test {
 protected:
  OwnConnections own{"pgleash 3f9a01bc"};
};

TEST_F(OwnConnectionsTest, AreKnownByPidAndName) {
  EXPECT_TRUE(own.knows(row("pgleash 3f9a01bc", BackendPid{7}), ours));
  EXPECT_TRUE(own.knows(row("pgleash 3f9a01bc", BackendPid{8}), ours));
  EXPECT_FALSE(own.knows(row("pgleash 3f9a01bc", BackendPid{9}), ours)) << "the name alone";
  EXPECT_FALSE(own.knows(row("checkout", BackendPid{7}), ours)) << "a pid that was used again";
}

TEST_F(OwnConnectionsTest, ByNameAloneOnlyWhereThoseComeFromThatAreKnownByPid) {
  EXPECT_FALSE(own.bears_our_name(row("pgleash 3f9a01bc", BackendPid{9}))) << "none is known yet";
  ASSERT_TRUE(own.knows(row("pgleash 3f9a01bc", BackendPid{7}), ours));
  EXPECT_TRUE(own.bears_our_name(row("pgleash 3f9a01bc", BackendPid{9})));
  EXPECT_FALSE(own.bears_our_name(row("pgleash 3f9a01bc", BackendPid{9}, "10.0.0.6")));
  EXPECT_FALSE(own.bears_our_name(row("pgleash 3f9a01bc", BackendPid{9}, "")));
  EXPECT_FALSE(own.bears_our_name(row("pgleash 00000000", BackendPid{9})));
  EXPECT_FALSE(own.bears_our_name(row("pgleash", BackendPid{9})));
}

TEST_F(OwnConnectionsTest, AStrangersClaimMakesNoAddressOurs) {
  EXPECT_FALSE(own.knows(row("pgleash 3f9a01bc", BackendPid{9}, "10.0.0.6"), ours));
  EXPECT_FALSE(own.knows(row("pgleash", BackendPid{7}, "10.0.0.6"), ours));
  EXPECT_FALSE(own.bears_our_name(row("pgleash 3f9a01bc", BackendPid{9}, "10.0.0.6")));
}

}  // namespace
}  // namespace pgleash::watchdog
