#pragma once

#include "proxy/event_set.hpp"
#include "proxy/fd.hpp"

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/system/error_code.hpp>

#include <cstdint>

namespace pgleash::proxy {

using StreamProtocol = boost::asio::generic::stream_protocol;

/// A connection that is not relayed: a client's until its session is open, a server leg that is
/// being made, a cancel request's. Whoever reads or writes does so with its descriptor at once,
/// and waits here only when that would block: what is there already costs no event. It waits in the
/// worker's EventSet, beside the legs of all sessions. One coroutine waits at a time. Everything on
/// the set's thread.
class Connection final : private Watched, private Waiting {
 public:
  enum class Wait : std::uint8_t { input, room };

  /// `fd` does not block; none, until connect().
  explicit Connection(EventSet& events, Fd fd = {}) : events_(events), fd_(std::move(fd)) {}
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] bool is_open() const noexcept { return fd_.open(); }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] boost::asio::io_context::executor_type get_executor() const noexcept {
    return events_.context().get_executor();
  }

  /// Until there is something to read, or room to write; a broken connection has both. May come
  /// back too early. operation_aborted: by cancel() or close().
  boost::asio::awaitable<boost::system::error_code> wait(Wait what);

  /// A socket of its own, on its way there; error::in_progress when that takes time, which
  /// connected() awaits.
  boost::system::error_code connect(const StreamProtocol::endpoint& where);
  boost::asio::awaitable<boost::system::error_code> connected();

  /// Ends the wait, if anybody waits, behind whatever is under way.
  void cancel() override;
  void close();
  /// Nobody may wait.
  [[nodiscard]] Fd release();

 private:
  using Handler = boost::asio::any_completion_handler<void(boost::system::error_code)>;

  void ready(std::uint32_t events, Instant now) override;
  [[nodiscard]] Handler take_waiter();
  void leave_set();

  EventSet& events_;
  Fd fd_;
  Handler waiter_;
  EventSet::Place place_{};
  std::uint32_t ready_ = 0;   ///< events that nobody waited for
  std::uint32_t wanted_ = 0;  ///< those that end the wait
  bool watched_ = false;
};

}  // namespace pgleash::proxy
