#include "proxy/cancel_error.hpp"

#include "protocol/encode.hpp"

#include <gtest/gtest.h>

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

const std::string ours =
    cancel_error({"57014", "canceling statement: running for 2 s (pgleash rule 'slow', limit 1 s)",
                  "Incident 1.", ""});
const std::string ready = message('Z', "I");
const std::string row = message('D', std::string_view("\0\1\0\0\0\1x", 7));

TEST(CancelError, TakesThePlaceOfTheServersOwnWords) {
  std::string out;
  ASSERT_TRUE(replace_cancel_error(bytes(error("ERROR", "57014") + ready), 0, ours, out));
  EXPECT_EQ(out, ours + ready);
  EXPECT_NE(out.find("SERROR"), std::string::npos);
}

TEST(CancelError, KeepsWhatStandsBeforeAndBehind) {
  const std::string chunk = row + row + error("ERROR", "57014") + ready;
  std::string out;
  ASSERT_TRUE(replace_cancel_error(bytes(chunk), 0, ours, out));
  EXPECT_EQ(out, row + row + ours + ready);
}

TEST(CancelError, IsFoundBehindTheRestOfAMessageThatBeganInTheChunkBefore) {
  const std::string chunk = row.substr(7) + row + error("ERROR", "57014") + ready;
  std::string out;
  ASSERT_TRUE(replace_cancel_error(bytes(chunk), row.size() - 7, ours, out));
  EXPECT_EQ(out, row.substr(7) + row + ours + ready);
  out = "untouched";
  EXPECT_FALSE(replace_cancel_error(bytes(row.substr(7)), 100, ours, out))
      << "all of it is the rest";
  EXPECT_EQ(out, "untouched");
}

TEST(CancelError, LeavesAnyOtherErrorAlone) {
  std::string out = "untouched";
  EXPECT_FALSE(replace_cancel_error(bytes(error("ERROR", "22012") + ready), 0, ours, out));
  EXPECT_FALSE(replace_cancel_error(bytes(error("FATAL", "57014")), 0, ours, out));
  EXPECT_FALSE(replace_cancel_error(bytes(row + ready), 0, ours, out));
  EXPECT_EQ(out, "untouched");
}

TEST(CancelError, LeavesAnErrorAloneThatIsCutAnywhere) {
  const std::string whole = row + error("ERROR", "57014");
  for (std::size_t end = 0; end < whole.size(); ++end) {
    std::string out;
    const std::string cut = whole.substr(0, end);
    EXPECT_FALSE(replace_cancel_error(bytes(cut), 0, ours, out)) << end;
  }
}

TEST(CancelError, DoesNotWalkPastALengthThatCannotBe) {
  std::string out;
  const std::string broken{"D\0\0\0\1E", 6};
  EXPECT_FALSE(replace_cancel_error(bytes(broken), 0, ours, out));
  const std::string huge{
      "D\xff\xff\xff\xff"
      "E\0\0\0\4",
      10};
  EXPECT_FALSE(replace_cancel_error(bytes(huge), 0, ours, out));
}

}  // namespace
}  // namespace pgleash::proxy
