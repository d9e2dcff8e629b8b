#include "config/network.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <string>
#include <variant>

namespace pgleash::config {
namespace {

struct Address6 {
  std::array<std::uint8_t, 16> bytes{};
  bool v6 = false;
};

Address6 address(const std::string& text) {
  Address6 result;
  result.v6 = text.find(':') != std::string::npos;
  EXPECT_EQ(inet_pton(result.v6 ? AF_INET6 : AF_INET, text.c_str(), result.bytes.data()), 1)
      << text;
  return result;
}

bool network_contains(const char* network, const char* text) {
  auto parsed = parse_network(network);
  if (const auto* fault = std::get_if<Fault>(&parsed)) {
    ADD_FAILURE() << network << ": " << fault->message;
    return false;
  }
  const Address6 peer = address(text);
  return contains(std::get<Network>(parsed), peer.bytes, peer.v6);
}

TEST(Network, ContainsTheAddressesUpToTheEdgesOfItsPrefix) {
  struct {
    const char* network;
    const char* inside[2];
    const char* outside[2];
  } const table[] = {
      {"10.20.0.0/16", {"10.20.0.0", "10.20.255.255"}, {"10.19.255.255", "10.21.0.0"}},
      {"10.0.0.0/9", {"10.0.0.0", "10.127.255.255"}, {"10.128.0.0", "9.255.255.255"}},
      {"192.168.1.128/25", {"192.168.1.128", "192.168.1.255"}, {"192.168.1.127", "192.168.2.0"}},
      {"10.0.0.1/32", {"10.0.0.1", "::ffff:10.0.0.1"}, {"10.0.0.0", "10.0.0.2"}},
      {"2001:db8::/33", {"2001:db8::", "2001:db8:7fff:ffff::1"}, {"2001:db8:8000::", "2001:db7::"}},
      {"::1/128", {"::1", "0:0::1"}, {"::2", "::"}},
      {"fe80::/10", {"fe80::1", "febf::1"}, {"fec0::", "fe7f::1"}},
  };
  for (const auto& row : table) {
    for (const char* text : row.inside)
      EXPECT_TRUE(network_contains(row.network, text)) << row.network << ' ' << text;
    for (const char* text : row.outside)
      EXPECT_FALSE(network_contains(row.network, text)) << row.network << ' ' << text;
  }
}

TEST(Network, OfPrefixZeroHasAllOfItsFamilyAndNoneOfTheOther) {
  EXPECT_TRUE(network_contains("0.0.0.0/0", "255.255.255.255"));
  EXPECT_TRUE(network_contains("::/0", "2001:db8::1"));
  EXPECT_FALSE(network_contains("0.0.0.0/0", "2001:db8::1"));
  EXPECT_FALSE(network_contains("::/0", "10.0.0.1"));
}

TEST(Network, TakesAMappedAddressForTheIPv4AddressItIs) {
  EXPECT_TRUE(network_contains("10.20.0.0/16", "::ffff:10.20.3.4"));
  EXPECT_FALSE(network_contains("10.20.0.0/16", "::ffff:10.21.3.4"));
  EXPECT_FALSE(network_contains("::/0", "::ffff:10.20.3.4"));
}

TEST(Network, WithBitsBeyondItsPrefixNamesTheRightOne) {
  const std::pair<const char*, const char*> table[] = {
      {"10.20.3.4/16", "\"10.20.0.0/16\""},
      {"10.20.3.255/31", "\"10.20.3.254/31\""},
      {"1.2.3.4/0", "\"0.0.0.0/0\""},
      {"2001:db8::1/32", "\"2001:db8::/32\""},
      {"::ffff:10.0.0.0/104", "\"10.0.0.0/8\""},
      {"2001:db8::1", "\"2001:db8::1/128\""},
  };
  for (const auto& [text, hint] : table) {
    const auto parsed = parse_network(text);
    ASSERT_TRUE(std::holds_alternative<Fault>(parsed)) << text;
    EXPECT_NE(std::get<Fault>(parsed).hint.find(hint), std::string::npos)
        << std::get<Fault>(parsed).hint;
  }
}

TEST(Network, ThatIsNoneIsRefused) {
  for (const char* text : {"", "/", "/8", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8 ",
                           " 10.0.0.0/8", "10.0.0.0/8/8", "10.0.0.0/256", "10.0.0.0/255.0.0.0",
                           "::/129", "g::/8", "[::]/0", "localhost/8", "010.0.0.0/8"}) {
    EXPECT_TRUE(std::holds_alternative<Fault>(parse_network(text))) << text;
  }
  EXPECT_TRUE(std::holds_alternative<Fault>(parse_network(std::string_view("10.0.0.0\0/8", 11))));
}

}  // namespace
}  // namespace pgleash::config
