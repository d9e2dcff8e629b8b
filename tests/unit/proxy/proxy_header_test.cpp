#include "proxy/proxy_header.hpp"

#include "proxy/flood_gate.hpp"
#include "proxy/socket.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <span>
#include <string>
#include <vector>

namespace pgleash::proxy {
namespace {

using namespace std::chrono_literals;
using Kind = ProxyHeader::Kind;
using testing::HasSubstr;

protocol::Bytes bytes(const std::string& text) {
  return std::as_bytes(std::span{text});
}

const std::string signature{"\r\n\r\n\0\r\nQUIT\n", 12};

std::string v2(int version_command, int family, const std::string& body) {
  return signature + static_cast<char>(version_command) + static_cast<char>(family) +
         static_cast<char>(body.size() >> 8U) + static_cast<char>(body.size() & 0xFFU) + body;
}
/// 203.0.113.7:40312 to 10.0.0.1:5432.
const std::string v4_body{"\xCB\x00\x71\x07\x0A\x00\x00\x01\x9D\x78\x15\x38", 12};
std::string v6_body() {
  std::string body(36, '\0');
  ::inet_pton(AF_INET6, "2001:db8::7", body.data());
  ::inet_pton(AF_INET6, "2001:db8::1", body.data() + 16);
  body[32] = '\x9D';
  body[33] = '\x78';
  return body;
}
const std::string tlv{"\x04\x00\x03zzz", 6};

struct Good {
  std::string header;
  Kind kind;
  std::string address;
};

std::vector<Good> good_headers() {
  return {
      {"PROXY TCP4 203.0.113.7 10.0.0.1 40312 5432\r\n", Kind::address, "203.0.113.7"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 40312 65535\r\n", Kind::address,
       "255.255.255.255"},
      {"PROXY TCP6 2001:db8::7 2001:db8::1 40312 5432\r\n", Kind::address, "2001:db8::7"},
      {"PROXY TCP6 ::ffff:203.0.113.7 ::1 40312 0\r\n", Kind::address, "203.0.113.7"},
      {"PROXY UNKNOWN\r\n", Kind::unknown, ""},
      {"PROXY UNKNOWN ffff::ffff anything at all\r\n", Kind::unknown, ""},
      {"PROXY UNKNOWN " + std::string(91, 'f') + "\r\n", Kind::unknown, ""},  // 107 bytes
      {v2(0x21, 0x11, v4_body), Kind::address, "203.0.113.7"},
      {v2(0x21, 0x11, v4_body + tlv), Kind::address, "203.0.113.7"},
      {v2(0x21, 0x11, v4_body + std::string(max_proxy_header - 28, 'x')), Kind::address,
       "203.0.113.7"},
      {v2(0x21, 0x21, v6_body()), Kind::address, "2001:db8::7"},
      {v2(0x21, 0x21, v6_body() + tlv), Kind::address, "2001:db8::7"},
      {v2(0x21, 0x00, ""), Kind::unknown, ""},
      {v2(0x21, 0x00, tlv), Kind::unknown, ""},
      {v2(0x21, 0x12, v4_body), Kind::unknown, ""},
      {v2(0x21, 0x22, v6_body()), Kind::unknown, ""},
      {v2(0x21, 0x31, std::string(216, 'u')), Kind::unknown, ""},
      {v2(0x21, 0x32, std::string(216, 'u')), Kind::unknown, ""},
      {v2(0x20, 0x00, ""), Kind::local, ""},
      {v2(0x20, 0x11, v4_body), Kind::local, ""},
      {v2(0x20, 0x11, "x"), Kind::local, ""},
  };
}

TEST(ProxyHeader, SaysWhomTheBalancerSpeaksFor) {
  for (const Good& good : good_headers()) {
    const auto parsed = parse_proxy_header(bytes(good.header));
    ASSERT_TRUE(parsed) << testing::PrintToString(good.header) << parsed.error().message;
    EXPECT_EQ(parsed->kind, good.kind) << testing::PrintToString(good.header);
    if (good.kind != Kind::address) continue;
    EXPECT_EQ(to_endpoint(parsed->client), (Endpoint{good.address, 40312}));
  }
}

/// Cut at each offset it asks for more, never for more than there is, and what it asks for leads to
/// the end exactly.
TEST(ProxyHeader, NeverAsksForAByteBehindIt) {
  for (const Good& good : good_headers()) {
    for (std::size_t cut = 0; cut < good.header.size(); ++cut) {
      const auto missing = proxy_header_missing(bytes(good.header.substr(0, cut)));
      ASSERT_TRUE(missing) << testing::PrintToString(good.header) << " at " << cut;
      EXPECT_GT(*missing, 0U) << testing::PrintToString(good.header) << " at " << cut;
      EXPECT_LE(cut + *missing, good.header.size())
          << testing::PrintToString(good.header) << " at " << cut;
      EXPECT_FALSE(parse_proxy_header(bytes(good.header.substr(0, cut))));
    }
    std::size_t have = 0;
    unsigned reads = 0;
    for (;;) {
      const auto missing = proxy_header_missing(bytes(good.header.substr(0, have)));
      ASSERT_TRUE(missing);
      if (*missing == 0) break;
      have += *missing;
      ++reads;
    }
    EXPECT_EQ(have, good.header.size());
    EXPECT_LE(reads, 55U);
    EXPECT_FALSE(parse_proxy_header(bytes(good.header + "x"))) << "what is behind is not its own";
  }
}

TEST(ProxyHeader, RefusesWhatIsNone) {
  const std::vector<std::string> none = {
      std::string{"\x00\x00\x00\x08\x04\xd2\x16\x2f", 8},  // SSLRequest
      std::string{"\x00\x00\x00\x21\x00\x03\x00\x00", 8},  // a startup packet
      "\x16\x03\x01",
      "GET / HTTP/1.1\r\n",
      "proxy TCP4 ",
      "QROXY",
      "\r\n\r\n\r",
      std::string{"\r\n\r\n\0\r\nQUIT\r", 12},
  };
  for (const std::string& text : none)
    EXPECT_FALSE(proxy_header_missing(bytes(text))) << testing::PrintToString(text);
  // A startup packet is known as none before its end: its client must not wait for the timeout.
  EXPECT_FALSE(proxy_header_missing(bytes(none[0].substr(0, 1))));
}

TEST(ProxyHeader, RefusesALineThatIsNotQuiteOne) {
  for (const std::string line : {
           "PROXY TCP4 203.0.113.7 10.0.0.1 40312\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 40312 5432 1\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 40312 5432 \r\n",
           "PROXY TCP4  203.0.113.7 10.0.0.1 40312 5432\r\n",
           "PROXY TCP4 203.0.113.07 10.0.0.1 40312 5432\r\n",
           "PROXY TCP4 203.0.113.256 10.0.0.1 40312 5432\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0 40312 5432\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 65536 5432\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 040312 5432\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 -1 5432\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 +1 5432\r\n",
           "PROXY TCP4 203.0.113.7 10.0.0.1 40312 5432x\r\n",
           "PROXY TCP4 2001:db8::7 2001:db8::1 40312 5432\r\n",
           "PROXY TCP6 203.0.113.7 10.0.0.1 40312 5432\r\n",
           "PROXY TCP6 fe80::1%eth0 ::1 40312 5432\r\n",
           "PROXY TCP5 203.0.113.7 10.0.0.1 40312 5432\r\n",
           "PROXY UDP4 203.0.113.7 10.0.0.1 40312 5432\r\n",
           "PROXY UNKNOWNx\r\n",
           "PROXY         \r\n",
           "PROXY TCP4\r\n",
       })
    EXPECT_FALSE(parse_proxy_header(bytes(line))) << line;
  EXPECT_FALSE(parse_proxy_header(
      bytes(std::string{"PROXY TCP4 203.0.113.7\0x 10.0.0.1 40312 5432\r\n", 47})));
}

TEST(ProxyHeader, RefusesALineOver107Bytes) {
  EXPECT_FALSE(proxy_header_missing(bytes("PROXY UNKNOWN " + std::string(92, 'f') + "\r\n")));
  const std::string endless = "PROXY UNKNOWN " + std::string(200, 'f');
  std::size_t have = 0;
  for (;;) {
    const auto missing = proxy_header_missing(bytes(endless.substr(0, have)));
    if (!missing) break;
    ASSERT_GT(*missing, 0U);
    have += *missing;
  }
  EXPECT_LE(have, 107U) << "no more is ever read";
}

TEST(ProxyHeader, RefusesHostileLengths) {
  for (std::size_t length = 0; length <= 0xFFFF; ++length) {
    std::string head = v2(0x21, 0x11, "");
    head[14] = static_cast<char>(length >> 8U);
    head[15] = static_cast<char>(length & 0xFFU);
    const auto missing = proxy_header_missing(bytes(head));
    ASSERT_EQ(bool(missing), 16 + length <= max_proxy_header) << length;
    if (missing) {
      EXPECT_EQ(*missing, length);
    }
  }
  // Each family with each length up to what it needs.
  const auto needs = [](int family) -> std::size_t {
    if (family == 0) return 0;
    return family >> 4U == 1 ? 12 : family >> 4U == 2 ? 36 : 216;
  };
  for (const int family : {0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32})
    for (std::size_t length = 0; length <= 217; ++length)
      EXPECT_EQ(bool(parse_proxy_header(bytes(v2(0x21, family, std::string(length, 'a'))))),
                length >= needs(family))
          << family << ' ' << length;
}

TEST(ProxyHeader, RefusesEveryOtherVersionCommandAndFamily) {
  for (int value = 0; value < 256; ++value) {
    const bool known = value == 0x20 || value == 0x21;
    EXPECT_EQ(bool(parse_proxy_header(bytes(v2(value, 0x11, v4_body)))), known) << value;
    const bool family = value == 0x00 || value == 0x11 || value == 0x12 || value == 0x21 ||
                        value == 0x22 || value == 0x31 || value == 0x32;
    EXPECT_EQ(bool(parse_proxy_header(bytes(v2(0x21, value, std::string(216, 'a'))))), family)
        << value;
  }
}

// ---------------------------------------------------------------- whom it makes of it

sockaddr_storage address(const std::string& text) {
  sockaddr_storage result{};
  if (text.find(':') == std::string::npos) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    ::inet_pton(AF_INET, text.c_str(), &v4.sin_addr);
    std::memcpy(&result, &v4, sizeof v4);
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    ::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr);
    std::memcpy(&result, &v6, sizeof v6);
  }
  return result;
}

