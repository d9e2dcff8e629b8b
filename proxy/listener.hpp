#pragma once

#include "proxy/event_set.hpp"
#include "proxy/events.hpp"
#include "proxy/startup_phase.hpp"

#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <string>

namespace pgleash::proxy {

/// One bound socket. Bound on construction, so that a port that is taken stops the start; accepts
/// from start() on, on the set's thread. Without descriptors accepting pauses, and says so,
/// instead of spinning.
class Listener final : private Watched {
 public:
  static constexpr Duration pause = std::chrono::milliseconds{100};
  static constexpr int most_accepts = 64;  ///< of one turn

  /// `inherited`, when it is open, is a socket that listens there already. Throws std::system_error
  /// naming the address and what to do.
  Listener(EventSet& set, const config::Listener& listener, std::size_t index,
           const config::Address& address, Fd inherited, ProxyEvents& events,
           std::function<void(Accepted)> hand_over);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void start();
  /// On the set's thread: no more connections; the socket is closed.
  void stop();
  /// The port in use: of interest when the configured one is 0.
  [[nodiscard]] std::uint16_t port() const noexcept;

 private:
  void bind(const config::Address& address);
  void ready(std::uint32_t events, Instant now) override;
  void watch();
  void accept_some(Instant now);
  /// False: nobody waits, or there is no room.
  bool accept_one(Instant now);
  void hold_on(int error);

  const config::Listener& listener_;
  std::size_t index_;
  ProxyEvents& events_;
  std::function<void(Accepted)> hand_over_;
  std::string text_;
  std::string unlink_path_;
  EventSet& set_;
  Fd socket_;
  bool inherited_;
  boost::asio::steady_timer pause_timer_;
  int accepts_ = 1;      ///< of the last turn, at most
  Instant last_rush_{};  ///< when there were as many as that
  bool paused_ = false;
};

}  // namespace pgleash::proxy
