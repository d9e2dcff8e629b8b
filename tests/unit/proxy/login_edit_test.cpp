#include "proxy/login_edit.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgleash::proxy {
namespace {

namespace wire = protocol::wire;
using testing::HasSubstr;

std::string edited(LoginEditFor why, const std::string& bytes) {
  LoginEdit edit{why};
  std::string out;
  edit.feed(wire::bytes(bytes), true, out);
  return out;
}

std::string binding_error(const std::string& behind) {
  return wire::message(
      'E', "SFATAL" + std::string(1, '\0') + "MSCRAM channel binding check failed" + behind);
}

TEST(LoginEdit, LeavesOutWhatBindsToAChannelForAClientWithoutOne) {
  const auto offer = [](const std::string& names) {
    return wire::message('R', wire::int32(10) + names + '\0');
  };
  const std::string plus = wire::zero_ended("SCRAM-SHA-256-PLUS");
  const std::string plain = wire::zero_ended("SCRAM-SHA-256");
  EXPECT_EQ(edited(LoginEditFor::clear_client, offer(plus + plain)), offer(plain));
  EXPECT_EQ(edited(LoginEditFor::clear_client, offer(plain)), offer(plain));
  EXPECT_EQ(edited(LoginEditFor::clear_client, offer(plus)), offer(plus)) << "never an empty offer";
  EXPECT_EQ(edited(LoginEditFor::two_certificates, offer(plus + plain)), offer(plus + plain));
}

TEST(LoginEdit, PutsItsHintBehindTheServersWords) {
  const std::string error = binding_error(std::string(2, '\0'));
  const std::string out = edited(LoginEditFor::two_certificates, error);
  EXPECT_EQ(out,
            wire::message('E', error.substr(5, error.size() - 6) + "H" +
                                   std::string{channel_binding_hint()} + std::string(2, '\0')));
  EXPECT_EQ(edited(LoginEditFor::clear_client, error), error);
}

/// Found by fuzzing: the hint took the place of the text's own end.
TEST(LoginEdit, LeavesAnErrorAloneThatLacksItsEnd) {
  for (const std::string& behind : {std::string(1, '\0'), std::string{}, std::string{"\0\0x", 3}})
    EXPECT_EQ(edited(LoginEditFor::two_certificates, binding_error(behind)), binding_error(behind));
}

}  // namespace
}  // namespace pgleash::proxy
