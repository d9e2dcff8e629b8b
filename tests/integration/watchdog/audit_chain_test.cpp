#include "watchdog/audit_chain.hpp"

#include "tests/integration/watchdog/audit_file.hpp"

#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

using testing::HasSubstr;

class AuditChainTest : public AuditFileTest {
 protected:
  void SetUp() override {
    const auto log = open();
    for (int i = 1; i <= 5; ++i) ASSERT_TRUE(write(*log, "line " + std::to_string(i)));
    all = lines(path);
  }
  ChainReport report() {
    std::string text;
    for (const auto& line : all) text += line + "\n";
    put(path, text);
    return verify(path, std::string{chain_start});
  }
  std::vector<std::string> all;
};

TEST(Sha256, IsTheOneOfTheStandard) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(AuditChainTest, UntouchedFileIsIntact) {
  EXPECT_TRUE(report().intact);
  EXPECT_EQ(report().lines, 5U);
}

TEST_F(AuditChainTest, ChangedLineBreaksTheNext) {
  all[1].replace(all[1].find("line 2"), 6, "line X");
  EXPECT_EQ(report().broken_line, 3U);
  EXPECT_FALSE(report().intact);
}

TEST_F(AuditChainTest, RemovedLineBreaksTheNext) {
  all.erase(all.begin() + 2);
  EXPECT_EQ(report().broken_line, 3U);
}

TEST_F(AuditChainTest, RemovedFirstLineShowsAgainstTheStartOfTheChain) {
  all.erase(all.begin());
  EXPECT_EQ(report().broken_line, 1U);
}

TEST_F(AuditChainTest, InsertedLineIsBrokenItself) {
  all.insert(all.begin() + 2, all[4]);
  EXPECT_EQ(report().broken_line, 3U);
  EXPECT_THAT(report().why, HasSubstr("line 3 does not name the line before it"));
}

TEST_F(AuditChainTest, ExchangedLinesAreBroken) {
  std::swap(all[1], all[2]);
  EXPECT_EQ(report().broken_line, 2U);
}

TEST_F(AuditChainTest, LineThatIsNoJsonIsBroken) {
  all[3] = "garbage";
  EXPECT_EQ(report().broken_line, 4U);
  EXPECT_THAT(report().why, HasSubstr("not a JSON object"));
}

TEST_F(AuditChainTest, UnfinishedLastLineIsBroken) {
  put(path, contents(path) + "{\"ts\":");
  const auto found = verify(path);
  EXPECT_FALSE(found.intact);
  EXPECT_EQ(found.broken_line, 6U);
}

/// A made-up repair may not hide lines that were taken out before the torn one.
TEST_F(AuditChainTest, RepairMustResumeTheLastWholeLine) {
  put(path, contents(path) + "{\"torn");
  open();
  all = lines(path);
  ASSERT_TRUE(report().intact);
  all.erase(all.begin() + 4);
  EXPECT_EQ(report().broken_line, 5U);
}

TEST_F(AuditChainTest, FileThatIsNotThereIsNotIntact) {
  const auto found = verify(directory / "nothing");
  EXPECT_FALSE(found.intact);
  EXPECT_THAT(found.why, HasSubstr("No such file"));
}

TEST_F(AuditChainTest, EmptyFileIsIntactAndEndsWhereItWasToBegin) {
  put(path, "");
  const auto found = verify(path, std::string(64, 'a'));
  EXPECT_TRUE(found.intact);
  EXPECT_EQ(found.last, std::string(64, 'a'));
}

}  // namespace
}  // namespace pgleash::watchdog
