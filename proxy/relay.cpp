#include "proxy/relay.hpp"

#include "proxy/clock.hpp"
#include "proxy/session_account.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace pgleash::proxy {
namespace {

// A session's address is aligned, so its lowest bit can say which of its legs an event is about.
std::uint64_t tag(const Session& session, Side side) noexcept {
  return reinterpret_cast<std::uintptr_t>(&session) | (side == Side::server ? 1U : 0U);
}
static_assert(alignof(Session) > EventSet::watched_bit);
/// No session: the io_context has something to do, or whom the event was for is gone.
constexpr std::uint64_t bell_tag = 0;
/// What a leg is watched for. Room to write is asked for once something waits for it: each new
/// session would make two events of it that tell nothing.
constexpr std::uint32_t leg_events = EPOLLIN | EPOLLRDHUP | EPOLLET;

/// Rounded up: a rest of less than one would be no wait at all, again and again.
int whole_milliseconds(Duration time) {
  return static_cast<int>(
      std::max(std::chrono::ceil<std::chrono::milliseconds>(time).count(), std::int64_t{0}));
}

}  // namespace

Relay::Relay(EventSet& events, RelayHost& host, LoopShare& share, std::unique_ptr<SendBatch> batch)
    : host_(host),
      share_(share),
      events_(events),
      bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      batch_(std::move(batch)),
      scratch_(std::make_unique_for_overwrite<std::byte[]>(
          batch_ == nullptr ? scratch_size : most_waiting_for_batch + scratch_size)) {
  if (!bell_.open()) throw std::system_error(errno, std::generic_category(), "eventfd");
  // Without it the io_context is served a little later.
  (void)events_.add(bell_.get(), EPOLLIN | EPOLLET, bell_tag);
}

void Relay::start() {
  wait();
}

void Relay::ring() noexcept {
  // Nobody reads it: each write is an edge of its own.
  const std::uint64_t one = 1;
  (void)!::write(bell_.get(), &one, sizeof one);
}

void Relay::stop() {
  stopped_ = true;
  events_.stop();
}

void Relay::wait() {
  if (stopped_) return;
  events_.watch().async_wait(boost::asio::posix::stream_descriptor::wait_read,
                             [this](const boost::system::error_code& error) {
                               if (error || stopped_) return;
                               serve();
                               wait();
                             });
}

/// Handles the events that are there, and those that follow.
void Relay::serve() {
  share_.turn_begins();
  Instant now = monotonic_now();
  // What became ready together with the relay is queued behind it, and its ring may have been heard
  // already: so it is not left waiting for a ring alone.
  const Instant until = now + LoopShare::patience;
  int timeout = 0;  // these events are there already
  do {
    now = turn(timeout);
    timeout = again_.empty() ? whole_milliseconds(until - now) : 0;
  } while (!stopped_ && now < until && share_.relay_may_wait());
  if (!again_.empty()) post_again();
}

bool Relay::adopt(Session& session) {
  return watch(session, Side::client) && watch(session, Side::server);
}

bool Relay::watch(Session& session, Side side) noexcept {
  return events_.add(session.leg(side).fd.get(), leg_events, tag(session, side));
}

bool Relay::replace_server(Session& session, Fd fd) {
  session.server = Leg{};  // closing a descriptor takes it off the set
  session.server.fd = std::move(fd);
  return watch(session, Side::server);
}

Instant Relay::turn(int timeout) {
  serving_ = true;
  const std::span<const epoll_event> ready = events_.wait(timeout);
  const Instant now = monotonic_now();
  handle(ready, now);
  run_again(now);
  send_batch(now);
  serving_ = false;
  return now;
}

void Relay::handle(std::span<const epoll_event> events, Instant now) {
  for (const epoll_event& event : events) {
    if (event.data.u64 == bell_tag) {
      share_.ask();
      continue;
    }
    if (hand_over(event, now)) continue;
    auto& session = *reinterpret_cast<Session*>(
        event.data.u64 & ~std::uint64_t{1});  // NOLINT(performance-no-int-to-ptr): set by tag()
    // Earlier events of this batch may have ended it; its memory stays until the batch is over.
    if (session.dead) continue;
    try {
      on_event(session, (event.data.u64 & 1U) != 0 ? Side::server : Side::client, event.events,
               now);
    } catch (const std::exception&) {
      fail(session, now);
    }
  }
}

bool Relay::hand_over(const epoll_event& event, Instant now) noexcept {
  try {
    return EventSet::hand_over(event, now);
  } catch (const std::exception&) {
    // What a coroutine fails with is told by whoever began it. This is of the telling, for want of
    // memory, and must not cost the others their events.
    return true;
  }
}

