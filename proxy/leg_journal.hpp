#pragma once

#include "proxy/session_view.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace pgleash::proxy {

/// Which PostgreSQL process serves a session, beyond doubt: the cluster, the start of its
/// postmaster and of the backend. Times as PostgreSQL counts them: microseconds since 2000-01-01
/// UTC, on its own clock.
struct BackendProof {
  std::uint64_t system_identifier = 0;
  std::int64_t postmaster_start = 0;
  std::int64_t backend_start = 0;
  bool operator==(const BackendProof&) const = default;
};

/// What the journal remembers of one server leg.
struct LegRecord {
  std::uint64_t incarnation = 0;  ///< the run of pgleash that carried it
  SessionId session{};
  std::uint32_t opened_at = 0;  ///< seconds since 1970, for aging only
  std::uint32_t server = 0;     ///< server_hash() of the [[server]]'s name
  protocol::BackendPid pid{};
  Endpoint leg;         ///< our end of it
  bool closed = false;  ///< we closed it without having seen the server's end of file
  std::optional<BackendProof>
      proof;  ///< absent: the session ended before the monitor had seen its backend
  bool operator==(const LegRecord&) const = default;
};

[[nodiscard]] constexpr std::uint32_t server_hash(std::string_view name) noexcept {
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 16777619U;
  }
  return hash;
}

/// The watchdog's view of the journal: it completes the records of live sessions, and reads those
/// that a dead run left behind. Control thread.
class LegJournal {
 public:
  virtual ~LegJournal() = default;
  /// `slot` as in the session's identity. The record may have been freed meanwhile: then the proof
  /// belongs to nobody and is not read.
  virtual void complete(std::int32_t slot, SessionId session,
                        const BackendProof& proof) noexcept = 0;
  /// Records of runs that are provably dead: their lock on this very file was free when we took it.
  /// The same indexes for the life of the process.
  [[nodiscard]] virtual const std::vector<LegRecord>& inherited() const noexcept = 0;
  /// The backend of that record is gone: nobody needs it any more.
  virtual void settle(std::size_t inherited) noexcept = 0;
};

}  // namespace pgleash::proxy
