#pragma once

#include "proxy/counters.hpp"
#include "proxy/session_view.hpp"

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace pgleash::proxy {

/// What the log says of a session when it ends.
struct SessionEnd {
  SessionId id{};
  EndCause cause{};
  std::string_view state;  ///< the state it was in
  Duration state_for{};    ///< how long, or since the client's last message while it was in COPY IN
  Duration lasted{};
  std::uint64_t bytes_to_backend = 0;
  std::uint64_t bytes_to_frontend = 0;
  std::uint32_t anomalies = 0;
  std::string_view detail;  ///< errno text, rule name; may be empty
};

/// The proxy's events, for the log. Called on worker threads; an implementation must be safe for
/// that and must not block.
class ProxyEvents {
 public:
  virtual ~ProxyEvents() = default;
  virtual void listening(std::string_view listener, std::string_view address) = 0;
  /// Accepting stopped for a while (no descriptors left), or goes on again when `why` is empty.
  virtual void accept_paused(std::string_view listener, std::string_view why) = 0;
  /// A connection that did not become a session.
  virtual void refused(std::string_view listener, const Endpoint& client, AcceptResult result,
                       std::string_view why) = 0;
  virtual void session_opened(SessionId id, const SessionIdentity& who) = 0;
  virtual void session_closed(const SessionIdentity& who, const SessionEnd& end) = 0;
  /// The client of a working session is gone; `acted`: its query is cancelled, else only counted
  /// (observe mode).
  virtual void client_gone(SessionId id, const SessionIdentity& who, bool acted) = 0;
  /// At the start: the journal was taken over with so many records of earlier runs, or could not be
  /// had when `problem` says why. Sessions are relayed all the same.
  virtual void journal(std::string_view /*path*/, std::size_t /*inherited*/,
                       std::string_view /*problem*/) {}
  /// At the start: io_uring was wanted and cannot be had; epoll does its work.
  virtual void engine_fallback(std::string_view /*why*/) {}
  virtual void failure(std::string_view where, std::string_view what) = 0;
};

}  // namespace pgleash::proxy
