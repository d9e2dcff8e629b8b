#include "proxy/journal_record.hpp"

#include <gtest/gtest.h>

#include <random>

namespace pgleash::proxy {
namespace {

LegRecord leg() {
  LegRecord record;
  record.incarnation = 0x1122334455667788;
  record.session = SessionId{(3ULL << 48U) | 42};
  record.opened_at = 1'800'000'000;
  record.server = server_hash("orders");
  record.pid = protocol::BackendPid{4711};
  record.leg = {"2001:db8::dead:beef:1234:5678:9abc", 54321};
  return record;
}
constexpr BackendProof proof{0xF000000000000001, 800'000'000'000'001, 800'000'000'000'002};

class JournalRecord : public ::testing::Test {
 protected:
  Record slot() { return Record{bytes}; }
  std::array<std::byte, record_bytes> bytes{};
};

TEST_F(JournalRecord, ComesBackAsItWasWithoutAndWithItsProof) {
  LegRecord record = leg();
  ASSERT_TRUE(write_leg(slot(), record));
  EXPECT_EQ(read_record(slot()), record);
  write_proof(slot(), record.incarnation, record.session, proof);
  record.proof = proof;
  EXPECT_EQ(read_record(slot()), record);
  write_closed(slot());
  record.closed = true;
  EXPECT_EQ(read_record(slot()), record);
}

TEST_F(JournalRecord, KeepsALegThroughAUnixSocket) {
  LegRecord record = leg();
  record.leg = {};
  ASSERT_TRUE(write_leg(slot(), record));
  EXPECT_EQ(read_record(slot())->leg, Endpoint{});
}

TEST_F(JournalRecord, IsEmptyWhenFree) {
  EXPECT_FALSE(read_record(slot()));
  ASSERT_TRUE(write_leg(slot(), leg()));
  write_free(slot());
  EXPECT_FALSE(read_record(slot()));
  write_closed(slot());  // nothing to close
  EXPECT_FALSE(read_record(slot()));
}

TEST_F(JournalRecord, DoesNotTakeTheProofOfTheSlotsEarlierSession) {
  LegRecord first = leg();
  ASSERT_TRUE(write_leg(slot(), first));
  write_proof(slot(), first.incarnation, first.session, proof);
  write_free(slot());
  LegRecord second = leg();
  second.session = SessionId{(3ULL << 48U) | 43};
  ASSERT_TRUE(write_leg(slot(), second));
  EXPECT_EQ(read_record(slot())->proof, std::nullopt);
  // The late proof of the first, too.
  write_proof(slot(), first.incarnation, first.session, proof);
  EXPECT_EQ(read_record(slot())->proof, std::nullopt);
  // Session numbers begin anew with each run.
  write_proof(slot(), first.incarnation + 1, second.session, proof);
  EXPECT_EQ(read_record(slot())->proof, std::nullopt);
}

TEST_F(JournalRecord, RefusesAnAddressThatDoesNotFit) {
  LegRecord record = leg();
  record.leg.address.assign(max_leg_address + 1, 'a');
  EXPECT_FALSE(write_leg(slot(), record));
  EXPECT_FALSE(read_record(slot()));
}

/// The process died, or the disk lied, in the middle of a write: at no offset does a mixture of two
/// records pass for a record.
TEST_F(JournalRecord, ATornLegIsNoRecordAndATornProofProvesNothing) {
  const LegRecord old = leg();
  std::array<std::byte, record_bytes> before{};
  ASSERT_TRUE(write_leg(Record{before}, old));
  write_proof(Record{before}, old.incarnation, old.session, proof);

  LegRecord fresh = leg();
  fresh.session = SessionId{99};
  fresh.pid = protocol::BackendPid{4712};
  fresh.leg = {"10.0.0.1", 1};
  constexpr BackendProof other{7, 8, 9};
  std::array<std::byte, record_bytes> after{};
  ASSERT_TRUE(write_leg(Record{after}, fresh));
  write_proof(Record{after}, fresh.incarnation, fresh.session, other);

  for (std::size_t cut = 0; cut <= record_bytes; ++cut) {
    bytes = before;
    std::copy_n(after.begin(), cut, bytes.begin());
    const auto found = read_record(slot());
    if (!found) continue;
    LegRecord whole = *found;
    whole.proof.reset();
    EXPECT_TRUE(whole == old || whole == fresh) << "cut at " << cut;
    if (found->proof) {
      EXPECT_EQ(*found->proof, whole == old ? proof : other) << "cut at " << cut;
    }
  }
}

TEST_F(JournalRecord, AnyFlippedBitIsNoticed) {
  ASSERT_TRUE(write_leg(slot(), leg()));
  write_proof(slot(), leg().incarnation, leg().session, proof);
  const LegRecord whole = *read_record(slot());
  const auto good = bytes;
  for (std::size_t bit = 0; bit < record_bytes * 8; ++bit) {
    bytes = good;
    bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << (bit % 8))};
    const auto found = read_record(slot());
    if (bit / 8 < leg_bytes) {
      EXPECT_FALSE(found) << "bit " << bit;
    } else if (bit / 8 < leg_bytes + 4 || bit / 8 >= leg_bytes + 8) {
      ASSERT_TRUE(found);
      EXPECT_FALSE(found->proof) << "bit " << bit;
    } else {
      EXPECT_TRUE(!found->proof || *found == whole);  // padding
    }
  }
}

TEST_F(JournalRecord, NoiseIsNoRecord) {
  std::minstd_rand random{7};
  for (int i = 0; i < 10'000; ++i) {
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    EXPECT_FALSE(read_record(slot()));
  }
}

TEST(JournalHeader, IsReadBackAndNothingElseIsTakenForOne) {
  std::array<std::byte, header_bytes> page{};
  EXPECT_FALSE(read_header(page));
  write_header(page, {17, 4242});
  const auto header = read_header(page);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->incarnation, 17U);
  EXPECT_EQ(header->pid, 4242);
  page[8] ^= std::byte{1};  // another size of record: another version
  EXPECT_FALSE(read_header(page));
}

}  // namespace
}  // namespace pgleash::proxy
