#include "tests/unit/protocol/wire.hpp"

#include "app/console/encode.hpp"
#include "app/console/inbox.hpp"
#include "app/console/pending_kills.hpp"

#include <gtest/gtest.h>

namespace pgleash::console {
namespace {

namespace wire = protocol::wire;
using namespace std::string_literals;
using watchdog::ServerTime;

std::string row(Cell cell, Type type, Format format) {
  std::string out;
  put_data_row(out, {std::move(cell)}, std::vector<Column>{{"x", type}}, {format});
  return out;
}
std::string field(std::string_view bytes) {
  return wire::message(
      'D', "\0\1"s + wire::int32(static_cast<std::uint32_t>(bytes.size())) + std::string{bytes});
}

TEST(ConsoleEncode, DescribesColumnsWithTypesAndFormats) {
  std::string out;
  put_row_description(out, std::vector<Column>{{"pid", Type::int4}}, {Format::binary});
  EXPECT_EQ(out, wire::message('T', "\0\1pid\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\1"s));
}

TEST(ConsoleEncode, EachTypeHasABinaryForm) {
  using enum Format;
  EXPECT_EQ(row(std::int64_t{-2}, Type::int4, binary), field("\xff\xff\xff\xfe"s));
  EXPECT_EQ(row(std::int64_t{258}, Type::int8, binary), field("\0\0\0\0\0\0\1\2"s));
  EXPECT_EQ(row(std::int64_t{4294967295}, Type::xid, binary), field("\xff\xff\xff\xff"s));
  EXPECT_EQ(row(true, Type::boolean, binary), field("\1"s));
  EXPECT_EQ(row(1.0, Type::float8, binary), field("\x3f\xf0\0\0\0\0\0\0"s));
  EXPECT_EQ(row(ServerTime{1}, Type::timestamp, binary), field("\0\0\0\0\0\0\0\1"s));
  EXPECT_EQ(row(Span{1}, Type::interval, binary), field("\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0"s));
  EXPECT_EQ(row("10.0.0.7"s, Type::inet, binary), field("\2\x20\0\4\x0a\0\0\7"s));
  EXPECT_EQ(row("::1"s, Type::inet, binary), field("\3\x80\0\x10"s + std::string(15, '\0') + '\1'));
  EXPECT_EQ(row("web"s, Type::name, binary), field("web"));
  EXPECT_EQ(row(Null{}, Type::int4, binary), wire::message('D', "\0\1\xff\xff\xff\xff"s));
  EXPECT_EQ(row(std::int64_t{7}, Type::int4, text), field("7"));
}

TEST(ConsoleEncode, ReadsParametersInBothFormats) {
  EXPECT_EQ(*parameter_text("48", 23, Format::text), "48");
  EXPECT_EQ(*parameter_text("\0\0\0\x30"s, 23, Format::binary), "48");
  EXPECT_EQ(*parameter_text("\xff\xff"s, 21, Format::binary), "-1");
  EXPECT_EQ(*parameter_text("\0\0\0\0\0\0\1\0"s, 20, Format::binary), "256");
  EXPECT_EQ(*parameter_text("idle", 25, Format::binary), "idle");
  EXPECT_EQ(parameter_text("\0"s, 23, Format::binary).error().sqlstate, "22P03");
  EXPECT_EQ(parameter_text(std::string(20, 'x'), 1186, Format::binary).error().sqlstate, "22P03");
  EXPECT_EQ(parameter_text("x", 3802, Format::binary).error().sqlstate, "0A000");
}

TEST(ConsoleEncode, AnErrorHasPositionAndHintAndNoForgedFields) {
  std::string out;
  put_error(out, {"42703", "no\0Cfield"s, {}, "a hint", 7});
  EXPECT_EQ(out, wire::message('E', "SERROR\0VERROR\0C42703\0MnoCfield\0Ha hint\0P7\0\0"s));
}

TEST(ConsoleInbox, CutsMessagesHoweverTheyArrive) {
  const std::string all = wire::query("show sessions") + wire::sync() + wire::parse("select 1");
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    Inbox inbox;
    std::string seen;
    for (const std::string& piece : {all.substr(0, cut), all.substr(cut)}) {
      inbox.add(piece);
      while (const auto message = inbox.next()) seen += wire::message(message->type, message->body);
    }
    EXPECT_EQ(seen, all) << cut;
  }
}

TEST(ConsoleInbox, ALengthThatCannotBeBreaksIt) {
  for (const std::string& bad : {"Q\0\0\0\3"s, "Q\x7f\xff\xff\xff"s, "Q\0\1\0\1"s}) {
    Inbox inbox;
    inbox.add(bad);
    EXPECT_FALSE(inbox.next());
    EXPECT_TRUE(inbox.broken());
    inbox.add(wire::sync());
    EXPECT_FALSE(inbox.next()) << "nothing behind it can be read";
  }
}

TEST(PendingKills, ATokenIsGoodOnceForWhoGotIt) {
  PendingKills kills;
  const Instant now{};
  PendingKills::Batch batch;
  batch.token = "T";
  batch.user = "alice";
  batch.server = "main";
  batch.until = now + PendingKills::good_for;
  kills.add(batch, now);
  EXPECT_FALSE(kills.take("T", "bob", "main", now));
  EXPECT_FALSE(kills.take("T", "alice", "other", now));
  EXPECT_FALSE(kills.take("X", "alice", "main", now));
  EXPECT_TRUE(kills.take("T", "alice", "main", now));
  EXPECT_FALSE(kills.take("T", "alice", "main", now));
}

TEST(PendingKills, ATokenGetsOld) {
  PendingKills kills;
  const Instant now{};
  PendingKills::Batch batch;
  batch.token = "T";
  batch.until = now + PendingKills::good_for;
  kills.add(batch, now);
  EXPECT_FALSE(kills.take("T", "", "", now + PendingKills::good_for));
}

TEST(PendingKills, TokensDiffer) {
  EXPECT_NE(fresh_token(), fresh_token());
  EXPECT_EQ(fresh_token().size(), 16U);
}

}  // namespace
}  // namespace pgleash::console