std::string origin(const std::string& named, const std::string& peer, Kind kind = Kind::address) {
  const Origin made = origin_of({kind, address(named)}, address(peer));
  return to_endpoint(made.address).address + (made.local ? " local" : "");
}

TEST(ProxyOrigin, IsTheAddressThatTheBalancerNames) {
  EXPECT_EQ(origin("203.0.113.7", "10.20.0.5"), "203.0.113.7");
  EXPECT_EQ(origin("203.0.113.7", "127.0.0.1"), "203.0.113.7") << "a balancer on this host";
  EXPECT_EQ(origin("127.0.0.1", "127.0.0.1"), "127.0.0.1 local");
}

TEST(ProxyOrigin, IsNeverLocalOnARemoteBalancersWord) {
  for (const std::string loopback : {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"})
    EXPECT_EQ(origin(loopback, "10.20.0.5"), "10.20.0.5") << loopback;
  EXPECT_EQ(origin("::1", "2001:db8::5"), "2001:db8::5");
}

TEST(ProxyOrigin, IsTheBalancerWhereItNamesNobody) {
  EXPECT_EQ(origin("0.0.0.0", "10.20.0.5", Kind::local), "10.20.0.5");
  EXPECT_EQ(origin("0.0.0.0", "10.20.0.5", Kind::unknown), "10.20.0.5");
  EXPECT_EQ(origin("0.0.0.0", "127.0.0.1", Kind::local), "127.0.0.1 local");
  EXPECT_EQ(origin("0.0.0.0", "127.0.0.1", Kind::unknown), "127.0.0.1")
      << "somebody, from anywhere";
}

TEST(FloodGate, TellsOfTheFirstAndThenOnceAMinuteUntilItIsQuiet) {
  FloodGate gate;
  const Instant begin{1h};
  EXPECT_TRUE(gate.tell(begin));
  unsigned told = 0;
  for (auto at = 100ms; at < 61s; at += 100ms)
    if (gate.tell(begin + at)) ++told;
  EXPECT_EQ(told, 1U);
  EXPECT_FALSE(gate.tell(begin + 70s));
  EXPECT_TRUE(gate.tell(begin + 80s)) << "after ten quiet seconds";
}

}  // namespace
}  // namespace pgleash::proxy