void Relay::fail(Session& session, Instant now) noexcept {
  // No memory for one session's bytes must not cost the others theirs: the edges of this batch come
  // only once.
  try {
    session.client.pending.clear();
    session.server.ended = true;
    host_.leg_failed(session, Side::server, ENOMEM, now);
  } catch (const std::exception&) {
    session.client.fd.close();
    session.server.fd.close();
  }
}

void Relay::on_event(Session& session, Side side, std::uint32_t events, Instant now) {
  send_waiting(session, now);
  Leg& leg = session.leg(side);
  if (session.dead || !leg.fd.open()) return;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) leg.hangup = true;
  if ((events & EPOLLERR) != 0) {
    // A reset is final even while the leg may not be read (hold, backpressure): nobody is there any
    // more.
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(leg.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      leg_lost(session, side, error, now);
      return;
    }
  }
  if (side == Side::client && leg.hangup && !leg.ended && !may_read(session, side)) {
    host_.client_hung_up(session, now);
    if (session.dead) return;
  }
  if ((events & EPOLLOUT) != 0 && !leg.pending.empty()) {
    flush(session, side, now);
    if (session.dead || !leg.fd.open()) return;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    leg.wake();
    pump(session, side, now);
  }
}

bool Relay::may_read(const Session& session, Side from) const noexcept {
  if (!session.leg(other(from)).pending.empty()) return false;
  if (from == Side::server) return true;
  return session.holds == 0 && !session.tracker.queue_full();
}

bool Relay::may_batch(const Leg& out, protocol::Bytes bytes) const noexcept {
  return batch_ != nullptr && serving_ && !submitting_ && out.tls == nullptr &&
         out.pending.empty() && bytes.data() == room() && bytes.size() <= most_batched;
}

void Relay::add_to_batch(Session& session, Side to, protocol::Bytes bytes, Instant now) {
  constexpr std::size_t cache_line = 64;
  batch_->add(session, to, bytes);
  session.leg(to).in_batch = true;
  batched_ += (bytes.size() + cache_line - 1) / cache_line * cache_line;
  if (batch_->full() || batched_ > most_waiting_for_batch - most_batched) send_batch(now);
}

void Relay::send_waiting(const Session& session, Instant now) {
  if (session.client.in_batch || session.server.in_batch) send_batch(now);
}

void Relay::send_batch(Instant now) {
  if (batch_ == nullptr || batch_->empty()) return;
  submitting_ = true;
  const auto sends = batch_->submit();
  const auto left = [](const SendBatch::Send& send) {
    const auto sent = static_cast<std::size_t>(std::max(send.result, 0));
    return protocol::Bytes{send.data, send.size}.subspan(sent);
  };
  const auto lost = [](const SendBatch::Send& send) {
    return send.result < 0 && send.result != -EAGAIN;
  };
  // What did not fit is kept before any host hears of a failure: that one may relay more bytes.
  for (const SendBatch::Send& send : sends) {
    send.session->leg(send.to).in_batch = false;
    if (lost(send) || left(send).empty()) continue;
    try {
      keep(*send.session, send.to, left(send), now);
    } catch (const std::exception&) {
      fail(*send.session, now);
    }
  }
  for (const SendBatch::Send& send : sends) {
    Session& session = *send.session;
    if (!lost(send) || session.dead || !session.leg(send.to).fd.open()) continue;
    try {
      leg_lost(session, send.to, -send.result, now);
    } catch (const std::exception&) {
      fail(session, now);
    }
  }
  batched_ = 0;
  submitting_ = false;
}

void Relay::pump(Session& session, Side from, Instant now) {
  read_turn(session, from, now);
  // Answers make room in a full queue of outstanding messages: then a client that was not read may
  // go on, and no edge will come for what it sent long ago.
  if (from == Side::server && !session.dead && session.client.readable && !session.queued)
    read_turn(session, Side::client, now);
}

ssize_t Relay::receive(Session& session, Side from) {
  Leg& in = session.leg(from);
  // What is thrown away needs no key.
  if (in.tls != nullptr && !in.discard) return receive_sealed(session, from);
  const ssize_t got = ::recv(in.fd.get(), room(), scratch_size, MSG_DONTWAIT);
  if (got > 0 && static_cast<std::size_t>(got) < scratch_size && !in.hangup) in.readable = false;
  return got;
}

