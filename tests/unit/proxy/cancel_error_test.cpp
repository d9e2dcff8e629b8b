#include "proxy/cancel_error.hpp"

#include "protocol/encode.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

namespace pgleash::proxy {
namespace {

std::string error(std::string_view severity, std::string_view sqlstate) {
  return protocol::error_response({.severity = severity,
                                   .sqlstate = sqlstate,
                                   .message = "canceling statement due to user request",
                                   .detail = {},
                                   .hint = {}});
}
std::string message(char type, std::string_view body) {
  std::string all{type, '\0', '\0', '\0', static_cast<char>(body.size() + 4)};
  return all.append(body);
}
protocol::Bytes bytes(const std::string& text) {
  return std::as_bytes(std::span{text});
}

const ErrorNotice notice{"57014",
                         "canceling statement: running for 2 s (pgleash rule 'slow', limit 1 s)",
                         "Incident 1.", ""};
const std::string ours = cancel_error(notice);
const std::string ready = message('Z', "I");
const std::string row = message('D', std::string_view("\0\1\0\0\0\1x", 7));

/// What the client has of `chunks`.
struct Client {
  CancelWords words{notice};
  std::string got;
  void feed(const std::string& chunk, std::optional<std::size_t> left = 0) {
    std::string out = "of the chunk before";
    const protocol::Bytes onward = words.feed(bytes(chunk), left, out);
    got.append(reinterpret_cast<const char*>(onward.data()), onward.size());
  }
};

TEST(CancelWords, TakeThePlaceOfTheServersOwn) {
  Client client;
  client.feed(error("ERROR", "57014") + ready);
  EXPECT_EQ(client.got, ours + ready);
  EXPECT_NE(client.got.find("SERROR"), std::string::npos);
  EXPECT_TRUE(client.words.done());
}

TEST(CancelWords, KeepWhatStandsBeforeAndBehind) {
  Client client;
  client.feed(row + row + error("ERROR", "57014") + ready + row);
  EXPECT_EQ(client.got, row + row + ours + ready + row);
}

TEST(CancelWords, FindTheErrorBehindTheRestOfAMessageThatBeganInTheChunkBefore) {
  Client client;
  client.feed(row.substr(7), 100);
  EXPECT_EQ(client.got, row.substr(7)) << "all of it is the rest";
  client.feed(row.substr(7) + row + error("ERROR", "57014") + ready, row.size() - 7);
  EXPECT_EQ(client.got, row.substr(7) + row.substr(7) + row + ours + ready);
}

TEST(CancelWords, LeaveAnyOtherErrorAlone) {
  for (const std::string& other :
       {error("ERROR", "22012") + ready, error("FATAL", "57014"), row + ready}) {
    Client client;
    client.feed(other);
    EXPECT_EQ(client.got, other);
    EXPECT_FALSE(client.words.done());
  }
}

/// A statement that streams rows has its error anywhere in what is read: at each cut, and byte by
/// byte, the client has the same bytes in the end, and no byte too late.
TEST(CancelWords, AreFoundWhereverTheErrorIsCut) {
  const std::string begin = row + row;
  const std::string whole = begin + error("ERROR", "57014") + ready + row;
  const auto left = [&](std::size_t at) -> std::optional<std::size_t> {  // as the tracker counts it
    if (at >= begin.size()) return 0;  // what is kept counts instead
    const std::size_t in = at % row.size();
    if (in > 0 && in < 5) return std::nullopt;
    return in == 0 ? 0 : row.size() - in;
  };
  for (std::size_t first = 0; first <= whole.size(); ++first) {
    for (std::size_t second = first; second <= whole.size(); ++second) {
      Client client;
      client.feed(whole.substr(0, first));
      client.feed(whole.substr(first, second - first), left(first));
      client.feed(whole.substr(second), left(second));
      EXPECT_EQ(client.got, begin + ours + ready + row) << first << ", " << second;
      EXPECT_TRUE(client.words.done());
    }
  }
  Client client;
  for (std::size_t at = 0; at < whole.size(); ++at) client.feed({whole[at]}, left(at));
  EXPECT_EQ(client.got, begin + ours + ready + row);
}

TEST(CancelWords, KeepNothingOfAnotherMessageThatIsCut) {
  const std::string whole = row + row;
  for (std::size_t end = 0; end <= whole.size(); ++end) {
    Client client;
    client.feed(whole.substr(0, end));
    const std::size_t in_header = end % row.size() < 5 ? end % row.size() : 0;
    EXPECT_EQ(client.got, whole.substr(0, end - in_header));
    client.feed(whole.substr(end),
                in_header > 0 ? std::nullopt : std::optional{row.size() - end % row.size()});
    EXPECT_EQ(client.got, whole);
  }
}

TEST(CancelWords, GiveBackWhatTheyKeptOfAnErrorOfAnotherKind) {
  const std::string other = error("ERROR", "22012") + ready;
  for (std::size_t cut = 1; cut < other.size() - ready.size(); ++cut) {
    Client client;
    client.feed(other.substr(0, cut));
    EXPECT_TRUE(client.got.empty());
    client.feed(other.substr(cut), std::nullopt);
    EXPECT_EQ(client.got, other);
  }
}

TEST(CancelWords, AreOverWhenGivenUpButForWhatTheyKeep) {
  Client client;
  client.words.give_up();
  EXPECT_TRUE(client.words.done());
  Client late;
  late.feed(error("ERROR", "57014").substr(0, 20));
  late.words.give_up();
  EXPECT_FALSE(late.words.done());
  late.feed(error("ERROR", "57014").substr(20) + ready, std::nullopt);
  EXPECT_EQ(late.got, ours + ready);
  EXPECT_TRUE(late.words.done());
}

TEST(CancelWords, KeepNoErrorOfAnySize) {
  const std::string large = "E" + std::string("\0\0\x20\0", 4) + std::string(8'000, 'x');
  Client client;
  client.feed(large);
  EXPECT_EQ(client.got, large);
}

TEST(CancelWords, DoNotWalkPastALengthThatCannotBe) {
  for (const std::string& broken : {std::string{"D\0\0\0\1E", 6}, std::string{"D\xff\xff\xff\xff"
                                                                              "E\0\0\0\4",
                                                                              10}}) {
    Client client;
    client.feed(broken);
    EXPECT_EQ(client.got, broken);
  }
}

}  // namespace
}  // namespace pgleash::proxy
