#include "protocol/frame_scanner.hpp"

#include "protocol/wire_reader.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

namespace pgleash::protocol {
namespace {

/// Writes down what it is shown. Wants up to five bytes of capital letters, nothing of small ones.
struct Log {
  std::string text;
  std::size_t chunk_offset = 0;

  std::uint32_t header(char type, std::uint32_t body) {
    text += std::string{type} + std::to_string(body) + " ";
    return type < 'a' ? std::min(body, 5U) : FrameScanner::not_wanted;
  }
  void body(char type, Bytes prefix, std::size_t end) {
    text += std::string{type} + "=" + std::string{as_text(prefix)} + "@" +
            std::to_string(chunk_offset + end) + " ";
  }
  void whole(char /*type*/) { text += ". "; }
};

const std::string stream = wire::message('Q', "abcdefgh") + wire::message('d', "xyz") +
                           wire::message('S') + wire::message('h') + wire::message('K', "12345");
const std::string meaning = "Q8 Q=abcde@10 . d3 . S0 S=@26 . h0 . K5 K=12345@41 . ";

std::string scan(const std::vector<std::string_view>& chunks) {
  FrameScanner scanner;
  Log log;
  for (const auto chunk : chunks) {
    EXPECT_TRUE(scanner.feed(wire::bytes(chunk), log));
    log.chunk_offset += chunk.size();
  }
  EXPECT_TRUE(scanner.at_boundary());
  return log.text;
}

TEST(FrameScanner, SeesTheSameWholeBytewiseAndCutAnywhere) {
  EXPECT_EQ(scan({stream}), meaning);
  std::vector<std::string_view> bytewise;
  for (std::size_t i = 0; i < stream.size(); ++i)
    bytewise.push_back(std::string_view{stream}.substr(i, 1));
  EXPECT_EQ(scan(bytewise), meaning);
  for (std::size_t first = 0; first <= stream.size(); ++first) {
    for (std::size_t second = first; second <= stream.size(); ++second) {
      const std::string_view all = stream;
      EXPECT_EQ(scan({all.substr(0, first), all.substr(first, second - first), all.substr(second)}),
                meaning);
    }
  }
}

TEST(FrameScanner, IsAtABoundaryOnlyBetweenMessages) {
  FrameScanner scanner;
  Log log;
  const std::string message = wire::message('Q', "abc");
  EXPECT_TRUE(scanner.at_boundary());
  for (std::size_t i = 0; i < message.size(); ++i) {
    scanner.feed(wire::bytes(std::string_view{message}.substr(i, 1)), log);
    EXPECT_EQ(scanner.at_boundary(), i + 1 == message.size()) << i;
  }
}

TEST(FrameScanner, SaysHowMuchOfWhatComesBelongsToTheMessageUnderWay) {
  const std::vector<std::size_t> ends{13, 21, 26, 31, 41};
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameScanner scanner;
    Log log;
    ASSERT_TRUE(scanner.feed(wire::bytes(stream.substr(0, cut)), log));
    const auto begun = std::ranges::find_if(ends, [&](std::size_t end) { return end >= cut; });
    const std::size_t begin = begun == ends.begin() ? 0 : *std::prev(begun);
    const bool at_boundary = cut == begin || cut == *begun;
    const std::size_t left = at_boundary ? 0 : *begun - cut;
    EXPECT_EQ(scanner.message_left(wire::bytes(stream.substr(cut))), left) << cut;
    const std::size_t in_header = at_boundary ? 0 : cut - begin;
    for (std::size_t size = 0; size < 5; ++size) {
      const bool is_told = in_header == 0 || in_header + size >= 5;
      if (cut + size > stream.size()) break;
      const std::string next = stream.substr(cut, size);
      EXPECT_EQ(scanner.message_left(wire::bytes(next)).has_value(), is_told) << cut << " " << size;
    }
  }
  FrameScanner scanner;
  Log log;
  ASSERT_TRUE(scanner.feed(wire::bytes("Q"), log));
  EXPECT_FALSE(scanner.message_left(wire::bytes(std::string{"\0\0\0\3", 4}))) << "no length";
}

TEST(FrameScanner, SaysThatAMessageIsWholeAtItsLastByteOnly) {
  FrameScanner scanner;
  Log log;
  scanner.feed(wire::bytes(wire::message('Q', "abcdefgh").substr(0, 9)), log);
  EXPECT_EQ(log.text, "Q8 ");
  scanner.feed(wire::bytes("efg"), log);
  EXPECT_EQ(log.text, "Q8 Q=abcde@1 ") << "the prefix is there, though the body is not";
  EXPECT_FALSE(scanner.at_boundary());
  scanner.feed(wire::bytes("h"), log);
  EXPECT_EQ(log.text, "Q8 Q=abcde@1 . ");
  EXPECT_TRUE(scanner.at_boundary());
}

TEST(FrameScanner, StopsForGoodAtALengthThatCanNotBe) {
  for (const std::uint32_t length : {0U, 3U, 0x80000000U, 0xFFFFFFFFU}) {
    for (const std::size_t cut : {0U, 2U, 4U}) {
      FrameScanner scanner;
      Log log;
      const std::string bad = 'Q' + wire::int32(length);
      const std::string_view all = bad;
      scanner.feed(wire::bytes(all.substr(0, cut)), log);
      EXPECT_FALSE(scanner.feed(wire::bytes(all.substr(cut)), log));
      EXPECT_FALSE(scanner.feed(wire::bytes(stream), log));
      EXPECT_FALSE(scanner.at_boundary());
      EXPECT_EQ(log.text, "");
    }
  }
}

TEST(FrameScanner, PassesTheLargestMessageWithoutKeepingIt) {
  FrameScanner scanner;
  Log log;
  scanner.feed(wire::bytes('d' + wire::int32(0x7FFFFFFF)), log);
  const std::string chunk(1U << 20U, 'x');
  std::uint64_t left = 0x7FFFFFFFU - 4;
  while (left != 0) {
    EXPECT_FALSE(scanner.at_boundary());
    const auto piece = std::min<std::uint64_t>(left, chunk.size());
    ASSERT_TRUE(scanner.feed(wire::bytes(std::string_view{chunk}.substr(0, piece)), log));
    left -= piece;
  }
  EXPECT_TRUE(scanner.at_boundary());
  EXPECT_EQ(log.text, "d2147483643 . ");
}

}  // namespace
}  // namespace pgleash::protocol
