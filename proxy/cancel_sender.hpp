#pragma once

#include "proxy/counters.hpp"
#include "proxy/event_set.hpp"
#include "proxy/loop_share.hpp"
#include "proxy/session.hpp"
#include "proxy/tls_context.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <functional>

namespace pgleash::proxy {

/// Where a cancel request must go: the very address a session's own server leg is connected to, so
/// that a load balancer or a host name with several addresses cannot send it elsewhere; over TLS
/// when the leg speaks it, as the key is a secret.
struct CancelTarget {
  sockaddr_storage address{};
  socklen_t size = 0;
  ServerCounters* counters = nullptr;  ///< tell of its wait and its duration; null: nobody counts
  std::shared_ptr<const ServerTlsContext> tls;  ///< null: in clear
  [[nodiscard]] bool known() const noexcept { return size != 0; }
};
[[nodiscard]] CancelTarget cancel_target(const Session& session) noexcept;

/// Sends CancelRequests of one worker: bounded in number, each with its own deadline. Needs no
/// backend slot and no privilege, so it works on a full server. One thread. Source:
/// "Frontend/Backend Protocol", Canceling Requests in Progress.
class CancelSender {
 public:
  static constexpr unsigned max_in_flight = 64;
  static constexpr std::size_t max_waiting = 1024;

  CancelSender(EventSet& events, LoopShare& share) : events_(events), share_(share) {}

  /// Connects, asks `still_wanted` once more right before the bytes go out, and waits for the
  /// server's end of file, which means that the signal was sent. `delivered` only then. Once the
  /// bytes are written the server may act on them at any time, a closed connection or not:
  /// `patience` is how much longer than the deadline its end of file is waited for then. `timeout`
  /// with nothing written means that nothing can arrive later.
  boost::asio::awaitable<CancelResult> send(CancelTarget target, protocol::CancelKey key,
                                            Instant deadline, std::function<bool()> still_wanted,
                                            Duration patience = {});
  /// No request is under way, or waits for its turn.
  [[nodiscard]] bool idle() const noexcept { return in_flight_ == 0 && waiting_.empty(); }

 private:
  boost::asio::awaitable<bool> take_turn(Instant deadline, ServerCounters* counters);
  void give_turn();

  EventSet& events_;
  LoopShare& share_;
  unsigned in_flight_ = 0;
  std::deque<boost::asio::steady_timer*> waiting_;
};

}  // namespace pgleash::proxy
