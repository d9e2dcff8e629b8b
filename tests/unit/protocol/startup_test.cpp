#include "protocol/startup.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

namespace pgleash::protocol {
namespace {

using namespace std::string_literals;

constexpr std::uint32_t version(std::uint32_t major, std::uint32_t minor) {
  return major << 16U | minor;
}

std::string startup(std::string_view pairs, std::uint32_t protocol = version(3, 0)) {
  return wire::untyped(wire::int32(protocol) + std::string{pairs});
}

StartupPacket accepted(const std::string& message) {
  auto result = parse_first_message(wire::bytes(message));
  EXPECT_TRUE(result) << result.error().message;
  return std::get<StartupPacket>(*result);
}

ProtocolError refused(const std::string& message) {
  auto result = parse_first_message(wire::bytes(message));
  EXPECT_FALSE(result);
  return result ? ProtocolError{} : result.error();
}

TEST(Startup, ReadsWhatRulesNeedAndKeepsTheBytes) {
  const std::string packet = startup(
      "user\0ann\0database\0shop\0application_name\0web\0options\0-c geqo=off\0replication\0on\0\0"s,
      version(3, 2));
  const StartupPacket read = accepted(packet);
  EXPECT_EQ(read.major, 3);
  EXPECT_EQ(read.minor, 2);
  EXPECT_EQ(read.user, "ann");
  EXPECT_EQ(read.database, "shop");
  EXPECT_EQ(read.application_name, "web");
  EXPECT_TRUE(read.is_replication());
  EXPECT_EQ(read.raw, packet);
}

TEST(Startup, DatabaseDefaultsToTheUser) {
  EXPECT_EQ(accepted(startup("user\0ann\0\0"s)).database, "ann");
  EXPECT_EQ(accepted(startup("user\0ann\0database\0\0\0"s)).database, "ann");
}

TEST(Startup, TheLastOfARepeatedParameterCounts) {
  EXPECT_EQ(accepted(startup("user\0ann\0user\0bob\0\0"s)).user, "bob");
}

TEST(Startup, AnotherDatabaseTakesThePlaceOfAllThatWereGiven) {
  const std::string packet = startup(
      "database\0shop\0user\0ann\0options\0-c geqo=off\0database\0pgleash\0\0"s, version(3, 2));
  const std::string other = with_parameter(packet, "database", "watchroom");
  EXPECT_EQ(other,
            startup("user\0ann\0options\0-c geqo=off\0database\0watchroom\0\0"s, version(3, 2)));
  EXPECT_EQ(accepted(other).database, "watchroom");
  EXPECT_EQ(accepted(with_parameter(startup("user\0ann\0\0"s), "database", "w")).database, "w");
}

TEST(Startup, NamesAreCutAsTheServerCutsThem) {
  const std::string long_name(100, 'n');
  const auto read = accepted(startup("user\0"s + long_name + "\0\0"s));
  EXPECT_EQ(read.user, std::string(63, 'n'));
  EXPECT_EQ(read.database, std::string(63, 'n'));
  EXPECT_NE(read.raw.find(long_name), std::string::npos);
}

TEST(Startup, AnyMinorVersionAndProtocolOptionsPass) {
  EXPECT_EQ(
      accepted(startup("user\0ann\0_pq_.test_protocol_negotiation\0\0\0"s, version(3, 9999))).minor,
      9999);
}

TEST(Startup, OtherMajorVersionsAreRefusedInTheServersWords) {
  for (const std::uint32_t major : {0U, 1U, 2U, 4U}) {
    const auto error = refused(startup("user\0ann\0\0"s, version(major, 0)));
    EXPECT_EQ(error.sqlstate, "0A000");
    EXPECT_EQ(error.message, "unsupported frontend protocol " + std::to_string(major) +
                                 ".0: server supports 3.0 to 3.0");
  }
}

TEST(Startup, AUserIsRequired) {
  for (const std::string& pairs : {"\0"s, "user\0\0\0"s, "database\0shop\0\0"s}) {
    const auto error = refused(startup(pairs));
    EXPECT_EQ(error.sqlstate, "28000");
    EXPECT_EQ(error.message, "no PostgreSQL user name specified in startup packet");
  }
}

TEST(Startup, TheTerminatorMustBeTheLastByte) {
  for (const std::string& pairs :
       {"user\0ann\0"s, "user\0ann"s, "user\0"s, "user"s, ""s, "user\0ann\0\0x"s}) {
    const auto error = refused(startup(pairs));
    EXPECT_EQ(error.sqlstate, "08P01");
    EXPECT_EQ(error.message, "invalid startup packet layout: expected terminator as last byte");
  }
}

TEST(Startup, ParametersAreBounded) {
  std::string pairs = "user\0ann\0"s;
  for (std::size_t i = 1; i < max_startup_parameters; ++i) pairs += "a\0b\0"s;
  EXPECT_EQ(accepted(startup(pairs + '\0')).user, "ann");
  EXPECT_EQ(refused(startup(pairs + "a\0b\0\0"s)).sqlstate, "08P01");
}

TEST(Startup, EncryptionRequestsAreExactlyEightBytes) {
  const auto ssl = parse_first_message(wire::bytes("\0\0\0\x08\x04\xd2\x16\x2f"s));
  EXPECT_TRUE(std::holds_alternative<SslRequest>(*ssl));
  const auto gss = parse_first_message(wire::bytes("\0\0\0\x08\x04\xd2\x16\x30"s));
  EXPECT_TRUE(std::holds_alternative<GssEncRequest>(*gss));
  EXPECT_EQ(refused("\0\0\0\x09\x04\xd2\x16\x2fx"s).sqlstate, "");
  EXPECT_EQ(refused("\0\0\0\x09\x04\xd2\x16\x30x"s).sqlstate, "");
}

TEST(Startup, CancelRequestsCarrySecretsOfOneTo256Bytes) {
  const auto request = [](std::size_t size) {
    return wire::untyped(wire::int32(80'877'102) + wire::int32(42) + std::string(size, 'k'));
  };
  for (const std::size_t size : {1U, 4U, 32U, 256U}) {
    const auto read = parse_first_message(wire::bytes(request(size)));
    ASSERT_TRUE(read);
    const auto& key = std::get<CancelRequest>(*read).key;
    EXPECT_EQ(key.pid(), BackendPid{42});
    EXPECT_EQ(key.secret().size(), size);
  }
  EXPECT_EQ(refused(request(0)).sqlstate, "");
  EXPECT_EQ(refused(request(257)).sqlstate, "");
  EXPECT_EQ(refused(wire::untyped(wire::int32(80'877'102) + "abc")).sqlstate, "");
}

TEST(Startup, LengthsThatNoServerTakesAreErrors) {
  const auto length = [](std::string_view bytes) {
    return first_message_length(wire::bytes(bytes));
  };
  EXPECT_EQ(*length(wire::int32(8)), 8U);
  EXPECT_EQ(*length(wire::int32(10'004)), 10'004U);
  for (const std::string& bytes :
       {wire::int32(7), wire::int32(0), wire::int32(10'005), wire::int32(0xFFFFFFFF), "GET "s,
        "\x16\3\1\0"s, ""s, "\0\0\0"s}) {
    ASSERT_FALSE(length(bytes));
    EXPECT_EQ(length(bytes).error().sqlstate, "");
  }
}

TEST(Startup, EveryTruncationIsAnErrorAndNoCrash) {
  const std::string messages[] = {
      startup("user\0ann\0database\0shop\0\0"s),
      "\0\0\0\x08\x04\xd2\x16\x2f"s,
      wire::untyped(wire::int32(80'877'102) + wire::int32(42) + "abcd"),
  };
  for (const std::string& message : messages) {
    for (std::size_t size = 0; size < message.size(); ++size) {
      EXPECT_FALSE(parse_first_message(wire::bytes(std::string_view{message}.substr(0, size))));
    }
  }
  // With a length that fits what is left, the contents must be missed.
  const std::string whole = messages[0].substr(4);
  for (std::size_t size = 4; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_first_message(wire::bytes(wire::untyped(whole.substr(0, size))))) << size;
  }
}

TEST(Startup, ReplicationTakesEveryBooleanOfPostgreSQL) {
  const auto replication = [](std::string_view value) {
    StartupPacket packet;
    packet.replication = value;
    return packet.is_replication();
  };
  for (const char* yes : {"database", "true", "TRUE", "t", "tr", "yes", "y", "on", "ON", "1"}) {
    EXPECT_TRUE(replication(yes)) << yes;
  }
  for (const char* no :
       {"", "false", "f", "off", "of", "o", "no", "0", "2", "truely", "DATABASE", "11"}) {
    EXPECT_FALSE(replication(no)) << no;
  }
}

TEST(Startup, RefusalSpeaksTheClientsVersion) {
  const auto answer = [](const std::string& message) {
    return startup_refusal(wire::bytes(message), refused(message));
  };
  EXPECT_EQ(answer(startup("user\0ann\0\0"s, version(2, 0))),
            "EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.0\n\0"s);
  EXPECT_EQ(answer(startup("user\0ann\0\0"s, version(4, 0))).substr(5, 13), "SFATAL\0VFATAL"s);
  EXPECT_EQ(answer(startup("\0"s)).substr(5, 13), "SFATAL\0VFATAL"s);
  EXPECT_EQ(answer("\0\0\0\x09\x04\xd2\x16\x2fx"s), "");
}

}  // namespace
}  // namespace pgleash::protocol
