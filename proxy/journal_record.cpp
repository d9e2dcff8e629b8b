#include "proxy/journal_record.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace pgleash::proxy {
namespace {

constexpr std::array<char, 8> magic{'p', 'g', 'l', 'j', 'r', 'n', 'l', '1'};
enum State : std::uint8_t { state_free = 0, state_open = 1, state_closed = 2 };

/// Of the bytes of one half behind its checksum.
namespace at {
enum Leg : std::size_t {
  leg_state = 4,
  address_length = 5,
  incarnation = 8,
  session = 16,
  opened_at = 24,
  server = 28,
  pid = 32,
  port = 36,
  address = 40,
};
enum Proof : std::size_t {
  proof_incarnation = leg_bytes + 8,
  proof_session = leg_bytes + 16,
  system_identifier = leg_bytes + 24,
  postmaster_start = leg_bytes + 32,
  backend_start = leg_bytes + 40,
};
}  // namespace at
static_assert(at::address + max_leg_address == leg_bytes);
static_assert(at::backend_start + 8 == record_bytes);

template <class T>
void put(std::span<std::byte> bytes, std::size_t offset, T value) noexcept {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <class T>
T get(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// FNV-1a, folded; never 0, which is what a free slot has.
std::uint32_t checksum(std::span<const std::byte> bytes) noexcept {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const std::byte b : bytes) {
    hash ^= static_cast<std::uint8_t>(b);
    hash *= 1099511628211ULL;
  }
  const auto folded = static_cast<std::uint32_t>(hash ^ (hash >> 32U));
  return folded == 0 ? 1 : folded;
}

void seal(std::span<std::byte> half) noexcept {
  put(half, 0, checksum(half.subspan(sizeof(std::uint32_t))));
}

bool whole(std::span<const std::byte> half) noexcept {
  return get<std::uint32_t>(half, 0) == checksum(half.subspan(sizeof(std::uint32_t)));
}

}  // namespace

bool write_leg(Record slot, const LegRecord& record) noexcept {
  const std::string& address = record.leg.address;
  if (address.size() > max_leg_address) return false;
  const auto half = slot.first<leg_bytes>();
  std::fill(half.begin(), half.end(), std::byte{});
  put(half, at::leg_state, record.closed ? state_closed : state_open);
  put(half, at::address_length, static_cast<std::uint8_t>(address.size()));
  put(half, at::incarnation, record.incarnation);
  put(half, at::session, number(record.session));
  put(half, at::opened_at, record.opened_at);
  put(half, at::server, record.server);
  put(half, at::pid, static_cast<std::int32_t>(record.pid));
  put(half, at::port, record.leg.port);
  std::memcpy(half.data() + at::address, address.data(), address.size());
  seal(half);
  return true;
}

void write_closed(Record slot) noexcept {
  const auto half = slot.first<leg_bytes>();
  if (get<std::uint8_t>(half, at::leg_state) != state_open) return;
  put(half, at::leg_state, state_closed);
  seal(half);
}

void write_free(Record slot) noexcept {
  const auto half = slot.first<leg_bytes>();
  std::fill(half.begin(), half.end(), std::byte{});
}

void write_proof(Record slot, std::uint64_t incarnation, SessionId session,
                 const BackendProof& proof) noexcept {
  const auto half = slot.last<proof_bytes>();
  put(slot, at::proof_incarnation, incarnation);
  put(slot, at::proof_session, number(session));
  put(slot, at::system_identifier, proof.system_identifier);
  put(slot, at::postmaster_start, proof.postmaster_start);
  put(slot, at::backend_start, proof.backend_start);
  seal(half);
}

std::optional<LegRecord> read_record(std::span<const std::byte, record_bytes> slot) {
  const auto leg = slot.first<leg_bytes>();
  const auto state = get<std::uint8_t>(leg, at::leg_state);
  const auto length = get<std::uint8_t>(leg, at::address_length);
  if ((state != state_open && state != state_closed) || length > max_leg_address || !whole(leg))
    return std::nullopt;
  LegRecord record;
  record.closed = state == state_closed;
  record.incarnation = get<std::uint64_t>(leg, at::incarnation);
  record.session = SessionId{get<std::uint64_t>(leg, at::session)};
  record.opened_at = get<std::uint32_t>(leg, at::opened_at);
  record.server = get<std::uint32_t>(leg, at::server);
  record.pid = protocol::BackendPid{get<std::int32_t>(leg, at::pid)};
  record.leg.port = get<std::int32_t>(leg, at::port);
  record.leg.address.assign(reinterpret_cast<const char*>(leg.data()) + at::address, length);

  const bool ours = get<std::uint64_t>(slot, at::proof_incarnation) == record.incarnation &&
                    get<std::uint64_t>(slot, at::proof_session) == number(record.session);
  if (ours && whole(slot.last<proof_bytes>()))
    record.proof = BackendProof{get<std::uint64_t>(slot, at::system_identifier),
                                get<std::int64_t>(slot, at::postmaster_start),
                                get<std::int64_t>(slot, at::backend_start)};
  return record;
}

void write_header(std::span<std::byte, header_bytes> page, const JournalHeader& header) noexcept {
  std::fill(page.begin(), page.end(), std::byte{});
  std::memcpy(page.data(), magic.data(), magic.size());
  put(page, 8, static_cast<std::uint32_t>(record_bytes));
  put(page, 12, header.pid);
  put(page, 16, header.incarnation);
}

std::optional<JournalHeader> read_header(std::span<const std::byte, header_bytes> page) noexcept {
  if (std::memcmp(page.data(), magic.data(), magic.size()) != 0) return std::nullopt;
  if (get<std::uint32_t>(page, 8) != record_bytes) return std::nullopt;
  return JournalHeader{get<std::uint64_t>(page, 16), get<std::int32_t>(page, 12)};
}

}  // namespace pgleash::proxy
