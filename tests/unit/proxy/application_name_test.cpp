#include "proxy/application_name.hpp"

#include <gtest/gtest.h>

namespace pgleash::proxy {
namespace {

using config::ApplicationNameSuffix;

const Endpoint v4{"10.0.0.7", 40312};
const Endpoint v6{"2001:db8::7", 40312};

TEST(ApplicationName, TellsTheServerTheClientsAddress) {
  EXPECT_EQ(name_with_suffix("checkout", v4, ApplicationNameSuffix::address),
            "checkout - 10.0.0.7");
  EXPECT_EQ(name_with_suffix("checkout", v4, ApplicationNameSuffix::address_port),
            "checkout - 10.0.0.7:40312");
  EXPECT_EQ(name_with_suffix("checkout", v6, ApplicationNameSuffix::address),
            "checkout - 2001:db8::7");
  EXPECT_EQ(name_with_suffix("checkout", v6, ApplicationNameSuffix::address_port),
            "checkout - [2001:db8::7]:40312");
  EXPECT_EQ(name_with_suffix("checkout", {}, ApplicationNameSuffix::address_port),
            "checkout - unix");
  EXPECT_EQ(name_with_suffix("", v4, ApplicationNameSuffix::address_port), "10.0.0.7:40312");
  EXPECT_EQ(name_with_suffix("as it is\xc3\xa9", v4, ApplicationNameSuffix::off),
            "as it is\xc3\xa9");
}

TEST(ApplicationName, IsFoundAgainInWhatWasSent) {
  for (const auto suffix : {ApplicationNameSuffix::address, ApplicationNameSuffix::address_port})
    for (const Endpoint& client : {v4, v6, Endpoint{}})
      for (const std::string name : {"", "checkout", "a - b", "unix"}) {
        const std::string sent = name_with_suffix(name, client, suffix);
        if (name == "unix" && client.address.empty()) continue;
        EXPECT_EQ(name_without_suffix(sent, client, suffix), name) << sent;
      }
  EXPECT_EQ(name_without_suffix("set later", v4, ApplicationNameSuffix::address), "set later");
}

TEST(ApplicationName, CutsTheNameAndNeverTheAddress) {
  for (std::size_t length = 0; length < 80; ++length) {
    const std::string name(length, 'n');
    const std::string made =
        name_with_suffix(name, {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535},
                         ApplicationNameSuffix::address_port);
    EXPECT_LE(made.size(), longest_application_name);
    EXPECT_TRUE(made.ends_with("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")) << made;
  }
  EXPECT_EQ(name_with_suffix(std::string(63, 'n'), v4, ApplicationNameSuffix::address),
            std::string(52, 'n') + " - 10.0.0.7");
}

TEST(ApplicationName, MakesOneByteOfEachThatTheServerWouldNotKeep) {
  // PostgreSQL 16 and later write four bytes for each of them, and then cut at 63.
  EXPECT_EQ(name_with_suffix("caf\xc3\xa9\n", v4, ApplicationNameSuffix::address),
            "caf??? - 10.0.0.7");
}

}  // namespace
}  // namespace pgleash::proxy
