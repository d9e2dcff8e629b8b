#pragma once

#include "proxy/events.hpp"
#include "proxy/startup_phase.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <string>

namespace pgleash::proxy {

/// One bound socket. Bound on construction, so that a port that is taken stops the start; accepts
/// from start() on, on the context's thread. Without descriptors accepting pauses, and says so,
/// instead of spinning.
class Listener {
 public:
  static constexpr Duration pause = std::chrono::milliseconds{100};
  static constexpr int accepts_per_turn = 64;

  /// `inherited`, when it is open, is a socket that listens there already. Throws std::system_error
  /// naming the address and what to do.
  Listener(boost::asio::io_context& context, const config::Listener& listener, std::size_t index,
           const config::Address& address, Fd inherited, ProxyEvents& events,
           std::function<void(Accepted)> hand_over);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void start();
  /// On the context's thread: no more connections; the socket is closed.
  void stop();
  /// The port in use: of interest when the configured one is 0.
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// The listening socket, readable when somebody connects.
  [[nodiscard]] int descriptor() noexcept { return socket_.native_handle(); }

 private:
  void bind(const config::Address& address);
  void wait();
  void accept_some();

  const config::Listener& listener_;
  std::size_t index_;
  ProxyEvents& events_;
  std::function<void(Accepted)> hand_over_;
  std::string text_;
  std::string unlink_path_;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer pause_timer_;
  bool paused_ = false;
};

}  // namespace pgleash::proxy
