#include "protocol/types.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

#include <new>
#include <type_traits>

namespace pgleash::protocol {
namespace {

CancelKey key(std::string_view secret, std::int32_t pid = 7) {
  return {BackendPid{pid}, wire::bytes(secret)};
}

TEST(CancelKey, MatchesTheSamePidAndSecretOnly) {
  EXPECT_TRUE(key("abcd").matches(key("abcd")));
  EXPECT_FALSE(key("abcd").matches(key("abcx")));
  EXPECT_FALSE(key("abcd").matches(key("xbcd")));
  EXPECT_FALSE(key("abcd").matches(key("abc")));
  EXPECT_FALSE(key("abcd").matches(key("abcd", 8)));
}

TEST(CancelKey, ThatIsMissingMatchesNothing) {
  EXPECT_FALSE(CancelKey{}.present());
  EXPECT_FALSE(CancelKey{}.matches(CancelKey{}));
  EXPECT_FALSE(key("abcd").matches(CancelKey{}));
}

TEST(CancelKey, KeepsSecretsUpTo256Bytes) {
  const std::string longest(256, 's');
  EXPECT_TRUE(key(longest).matches(key(longest)));
  EXPECT_FALSE(key(std::string(257, 's')).present());
}

TEST(CancelKey, SurvivesCopyAndMove) {
  for (const std::string& secret :
       {std::string(4, 'a'), std::string(32, 'b'), std::string(256, 'c')}) {
    const CancelKey original = key(secret);
    CancelKey copy{original};
    CancelKey moved{std::move(copy)};
    EXPECT_TRUE(moved.matches(original));
    CancelKey assigned = key("other");
    assigned = moved;
    EXPECT_TRUE(assigned.matches(original));
    CancelKey taken = key(std::string(40, 'd'));
    taken = std::move(assigned);
    EXPECT_TRUE(taken.matches(original));
    taken = *&taken;
    EXPECT_TRUE(taken.matches(original));
  }
}

/// The bytes of an object whose life ended are still there to be looked at in storage of our own.
class Grave {
 public:
  template <class... Arguments>
  explicit Grave(Arguments&&... arguments)
      : key_(new (storage_) CancelKey(std::forward<Arguments>(arguments)...)) {}
  [[nodiscard]] CancelKey& operator*() { return *key_; }
  void bury() { key_->~CancelKey(); }
  [[nodiscard]] bool holds(std::string_view secret) const {
    const std::string_view all{reinterpret_cast<const char*>(storage_), sizeof storage_};
    return all.find(secret) != std::string_view::npos;
  }

 private:
  alignas(CancelKey) unsigned char storage_[sizeof(CancelKey)]{};
  CancelKey* key_;
};

TEST(CancelKey, LeavesNoSecretBehindWhenItIsDestroyed) {
  Grave grave{BackendPid{7}, wire::bytes("wxyz")};
  ASSERT_TRUE(grave.holds("wxyz"));
  grave.bury();
  EXPECT_FALSE(grave.holds("wxyz"));
}

TEST(CancelKey, LeavesNoSecretBehindWhenItIsMovedFrom) {
  Grave grave{BackendPid{7}, wire::bytes("wxyz")};
  const CancelKey taken{std::move(*grave)};
  EXPECT_FALSE(grave.holds("xyz"));
  EXPECT_FALSE((*grave).present());
  grave.bury();
}

TEST(CancelKey, LeavesNoSecretBehindWhenItIsAssigned) {
  Grave grave{BackendPid{7}, wire::bytes("wxyzwxyz")};
  *grave = key("ab");
  EXPECT_FALSE(grave.holds("xyz"));
  EXPECT_TRUE((*grave).matches(key("ab")));
  grave.bury();
}

}  // namespace
}  // namespace pgleash::protocol
