#pragma once

#include "proxy/leg_journal.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

/// The journal's bytes. A record has two halves, each with a checksum and a writer of its own: the
/// leg (the session's worker, when the backend's pid is known) and the proof (the control thread,
/// once the monitor has seen the backend). The proof names the session again, so one that belongs
/// to an earlier user of the slot is not taken. Bytes of a slot that is free are zero. In the byte
/// order of the host, which the file does not leave.
namespace pgleash::proxy {

inline constexpr std::size_t leg_bytes = 80;
inline constexpr std::size_t proof_bytes = 48;
inline constexpr std::size_t record_bytes = leg_bytes + proof_bytes;
inline constexpr std::size_t header_bytes = 4096;  ///< a page, so that records never straddle one
/// Longest address that is kept; PostgreSQL's own text of any address is shorter.
inline constexpr std::size_t max_leg_address = 40;

using Record = std::span<std::byte, record_bytes>;

/// False, and nothing is written, when the address is longer than max_leg_address.
bool write_leg(Record slot, const LegRecord& record) noexcept;
void write_closed(Record slot) noexcept;  ///< nothing when the slot is free
void write_free(Record slot) noexcept;    ///< leaves the other writer's half alone
void write_proof(Record slot, std::uint64_t incarnation, SessionId session,
                 const BackendProof& proof) noexcept;

/// What stands in a slot; empty when it is free, torn or garbage. A proof that is torn or belongs
/// to another session leaves a record without one.
[[nodiscard]] std::optional<LegRecord> read_record(std::span<const std::byte, record_bytes> slot);

/// Of the file as a whole.
struct JournalHeader {
  std::uint64_t incarnation = 0;
  std::int32_t pid = 0;  ///< of the pgleash that wrote it, for messages
};
void write_header(std::span<std::byte, header_bytes> page, const JournalHeader& header) noexcept;
/// Empty when this is no journal of ours, or of another version.
[[nodiscard]] std::optional<JournalHeader> read_header(
    std::span<const std::byte, header_bytes> page) noexcept;

}  // namespace pgleash::proxy
