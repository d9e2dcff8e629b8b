#include "protocol/messages.hpp"

#include "protocol/wire_reader.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

#include <list>
#include <string>

namespace pgleash::protocol {
namespace {

using namespace std::string_literals;

/// The body as the decoders take it; it lives as long as the views into it may be looked at.
Bytes bytes(std::string body) {
  static std::list<std::string> kept;
  return wire::bytes(kept.emplace_back(std::move(body)));
}

/// Calls `read` with each proper beginning of `body`.
template <class Read>
void for_each_truncation(std::string_view body, Read read) {
  for (std::size_t size = 0; size < body.size(); ++size) read(std::string{body.substr(0, size)});
}

TEST(WireReader, ReadsFieldsInOrderAndStopsAtTheEnd) {
  const std::string body = "x\0\0\1\2ab\0c"s;
  WireReader reader{bytes(body)};
  EXPECT_EQ(reader.byte(), 'x');
  EXPECT_EQ(reader.uint32(), 258U);
  EXPECT_EQ(reader.string(), "ab");
  EXPECT_EQ(reader.string(), std::nullopt);
  EXPECT_EQ(reader.uint32(), std::nullopt);
  EXPECT_EQ(reader.offset(), 8U);
  EXPECT_EQ(as_text(reader.rest()), "c");
  EXPECT_EQ(reader.byte(), 'c');
  EXPECT_EQ(reader.byte(), std::nullopt);
  EXPECT_TRUE(reader.at_end());
}

TEST(Messages, Authentication) {
  EXPECT_EQ(decode_authentication(bytes("\0\0\0\0"s)), Authentication::ok);
  EXPECT_EQ(decode_authentication(bytes("\0\0\0\x0cproof"s)), Authentication::sasl_final);
  for_each_truncation(
      "\0\0\0\5"s, [](const std::string& cut) { EXPECT_FALSE(decode_authentication(bytes(cut))); });
}

TEST(Messages, BackendKeyDataHoldsOneTo256BytesOfSecret) {
  const auto key = decode_backend_key(bytes("\0\0\1\0secr"s));
  EXPECT_EQ(key->pid, BackendPid{256});
  EXPECT_EQ(as_text(key->secret), "secr");
  EXPECT_EQ(decode_backend_key(bytes(std::string(4 + 256, 'k')))->secret.size(), 256U);
  EXPECT_FALSE(decode_backend_key(bytes(std::string(4 + 257, 'k'))));
  for_each_truncation("\0\0\1\0s"s,
                      [](const std::string& cut) { EXPECT_FALSE(decode_backend_key(bytes(cut))); });
}

TEST(Messages, ParameterStatus) {
  const std::string body = "TimeZone\0Europe/Paris\0"s;
  const auto parameter = decode_parameter_status(bytes(body));
  EXPECT_EQ(parameter->name, "TimeZone");
  EXPECT_EQ(parameter->value, "Europe/Paris");
  for_each_truncation(
      body, [](const std::string& cut) { EXPECT_FALSE(decode_parameter_status(bytes(cut))); });
}

TEST(Messages, NegotiateProtocolVersionWithAndWithoutTheMajor) {
  EXPECT_EQ(decode_negotiate_version(bytes("\0\3\0\2"s)), 2);
  EXPECT_EQ(decode_negotiate_version(bytes("\0\0\0\2\0\0\0\1"s)), 2);
  for_each_truncation("\0\3\0\2"s, [](const std::string& cut) {
    EXPECT_FALSE(decode_negotiate_version(bytes(cut)));
  });
}

TEST(Messages, ErrorResponsePrefersTheUntranslatedSeverity) {
  const auto error = decode_error(bytes("SFATALE\0VFATAL\0C57P01\0Mtext\0\0"s));
  EXPECT_EQ(error.severity, "FATAL");
  EXPECT_EQ(error.sqlstate, "57P01");
  EXPECT_TRUE(error.fatal());
  EXPECT_EQ(decode_error(bytes("SPANIC\0CXX000\0\0"s)).severity, "PANIC");
  EXPECT_FALSE(decode_error(bytes("SERROR\0VERROR\0\0"s)).fatal());
}

TEST(Messages, ErrorResponseToleratesMissingAndCutFields) {
  EXPECT_EQ(decode_error(bytes("SERROR\0VERROR\0Mno state\0\0"s)).sqlstate, "");
  EXPECT_EQ(decode_error({}).severity, "");
  for_each_truncation("SERROR\0VERROR\0C22012\0Mdivision by zero\0\0"s, [](const std::string& cut) {
    const auto error = decode_error(bytes(cut));
    EXPECT_TRUE(error.severity.empty() || error.severity == "ERROR");
    EXPECT_TRUE(error.sqlstate.empty() || error.sqlstate == "22012");
  });
}

TEST(Messages, CommandTagIsComparedWhole) {
  EXPECT_TRUE(is_command_tag(bytes("COMMIT\0"s), "COMMIT"));
  EXPECT_TRUE(is_command_tag(bytes("COMMIT"s), "COMMIT")) << "without its end";
  EXPECT_FALSE(is_command_tag(bytes("COMMIT PREPARED\0"s), "COMMIT"));
  EXPECT_FALSE(is_command_tag(bytes("COMM"s), "COMMIT"));
  EXPECT_FALSE(is_command_tag({}, "COMMIT"));
}

TEST(Messages, ReadyForQueryHasThreeStatuses) {
  EXPECT_EQ(decode_ready(bytes("I"s)), TransactionStatus::idle);
  EXPECT_EQ(decode_ready(bytes("T"s)), TransactionStatus::in_transaction);
  EXPECT_EQ(decode_ready(bytes("E"s)), TransactionStatus::failed);
  EXPECT_FALSE(decode_ready(bytes("X"s)));
  EXPECT_FALSE(decode_ready({}));
}

TEST(Messages, QueryTextIsCutAt1024Bytes) {
  const auto query = [](const std::string& body) {
    return decode_query(bytes(body.substr(0, read_limit::query)));
  };
  EXPECT_EQ(query("select 1\0"s).text, "select 1");
  EXPECT_FALSE(query("select 1\0"s).truncated);
  EXPECT_FALSE(query(std::string(1024, 'q') + '\0').truncated);
  const std::string too_long = std::string(1025, 'q') + '\0';
  EXPECT_EQ(query(too_long).text.size(), 1024U);
  EXPECT_TRUE(query(too_long).truncated);
  EXPECT_TRUE(query("no end"s).truncated);
}

TEST(Messages, ParseHasNameAndText) {
  const std::string body = "stmt\0select $1\0\0\0"s;
  const auto statement = decode_parse(bytes(body));
  EXPECT_EQ(statement->name, "stmt");
  EXPECT_EQ(statement->text, "select $1");
  EXPECT_FALSE(statement->truncated);
  EXPECT_FALSE(decode_parse(bytes("stmt"s)));
  EXPECT_FALSE(decode_parse(bytes(std::string(64, 'n') + "\0select 1\0"s)));
  const auto longest = decode_parse(bytes(std::string(63, 'n') + '\0' + std::string(1025, 'q')));
  EXPECT_EQ(longest->text.size(), 1024U);
  EXPECT_TRUE(longest->truncated);
  const std::string same_cut = '\0' + std::string(1088, 'q');
  EXPECT_EQ(decode_parse(bytes(same_cut))->text.size(), 1024U);
}

TEST(Messages, BindExecuteAndCloseHaveTheirNames) {
  const auto names = decode_bind(bytes("portal\0stmt\0\0\0\0"s));
  EXPECT_EQ(names->portal, "portal");
  EXPECT_EQ(names->statement, "stmt");
  for_each_truncation("portal\0stmt\0"s,
                      [](const std::string& cut) { EXPECT_FALSE(decode_bind(bytes(cut))); });
  EXPECT_EQ(decode_execute(bytes("portal\0\0\0\0\0"s)), "portal");
  for_each_truncation("portal\0"s,
                      [](const std::string& cut) { EXPECT_FALSE(decode_execute(bytes(cut))); });
  const auto target = decode_close(bytes("Sstmt\0"s));
  EXPECT_EQ(target->kind, 'S');
  EXPECT_EQ(target->name, "stmt");
  for_each_truncation("Sstmt\0"s,
                      [](const std::string& cut) { EXPECT_FALSE(decode_close(bytes(cut))); });
}

}  // namespace
}  // namespace pgleash::protocol
