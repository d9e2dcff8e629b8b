#pragma once

#include "protocol/types.hpp"
#include "proxy/fd.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <array>
#include <cstdint>
#include <list>
#include <span>
#include <sys/epoll.h>

namespace pgleash::proxy {

/// Something whose descriptor an EventSet watches, other than a session's leg.
class Watched {
 public:
  /// What epoll(7) says of it. It may take itself, or others, off the set.
  virtual void ready(std::uint32_t events, Instant now) = 0;

 protected:
  ~Watched() = default;
};

/// Something that waits in an EventSet and must not do so for ever.
class Waiting {
 public:
  /// Nothing will become ready any more.
  virtual void cancel() = 0;

 protected:
  ~Waiting() = default;
};

/// A worker's epoll set: sessions' legs, connections that are on their way to be a session, and the
/// sockets that listen. One descriptor, which the io_context watches in its turn, stands for all of
/// them; who waits in the set itself gets all events of a worker by one system call a wake, and
/// none is registered twice. An event carries a tag: an address, whose lowest bits say of what.
/// Everything on one thread. Source: epoll(7).
class EventSet {
 public:
  static constexpr int most_events = 256;  ///< of one batch
  /// In a tag: the address is a Watched's. Lower than the alignment of whatever has a tag.
  static constexpr std::uint64_t watched_bit = 2;

  /// Throws std::system_error when there are no descriptors.
  explicit EventSet(boost::asio::io_context& context);
  ~EventSet();
  EventSet(const EventSet&) = delete;
  EventSet& operator=(const EventSet&) = delete;

  [[nodiscard]] boost::asio::io_context& context() noexcept { return context_; }
  /// Readable for the io_context while anything in the set is ready.
  [[nodiscard]] boost::asio::posix::stream_descriptor& watch() noexcept { return watch_; }

  /// False, and errno: no memory, or too many are watched.
  [[nodiscard]] bool add(int fd, std::uint32_t events, std::uint64_t tag) noexcept;
  [[nodiscard]] bool add(int fd, std::uint32_t events, Watched& watched) noexcept {
    return add(fd, events, tag_of(watched));
  }
  /// Other events, of a descriptor that is in the set; what is ready already is told once more.
  void change(int fd, std::uint32_t events, std::uint64_t tag) noexcept;
  void change(int fd, std::uint32_t events, Watched& watched) noexcept {
    change(fd, events, tag_of(watched));
  }
  /// Off the set; no event of the batch in hand reaches it any more. A descriptor that is closed,
  /// and of which nobody has another, needs forget() only.
  void remove(int fd, Watched& watched) noexcept;
  void forget(Watched& watched) noexcept;

  /// The next batch, waited for as epoll_wait(2) does. Each event is to be looked at when its turn
  /// comes: forget() clears the tags of those whose watcher has gone meanwhile.
  [[nodiscard]] std::span<const epoll_event> wait(int timeout) noexcept;
  /// Hands a Watched its event. False: the event is not one of a Watched's.
  static bool hand_over(const epoll_event& event, Instant now);

  /// Serves the Watched ones by the io_context alone, until stop(): for a program that relays
  /// nothing.
  void serve();

  /// Who waits, for stop(): their places in this list.
  using Place = std::list<Waiting*>::iterator;
  [[nodiscard]] Place enter(Waiting& waiting) { return waiting_.insert(waiting_.end(), &waiting); }
  void leave(Place place) noexcept { waiting_.erase(place); }
  /// Ends all waits, also those that begin later: nobody will serve the set any more.
  void stop();
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }

 private:
  static std::uint64_t tag_of(Watched& watched) noexcept;

  boost::asio::io_context& context_;
  Fd epoll_;
  boost::asio::posix::stream_descriptor watch_;
  std::array<epoll_event, most_events> events_{};
  std::size_t count_ = 0;
  std::list<Waiting*> waiting_;
  bool stopped_ = false;
};

}  // namespace pgleash::proxy
