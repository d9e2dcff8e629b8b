#include "protocol/encode.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

namespace pgleash::protocol {
namespace {

using namespace std::string_literals;

TEST(Encode, ErrorResponseHasAllFieldsInTheServersOrder) {
  EXPECT_EQ(
      error_response(
          {.severity = "FATAL", .sqlstate = "57P05", .message = "m", .detail = "d", .hint = "h"}),
      "E\0\0\0\x23SFATAL\0VFATAL\0C57P05\0Mm\0Dd\0Hh\0\0"s);
}

TEST(Encode, ErrorResponseLeavesOutEmptyFields) {
  EXPECT_EQ(error_response({.severity = "ERROR", .sqlstate = "57014", .message = "m"}),
            "E\0\0\0\x1dSERROR\0VERROR\0C57014\0Mm\0\0"s);
}

TEST(Encode, ErrorResponseDropsEmbeddedNuls) {
  EXPECT_EQ(error_response({.severity = "FATAL", .sqlstate = "57P05", .message = "a\0Hfake"s}),
            error_response({.severity = "FATAL", .sqlstate = "57P05", .message = "aHfake"}));
}

TEST(Encode, OldErrorResponseHasNoLength) {
  EXPECT_EQ(error_response_v2("no\0pe"s), "EFATAL:  nope\n\0"s);
}

TEST(Encode, Terminate) {
  EXPECT_EQ(terminate(), "X\0\0\0\4"s);
}

TEST(Encode, CopyFailCarriesItsReason) {
  EXPECT_EQ(copy_fail("too\0 slow"s), "f\0\0\0\x0dtoo slow\0"s);
}

TEST(Encode, CancelRequestHoldsSecretsOfAnyLength) {
  const auto request = [](std::string_view secret) {
    return cancel_request(CancelKey{BackendPid{0x01020304}, wire::bytes(secret)});
  };
  EXPECT_EQ(request("abcd"), "\0\0\0\x10\x04\xd2\x16\x2e\1\2\3\4abcd"s);
  EXPECT_EQ(request(std::string(32, 'k')),
            "\0\0\0\x2c\x04\xd2\x16\x2e\1\2\3\4"s + std::string(32, 'k'));
  EXPECT_EQ(request(std::string(256, 'k')).size(), 268U);
}

}  // namespace
}  // namespace pgleash::protocol
