#pragma once

#include "proxy/session_view.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/blocking_tree.hpp"
#include "watchdog/cost.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// How sure we are which backend serves a session (two witnesses: BackendKeyData, and the address
/// of our server leg).
enum class Mapping : std::uint8_t {
  in_band,    ///< BackendKeyData only; no sample has shown the backend yet
  confirmed,  ///< both agree
  by_port,    ///< no BackendKeyData; found by client_addr and client_port
  conflict,  ///< the pid is there with another client's address, or was reused: never end it by SQL
  none,
};
[[nodiscard]] std::string_view name(Mapping mapping) noexcept;

/// PostgreSQL's views show link-local addresses without their zone.
[[nodiscard]] std::string_view without_zone(std::string_view address) noexcept;
/// Whether the server shows this backend with the address and port of our leg. Any two Unix sockets
/// look the same.
[[nodiscard]] bool same_leg(const proxy::Endpoint& leg, const ActivityRow& row) noexcept;

/// One session, in-band view and server's row side by side.
struct SessionEntry {
  proxy::SessionView view;
  std::optional<BackendId> backend;  ///< remembered from the first match; survives a missing sample
  SharedRow row;                     ///< of the newest sample, absent when not in it
  Instant row_taken{};               ///< when that sample was
  std::shared_ptr<const Costs> costs;  ///< of its running request; null: nothing is known
  /// Of the running statement, where a rule asked for it in time (see RunningStatements).
  std::optional<std::uint64_t> fingerprint;
  Mapping mapping = Mapping::none;
  bool superuser = false;      ///< in-band or by sample
  bool advisory_lock = false;  ///< it holds one, as of Snapshot::advisory_taken
};

/// All that is known at one moment. Rules see nothing else.
struct Snapshot {
  Instant now{};
  std::string server;
  std::vector<SessionEntry> sessions;
  std::vector<ActivityRow> direct;  ///< client backends that are not ours
  bool opaque = false;              ///< its sessions are the opaque ones, see opaque_snapshot()
  bool outside = false;  ///< no session comes through us: they are the server's rows, judged alike
  bool monitor_configured = true;  ///< false: what only the server knows is not waited for
  bool monitor_up = false;
  std::optional<Duration> sample_age;  ///< absent: no sample yet
  std::uint32_t max_connections = 0;
  std::uint32_t reserved_connections = 0;
  std::uint32_t background_processes = 0;
  BlockingForest blocking;
  std::optional<Instant> advisory_taken;  ///< absent: nobody asked, or there was no answer
  std::optional<Horizon> horizon;
  bool synchronous_replication = true;  ///< as the newest sample says; true: or nothing is known
};

/// Joins views and sample into snapshots; remembers each session's backend_start at its first
/// match. Pure but for that memory; one per server; control thread.
///
/// A witness that contradicts the other, or a remembered backend whose pid now belongs to somebody
/// else, is a conflict for the rest of the session. Only a sample that may be older than the login
/// is given another chance: it can show the pid's former owner.
///
/// Of an opaque session the row alone tells who it is and what it does: it is found by the address
/// of our leg, and only if no other backend has that. Without a row of the newest sample, or
/// without the monitor, its state is `starting`, which nothing judges.
class SnapshotJoin {
 public:
  /// What rules and metrics call such a session: see [identity].
  using Namer = std::function<std::string(const proxy::SessionIdentity&)>;

  explicit SnapshotJoin(std::string server, bool monitor_configured = true, Namer namer = {});
  /// `sample` may be null (no monitor, none yet). Forgets sessions that are not in `views`.
  [[nodiscard]] Snapshot join(Instant now, const std::vector<proxy::SessionView>& views,
                              const ActivitySample* sample, bool monitor_up);

 private:
  struct Known {
    std::optional<BackendId> backend;
    std::optional<Instant> up;  ///< when a join first saw the login completed
    bool conflict = false;
    bool superuser = false;
    std::shared_ptr<const proxy::SessionIdentity> named;  ///< of an opaque session, from its row
  };
  struct Rows;
  void tell_opaque(SessionEntry& entry, Known& known, Instant taken) const;
  [[nodiscard]] Mapping match(SessionEntry& entry, Known& known, bool shared_pid, Rows& rows) const;

  std::string server_;
  bool monitor_configured_;
  Namer namer_;
  std::unordered_map<std::uint64_t, Known> known_;
  BlockingTree blocking_;
};

}  // namespace pgleash::watchdog
