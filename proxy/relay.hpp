#pragma once

#include "proxy/event_set.hpp"
#include "proxy/loop_share.hpp"
#include "proxy/send_batch.hpp"
#include "proxy/session.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <sys/types.h>
#include <vector>

namespace pgleash::proxy {

/// What the relay tells of its sessions: every byte before it goes on, and each end. Implemented by
/// the worker.
class RelayHost {
 public:
  virtual ~RelayHost() = default;
  /// Bytes read from `from`, about to be written to the other side. Returns what to write: those
  /// very bytes, or, behind a cancel of ours, others in their place, valid until the next call.
  /// Nothing: the session is ending.
  virtual protocol::Bytes observe(Session& session, Side from, protocol::Bytes bytes,
                                  Instant now) = 0;
  /// End of file on a leg, everything before it forwarded or waiting to be.
  virtual void leg_ended(Session& session, Side side, Instant now) = 0;
  /// Reset, dead peer or any other error on a leg.
  virtual void leg_failed(Session& session, Side side, int error, Instant now) = 0;
  /// The client closed its half, or all, while it may not be read (backpressure, hold): what it
  /// sent before is still in the socket. May be said more than once.
  virtual void client_hung_up(Session& session, Instant now) = 0;
  /// What waited for `side` is written.
  virtual void flushed(Session& session, Side side, Instant now) = 0;
};

/// Moves the bytes of one worker's sessions. Their sockets stand edge-triggered in the worker's
/// EventSet, each registered once; the relay is who waits in it, for all that stand there. Bytes
/// are received into one scratch buffer, observed, and sent at once; only what does not fit is
/// copied, and while it waits the other side is not read (backpressure is structural). A short read
/// proves a socket empty, so nothing is read just to see EAGAIN. A leg that speaks TLS has a
/// TlsStream between its socket and the scratch buffer, and is the same in all else; what waits for
/// it is ciphertext. While bytes flow it waits in its own set, one system call a wake, as LoopShare
/// allows. With a SendBatch the small messages of one turn are written together at its end, or
/// before anything else happens to their session: no host ever sees a session with bytes that were
/// observed and not sent. No allocation and no lock per message. All calls on the worker's thread.
/// Sessions are the worker's; the relay never frees one. Source: epoll(7), "Level-triggered and
/// edge-triggered".
class Relay {
 public:
  static constexpr std::size_t scratch_size = 64 * 1024;
  static constexpr unsigned reads_per_turn = 16;  ///< of one leg, before others get their turn
  /// Answers of TLS itself that may wait for a peer who asks and does not read.
  static constexpr std::size_t most_waiting_output = 4 * scratch_size;

  static constexpr std::size_t most_batched = 16 * 1024;  ///< of one leg; more is sent at once
  static constexpr std::size_t most_waiting_for_batch = 128 * 1024;  ///< of all

  /// `events` and `share` outlive the relay. Without a batch each send is a system call of its own.
  Relay(EventSet& events, RelayHost& host, LoopShare& share, std::unique_ptr<SendBatch> batch);
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  void start();
  /// Gives the io_context its turn, from any thread: after something was posted to it.
  void ring() noexcept;
  /// No more events after this; sessions must be removed first.
  void stop();

  /// Registers both sockets. Bytes that are there already are seen as an edge.
  [[nodiscard]] bool adopt(Session& session);
  /// Another socket in the place of the server's, which is closed: nothing may wait for it. False:
  /// it could not be registered.
  [[nodiscard]] bool replace_server(Session& session, Fd fd);
  /// The client is not read until resume(); may be nested.
  void hold(Session& session) noexcept { ++session.holds; }
  void resume(Session& session, Instant now);
  /// Reads a leg although no edge came: after `discard` was set, or when the phase changed what is
  /// done with its bytes.
  void kick(Session& session, Side side, Instant now);
  /// Writes own bytes to a leg that has nothing pending; what does not fit waits like any other.
  /// False: leg is closed.
  bool inject(Session& session, Side side, std::string_view bytes, Instant now);
  /// Closes our half towards `side`, after what waits for it.
  void shut(Session& session, Side side) noexcept;
  /// Forgets the session: it must not be on any list of the relay when its memory goes.
  void forget(Session& session) noexcept;

 private:
  void wait();
  void serve();
  /// One batch of events, waited for as epoll_wait(2) does with that timeout; when it was there.
  Instant turn(int timeout);
  void handle(std::span<const epoll_event> events, Instant now);
  /// EventSet::hand_over() of what must not end the batch.
  static bool hand_over(const epoll_event& event, Instant now) noexcept;
  void on_event(Session& session, Side side, std::uint32_t events, Instant now);
  void pump(Session& session, Side from, Instant now);
  /// recv(2), through TLS where the leg has it: bytes for the scratch buffer, 0 at the end, or -1
  /// and errno. Clears `readable` once it knows that there is no more.
  [[nodiscard]] ssize_t receive(Session& session, Side from);
  [[nodiscard]] ssize_t receive_sealed(Session& session, Side from);
  void read_turn(Session& session, Side from, Instant now);
  void flush(Session& session, Side side, Instant now);
  [[nodiscard]] bool may_read(const Session& session, Side from) const noexcept;
  /// False when the leg failed; the host was told.
  bool forward(Session& session, Side to, const std::byte* data, std::size_t size, Instant now);
  /// Sends what TLS itself has to say to a leg, behind what waits there.
  void send_output(Session& session, Side side);
  /// The leg's connection is reset or dead.
  void leg_lost(Session& session, Side side, int error, Instant now);
  /// Relays what the leg's peer sent before it reset the connection.
  void relay_rest(Session& session, Side from, Instant now);
  [[nodiscard]] bool watch(Session& session, Side side) noexcept;
  /// From the first time on that something waits for the leg.
  void watch_for_room(Session& session, Side side) noexcept;
  /// What did not fit into the leg's socket waits.
  void keep(Session& session, Side to, protocol::Bytes rest, Instant now);
  /// Where the next bytes are received: behind those that wait to be sent together.
  [[nodiscard]] std::byte* room() const noexcept { return scratch_.get() + batched_; }
  [[nodiscard]] bool may_batch(const Leg& out, protocol::Bytes bytes) const noexcept;
  void add_to_batch(Session& session, Side to, protocol::Bytes bytes, Instant now);
  void send_batch(Instant now);
  /// Writes what was observed of this session, before anything else is done with it.
  void send_waiting(const Session& session, Instant now);
  void run_again(Instant now);
  void post_again();
  void fail(Session& session, Instant now) noexcept;

  RelayHost& host_;
  LoopShare& share_;
  EventSet& events_;
  Fd bell_;
  std::unique_ptr<SendBatch> batch_;  ///< null: none
  std::unique_ptr<std::byte[]> scratch_;
  std::size_t batched_ = 0;  ///< of the scratch buffer: bytes that wait in the batch
  std::vector<Session*> again_;
  std::vector<Session*> again_now_;
  bool again_posted_ = false;
  bool serving_ = false;
  bool submitting_ = false;
  bool stopped_ = false;
};

}  // namespace pgleash::proxy
