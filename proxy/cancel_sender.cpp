#include "proxy/cancel_sender.hpp"

#include "protocol/encode.hpp"
#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"
#include "proxy/tls_handshake.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <optional>

namespace pgleash::proxy {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

CancelTarget cancel_target(const Session& session) noexcept {
  CancelTarget target;
  target.tls = session.server_tls;
  target.size = sizeof target.address;
  if (::getpeername(session.server.fd.get(), reinterpret_cast<sockaddr*>(&target.address),
                    &target.size) != 0)
    target.size = 0;
  return target;
}

namespace {

/// The server's end of file means that the signal is sent. Through TLS a last record may come
/// before.
asio::awaitable<boost::system::error_code> until_closed(Connection& connection, bool sealed) {
  std::array<char, 256> nothing{};
  for (;;) {
    const ReadSome read = co_await read_some(connection, nothing);
    if (read.error || !sealed) co_return read.error;
  }
}

}  // namespace

asio::awaitable<bool> CancelSender::take_turn(Instant deadline, ServerCounters* counters) {
  if (in_flight_ < max_in_flight) {
    ++in_flight_;
    co_return true;
  }
  if (waiting_.size() >= max_waiting) co_return false;
  const LoopShare::Flow flow{share_};
  asio::steady_timer turn{events_.context(), deadline};
  waiting_.push_back(&turn);
  if (counters != nullptr) counters->cancels_waiting.up();
  (void)co_await turn.async_wait(as_result);
  if (counters != nullptr) counters->cancels_waiting.down();
  const auto mine = std::find(waiting_.begin(), waiting_.end(), &turn);
  // Off the list: give_turn() passed its place on to us.
  if (mine == waiting_.end()) co_return true;
  waiting_.erase(mine);
  co_return false;
}

void CancelSender::give_turn() {
  if (waiting_.empty()) {
    --in_flight_;
    return;
  }
  asio::steady_timer* next = waiting_.front();
  waiting_.pop_front();
  next->cancel();
}

asio::awaitable<CancelResult> CancelSender::send(CancelTarget target, protocol::CancelKey key,
                                                 Instant deadline,
                                                 std::function<bool()> still_wanted,
                                                 Duration patience) {
  if (!target.known() || !key.present()) co_return CancelResult::unreachable;
  const Instant asked = monotonic_now();
  const bool my_turn = co_await take_turn(deadline, target.counters);
  if (!my_turn) co_return CancelResult::overload;
  struct Turn {
    CancelSender& sender;
    ~Turn() { sender.give_turn(); }
  } turn{*this};

  Connection connection{events_};
  boost::system::error_code refused =
      connection.connect(StreamProtocol::endpoint{&target.address, target.size});
  std::optional<Deadline<Connection>> guard;
  guard.emplace(connection, deadline);
  if (refused == asio::error::in_progress) {
    refused = co_await connection.connected();
  }
  if (refused) co_return guard->expired() ? CancelResult::timeout : CancelResult::unreachable;
  std::unique_ptr<TlsStream> tls;
  if (target.tls != nullptr) {
    Secured secured = co_await secure_server_leg(connection, target.tls);
    if (secured.stream == nullptr)
      co_return guard->expired() ? CancelResult::timeout : CancelResult::unreachable;
    tls = std::move(secured.stream);
  }
  if (!still_wanted()) co_return CancelResult::observed;

  const std::string request = protocol::cancel_request(key);
  const auto unsent = co_await write_all(connection, tls.get(), request);
  if (unsent) co_return guard->expired() ? CancelResult::timeout : CancelResult::unreachable;
  if (patience > Duration::zero()) {
    guard.reset();
    guard.emplace(connection, deadline + patience);
  }
  const auto end = co_await until_closed(connection, tls != nullptr);
  if (target.counters != nullptr) target.counters->cancel_duration.observe(monotonic_now() - asked);
  co_return guard->expired() || end == asio::error::operation_aborted ? CancelResult::timeout
                                                                      : CancelResult::delivered;
}

}  // namespace pgleash::proxy
