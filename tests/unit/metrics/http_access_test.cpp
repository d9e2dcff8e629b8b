#include "metrics/http_access.hpp"

#include <gtest/gtest.h>

#include <string>

namespace pgleash::metrics {
namespace {

constexpr std::string_view token = "0123456789abcdef0123456789abcdef";

TEST(HttpAccess, TheTokenIsShownAsBearerOrAsABrowsersPassword) {
  const std::string bearer = "Bearer " + std::string{token};
  EXPECT_TRUE(shows_token(bearer, token));
  EXPECT_TRUE(shows_token("bearer   " + std::string{token} + " ", token));
  // "anybody:0123456789abcdef0123456789abcdef", and without a user.
  EXPECT_TRUE(shows_token("Basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==", token));
  EXPECT_TRUE(shows_token("Basic OjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm", token));
}

TEST(HttpAccess, NothingElseWillDo) {
  for (const std::string offered :
       {"", "Bearer", "Bearer ", "Bearer 0123456789abcdef0123456789abcdee",
        "Bearer 0123456789abcdef", "Bearer 0123456789abcdef0123456789abcdef0",
        "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "Bearer 0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef",
        "Digest 0123456789abcdef0123456789abcdef", "Basic 0123456789abcdef0123456789abcdef",
        "Basic MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",  // no colon
        "Basic !!!!", "Basic ", "Basic =", "Basic Og=="})
    EXPECT_FALSE(shows_token(offered, token)) << offered;
}

TEST(HttpAccess, AnEmptyTokenIsShownByNobody) {
  EXPECT_FALSE(shows_token("Bearer ", ""));
  EXPECT_FALSE(shows_token("Basic Og==", ""));
  EXPECT_FALSE(shows_token("", ""));
}

TEST(HttpAccess, APageOfAnotherPlaceIsTold) {
  EXPECT_FALSE(is_foreign_origin("http://127.0.0.1:9733", "127.0.0.1:9733"));
  EXPECT_FALSE(is_foreign_origin("https://db1:9733", "db1:9733"));
  EXPECT_TRUE(is_foreign_origin("http://evil.example", "127.0.0.1:9733"));
  EXPECT_TRUE(is_foreign_origin("http://127.0.0.1:8080", "127.0.0.1:9733"));
  EXPECT_TRUE(is_foreign_origin("http://127.0.0.1:9733.evil.example", "127.0.0.1:9733"));
  EXPECT_TRUE(is_foreign_origin("null", "127.0.0.1:9733"));
  EXPECT_TRUE(is_foreign_origin("", ""));
}

}  // namespace
}  // namespace pgleash::metrics