ssize_t Relay::receive_sealed(Session& session, Side from) {
  Leg& in = session.leg(from);
  const TlsStream::Result got = in.tls->read(room(), scratch_size);
  if (got.step == TlsStream::Step::want_read) in.readable = false;
  const int error = got.step == TlsStream::Step::failed ? in.tls->error() : 0;
  // A key update wants an answer, a failure an alert.
  if (!TlsStream::output().empty()) send_output(session, from);
  if (got.size > 0) return static_cast<ssize_t>(got.size);
  switch (got.step) {
    case TlsStream::Step::ended:
      return 0;
    case TlsStream::Step::failed:
      errno = error;
      return -1;
    case TlsStream::Step::want_read:
      errno = EAGAIN;
      return -1;
    default:
      errno = EINTR;
      return -1;
  }
}

void Relay::send_output(Session& session, Side side) {
  Leg& leg = session.leg(side);
  protocol::Bytes bytes = TlsStream::output();
  if (leg.pending.empty()) {
    const ssize_t sent =
        ::send(leg.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    // A broken connection shows at the next read.
    if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return;
  }
  if (bytes.empty()) return;
  const std::size_t waiting = leg.pending.end - leg.pending.begin;
  if (waiting + bytes.size() > scratch_size + most_waiting_output) {
    // Not here: what is left of it would be read once more, and ask for answers again.
    leg.tls->give_up();
    return;
  }
  auto longer = std::make_unique_for_overwrite<std::byte[]>(waiting + bytes.size());
  if (waiting > 0) std::memcpy(longer.get(), leg.pending.data.get() + leg.pending.begin, waiting);
  std::memcpy(longer.get() + waiting, bytes.data(), bytes.size());
  leg.pending.data = std::move(longer);
  leg.pending.begin = 0;
  leg.pending.end = static_cast<std::uint32_t>(waiting + bytes.size());
  watch_for_room(session, side);
}

void Relay::read_turn(Session& session, Side from, Instant now) {
  send_waiting(session, now);
  Leg& in = session.leg(from);
  const Side to = other(from);
  for (unsigned turn = 0; turn < reads_per_turn; ++turn) {
    if (session.dead || !in.fd.open() || !in.readable || in.ended) return;
    if (!in.discard && !may_read(session, from)) return;
    const ssize_t got = receive(session, from);
    if (got > 0) {
      const auto size = static_cast<std::size_t>(got);
      if (in.discard) continue;
      const protocol::Bytes onward = host_.observe(session, from, {room(), size}, now);
      Leg& out = session.leg(to);
      if (onward.empty() || out.discard || !out.fd.open()) continue;
      if (!in.readable && may_batch(out, onward)) {
        add_to_batch(session, to, onward, now);
        return;
      }
      if (!forward(session, to, onward.data(), onward.size(), now)) return;
    } else if (got == 0) {
      in.readable = false;
      in.ended = true;
      host_.leg_ended(session, from, now);
      return;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      in.readable = false;
      return;
    } else if (errno != EINTR) {
      in.readable = false;
      in.ended = true;
      host_.leg_failed(session, from, errno, now);
      return;
    }
  }
  if (!session.queued) {
    session.queued = true;
    again_.push_back(&session);
  }
  post_again();
}

/// A turn that no event will bring, for what is left when the relay goes back to the io_context.
void Relay::post_again() {
  if (again_posted_ || serving_) return;
  again_posted_ = true;
  boost::asio::post(events_.context(), [this] {
    again_posted_ = false;
    run_again(monotonic_now());
  });
}

void Relay::run_again(Instant now) {
  if (again_.empty()) return;
  again_now_.swap(again_);
  for (std::size_t i = 0; i < again_now_.size(); ++i) {
    Session* session = again_now_[i];
    if (session == nullptr) continue;
    session->queued = false;
    try {
      pump(*session, Side::client, now);
      if (!session->dead) pump(*session, Side::server, now);
    } catch (const std::exception&) {
      fail(*session, now);
    }
  }
  again_now_.clear();
}

bool Relay::forward(Session& session, Side to, const std::byte* data, std::size_t size,
                    Instant now) {
  Leg& out = session.leg(to);
  if (out.tls != nullptr) {
    const protocol::Bytes sealed = out.tls->seal({data, size});
    if (sealed.empty()) {
      leg_lost(session, to, out.tls->error(), now);
      return false;
    }
    data = sealed.data();
    size = sealed.size();
  }
  std::size_t sent = 0;
  while (sent < size) {
    const ssize_t n = ::send(out.fd.get(), data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
      // A short send means a full socket: asking again would only show EAGAIN.
      if (sent < size) break;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      leg_lost(session, to, errno, now);
      return false;
    }
  }
  if (sent < size) keep(session, to, {data + sent, size - sent}, now);
  return true;
}

void Relay::keep(Session& session, Side to, protocol::Bytes rest, Instant now) {
  Leg& out = session.leg(to);
  out.pending.data = std::make_unique_for_overwrite<std::byte[]>(rest.size());
  std::memcpy(out.pending.data.get(), rest.data(), rest.size());
  out.pending.begin = 0;
  out.pending.end = static_cast<std::uint32_t>(rest.size());
  watch_for_room(session, to);
  if (to == Side::client) session.stalled_since = now;
}

void Relay::watch_for_room(Session& session, Side side) noexcept {
  Leg& leg = session.leg(side);
  if (std::exchange(leg.room_watched, true)) return;
  // Room that came meanwhile makes an event of its own.
  events_.change(leg.fd.get(), leg_events | EPOLLOUT, tag(session, side));
}

void Relay::flush(Session& session, Side side, Instant now) {
  Leg& out = session.leg(side);
  if (side == Side::client) settle(session, now);
  while (!out.pending.empty()) {
    const std::size_t rest = out.pending.end - out.pending.begin;
    const ssize_t n = ::send(out.fd.get(), out.pending.data.get() + out.pending.begin, rest,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      out.pending.begin += static_cast<std::uint32_t>(n);
      if (side == Side::client) session.stalled_since = now;
    } else if (n < 0 && errno != EINTR) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        const int error = errno;
        out.pending.clear();
        leg_lost(session, side, error, now);
      }
      return;
    }
  }
  out.pending.clear();
  if (side == Side::client) session.stalled_since = {};
  host_.flushed(session, side, now);
  if (session.dead || !out.fd.open()) return;
  pump(session, other(side), now);
}

