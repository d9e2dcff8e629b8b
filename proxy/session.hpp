#pragma once

#include "config/config.hpp"
#include "protocol/session_tracker.hpp"
#include "proxy/cancel_error.hpp"
#include "proxy/counters.hpp"
#include "proxy/kill_order.hpp"
#include "proxy/login_edit.hpp"
#include "proxy/quota.hpp"
#include "proxy/session_view.hpp"
#include "proxy/socket.hpp"
#include "proxy/tls_stream.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace pgleash::proxy {

enum class Side : std::uint8_t { client, server };
[[nodiscard]] constexpr Side other(Side side) noexcept {
  return side == Side::client ? Side::server : Side::client;
}

/// What was read for a leg and does not fit into its socket yet. No buffer belongs to a session
/// that waits for nothing.
struct Pending {
  std::unique_ptr<std::byte[]> data;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  [[nodiscard]] bool empty() const noexcept { return begin == end; }
  void clear() noexcept {
    data.reset();
    begin = end = 0;
  }
};

/// One socket of a session, as the relay sees it.
struct Leg {
  Fd fd;
  int lost = 0;     ///< client: errno of a reset that is dealt with once the hold ends
  Pending pending;  ///< to be written to this leg; sealed already where it speaks TLS
  std::unique_ptr<TlsStream> tls;  ///< null: the leg is plain
  bool readable = false;  ///< may have something to read: set by an edge, cleared by a short read
  bool hangup =
      false;  ///< the peer closed or reset: read on until the end, short reads prove nothing
  bool ended = false;  ///< its end of file, or its error, was seen
  bool discard =
      false;  ///< what is read from it goes nowhere; what should be written to it is dropped
  bool in_batch = false;      ///< bytes for it were observed and are written at the end of the turn
  bool shut = false;          ///< our half towards it is closed
  bool room_watched = false;  ///< an event comes when its socket has room again

  /// There may be something to read.
  void wake() noexcept {
    readable = true;
    if (tls != nullptr) tls->wake(hangup);
  }
};

/// Whether the leg's peer has sent what nobody has read: in its socket, or behind its TLS.
[[nodiscard]] inline bool has_unread(const Leg& leg) noexcept {
  return unread_bytes(leg.fd.get()) > 0 || (leg.tls != nullptr && leg.tls->buffered());
}

/// Something on the worker's thread that waits for a session to move on. Lives in the waiting
/// coroutine's frame.
class SessionWaiter {
 public:
  virtual ~SessionWaiter() = default;
  virtual void state_changed() = 0;
  /// The server's end of file was seen, or the session ended otherwise; the waiter is not called
  /// again.
  virtual void session_over(bool server_eof) = 0;
};

/// Where a session stands in its life.
enum class SessionPhase : std::uint8_t {
  login,  ///< startup packet forwarded, no ReadyForQuery yet
  up,
  ending,     ///< ended by us: waits for the server's end of file, everything read is dropped
  silent,     ///< the server leg is gone; the client does not know yet, and has not asked
  lingering,  ///< the server leg is gone; the client gets time to read what was written
};

/// The session has ended, what is left is its client's socket.
[[nodiscard]] constexpr bool is_over(SessionPhase phase) noexcept {
  return phase == SessionPhase::silent || phase == SessionPhase::lingering;
}

/// What a client gets for the next thing it sends: its session was ended while it was not looking.
struct Untold {
  ErrorNotice notice;
  Duration within{};  ///< from the end of the server leg on
  Instant until{};    ///< set when the session turns silent
};

struct ServerTlsContext;

/// One frontend socket and one backend socket. Owned by its worker, touched on its thread only.
struct Session {
  Session(SessionId session, protocol::StatementTexts& texts, Instant now)
      : id(session), tracker(texts, now) {}

  [[nodiscard]] Leg& leg(Side side) noexcept { return side == Side::client ? client : server; }
  [[nodiscard]] const Leg& leg(Side side) const noexcept {
    return side == Side::client ? client : server;
  }

  SessionId id;
  Leg client;
  Leg server;
  protocol::SessionTracker tracker;
  std::shared_ptr<const SessionIdentity> who;
  protocol::CancelKey key;
  const config::Listener* listener = nullptr;          ///< outlives the session
  const config::Server* upstream = nullptr;            ///< outlives the session
  std::shared_ptr<const ServerTlsContext> server_tls;  ///< null: the server leg is plain
  ServerCounters* counters = nullptr;
  ApplicationCounts* account = nullptr;  ///< since the login is over; see settle()
  Instant settled{};                     ///< until then it is booked there
  std::uint64_t settled_bytes = 0;
  SessionWaiter* waiter = nullptr;
  std::unique_ptr<CancelWords> cancel_words;  ///< while a 57014 is our cancel's doing
  QuotaKeeper::Ticket place;                  ///< under [[quota]]
  std::unique_ptr<LoginEdit> login_edit;      ///< only during a login, and where the legs differ
  std::unique_ptr<Untold> untold;  ///< only of a session that we end, or ended, behind its back
  Instant stalled_since{};         ///< the epoch: nothing waits for the client
  Instant
      deadline{};  ///< of the phase, or of the grace for a client that went away; the epoch: none
  std::int32_t journal_slot = -1;  ///< ours until the backend's end is known or the session is
                                   ///< buried
  std::uint16_t holds = 0;         ///< the client is not read while above 0
  SessionPhase phase = SessionPhase::login;
  EndCause cause = EndCause::server_close;
  bool opaque = false;       ///< its bytes are relayed and not read: SessionIdentity::opaque
  bool console = false;      ///< meant for pgleash itself: once it is up the server leg leads there
  bool client_lost = false;  ///< FIN without Terminate, reset, or dead peer
  bool terminate_seen = false;
  bool counted_login = false;
  bool touched = false;               ///< on the list of SessionTable::changes()
  bool queued = false;                ///< on the relay's list of sessions with more to read
  std::array<char, 5> login_error{};  ///< the SQLSTATE with which the server ends the login
  bool dead = false;                  ///< off the registry, memory is freed after the batch
};

}  // namespace pgleash::proxy
