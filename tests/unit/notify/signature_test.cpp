#include "app/notify/signature.hpp"

#include <gtest/gtest.h>

#include <string>

namespace pgleash::notify {
namespace {

/// Reference values by another implementation: printf '%s' TIME.BODY | openssl dgst -sha256 -hmac
/// KEY
TEST(Signature, IsHmacSha256OfTimeAndBody) {
  EXPECT_EQ(sign("0123456789abcdef", 1764110000, R"({"event":"ended"})"),
            "t=1764110000,v1=3b3d39ce406ca0c537dd50a7ae30aee569b3d810d1ed8c74a0bf4348c310c967");
  EXPECT_EQ(sign("0123456789abcdef", 1764110001, R"({"event":"ended"})"),
            "t=1764110001,v1=9e5ae61f6ba41adca0df5be4ea0521904a17940307daed487ce80d36efd5c75b")
      << "another time, another signature";
  EXPECT_EQ(sign(std::string(100, 'k'), 0, ""),
            "t=0,v1=243c2f8200e1d4ee892e7a7ded377a65e2beb1c64b997c54b8b0f516216d4b0f")
      << "a key longer than a block";
}

}  // namespace
}  // namespace pgleash::notify