void Relay::leg_lost(Session& session, Side side, int error, Instant now) {
  if (side == Side::client && session.holds > 0) {
    // What it sent before the reset goes on when the hold ends, as it would have directly.
    session.client.lost = error;
    session.client.pending.clear();
    return;
  }
  relay_rest(session, side, now);
  Leg& leg = session.leg(side);
  if (session.dead || !leg.fd.open()) return;
  leg.ended = true;
  host_.leg_failed(session, side, error, now);
}

void Relay::relay_rest(Session& session, Side from, Instant now) {
  // A reset leaves what came before it in the socket. A client that sent INSERT and Terminate, and
  // closed over an answer it had not read, ends so; so does a server whose last words are a FATAL
  // error. Directly, the peer would read them.
  Leg& in = session.leg(from);
  in.wake();
  const Side to = other(from);
  while (!session.dead && in.fd.open() && !in.ended && !in.discard && may_read(session, from)) {
    const ssize_t got = receive(session, from);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    const protocol::Bytes onward =
        host_.observe(session, from, {room(), static_cast<std::size_t>(got)}, now);
    Leg& out = session.leg(to);
    if (onward.empty() || out.discard || !out.fd.open()) continue;
    if (!forward(session, to, onward.data(), onward.size(), now)) return;
  }
}

void Relay::resume(Session& session, Instant now) {
  if (session.holds > 0) --session.holds;
  if (session.holds > 0 || session.dead) return;
  send_waiting(session, now);
  if (session.dead) return;
  if (const int error = std::exchange(session.client.lost, 0)) {
    leg_lost(session, Side::client, error, now);
  } else {
    pump(session, Side::client, now);
  }
}

void Relay::kick(Session& session, Side side, Instant now) {
  session.leg(side).wake();
  pump(session, side, now);
}

bool Relay::inject(Session& session, Side side, std::string_view bytes, Instant now) {
  send_waiting(session, now);
  Leg& leg = session.leg(side);
  if (session.dead || !leg.fd.open() || leg.shut || !leg.pending.empty()) return false;
  return forward(session, side, reinterpret_cast<const std::byte*>(bytes.data()), bytes.size(),
                 now);
}

void Relay::shut(Session& session, Side side) noexcept {
  Leg& leg = session.leg(side);
  if (!leg.fd.open() || leg.shut || !leg.pending.empty()) return;
  leg.shut = true;
  if (leg.tls != nullptr) {
    // Says that nothing was cut off. Where it does not fit the peer will see an end of file alone.
    const protocol::Bytes last = leg.tls->close_notify();
    if (!last.empty())
      (void)!::send(leg.fd.get(), last.data(), last.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  ::shutdown(leg.fd.get(), SHUT_WR);
}

void Relay::forget(Session& session) noexcept {
  if (!session.queued) return;
  std::replace(again_.begin(), again_.end(), &session, static_cast<Session*>(nullptr));
  std::replace(again_now_.begin(), again_now_.end(), &session, static_cast<Session*>(nullptr));
  session.queued = false;
}

}  // namespace pgleash::proxy
