#include "tests/support/rough_road.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <list>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <random>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace pgleash::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t most_held = 64 * 1024;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Each piece becomes a segment of its own.
void no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void reset(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

/// One direction.
struct Lane {
  int from;
  int to;
  std::string held = {};
  Clock::time_point next = {};
  std::size_t passed = 0;
  bool ended = false;   ///< `from` will send no more
  bool told = false;    ///< and `to` knows
  bool broken = false;  ///< one of them is gone

  [[nodiscard]] bool over() const { return broken || told; }

  void read() {
    char part[16384];
    const auto size = ::recv(from, part, std::min(sizeof part, most_held - held.size()), 0);
    if (size > 0) {
      held.append(part, static_cast<std::size_t>(size));
    } else if (size == 0) {
      ended = true;
    } else if (errno != EAGAIN) {
      broken = true;
    }
  }
  void write(std::size_t piece) {
    if (!held.empty()) {
      const auto size = ::send(to, held.data(), std::min(piece, held.size()), MSG_NOSIGNAL);
      if (size > 0) {
        held.erase(0, static_cast<std::size_t>(size));
        passed += static_cast<std::size_t>(size);
      } else if (errno != EAGAIN) {
        broken = true;
      }
    }
    if (held.empty() && ended && !told) {
      ::shutdown(to, SHUT_WR);
      told = true;
    }
  }
};

}  // namespace

struct RoughRoad::Way {
  Way(int client, int server, std::size_t limit)
      : up{client, server}, down{server, client}, reset_after(limit) {}
  ~Way() {
    ::close(up.from);
    ::close(up.to);
  }
  Way(const Way&) = delete;
  Way& operator=(const Way&) = delete;

  Lane up;
  Lane down;
  std::size_t reset_after;
};

RoughRoad::RoughRoad(std::uint16_t target) : target_(target) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  auto address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 512) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error{"no port for the road"};
  port_ = ntohs(address.sin_port);
  thread_ = std::thread{[this] { run(); }};
}

RoughRoad::~RoughRoad() {
  stopping_ = true;
  thread_.join();
  ::close(listener_);
}

void RoughRoad::run() {
  std::minstd_rand random{4711};
  std::list<Way> ways;
  std::vector<pollfd> wanted;
  while (!stopping_) {
    const auto now = Clock::now();
    wanted.assign(1, {listener_, POLLIN, 0});
    for (const Way& way : ways)
      for (const Lane* lane : {&way.up, &way.down}) {
        const bool room = !lane->ended && !lane->broken && lane->held.size() < most_held;
        if (room) wanted.push_back({lane->from, POLLIN, 0});
      }
    ::poll(wanted.data(), wanted.size(), 1);
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client >= 0) {
      const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const auto address = loopback(target_);
      const bool reached =
          ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
      no_delay(client);
      no_delay(server);
      ways.emplace_back(client, server, reset_after_);
      ways.back().up.broken = !reached;
      ++accepted_;
    }
    const std::size_t largest = largest_piece_;
    const bool slow = largest < most_held;
    for (Way& way : ways) {
      for (Lane* lane : {&way.up, &way.down}) {
        if (lane->broken) continue;
        if (!lane->ended && lane->held.size() < most_held) {
          pollfd one{lane->from, POLLIN, 0};
          if (::poll(&one, 1, 0) == 1) lane->read();
        }
        if (slow && lane->next > now) continue;
        // Several pieces a turn, or a long result would take minutes.
        for (int pieces = 0; pieces < 16 && !lane->broken && !lane->told; ++pieces) {
          auto piece = slow ? 1 + random() % largest : largest;
          if (lane == &way.down && way.reset_after != never)
            piece = std::min(piece, way.reset_after - std::min(way.reset_after, lane->passed));
          if (piece == 0) break;
          lane->write(piece);
          if (lane->held.empty()) break;
        }
        if (slow) lane->next = now + std::chrono::microseconds{random() % 2000};
      }
      if (way.reset_after != never && way.down.passed >= way.reset_after) {
        reset(way.up.from);
        reset(way.up.to);
        way.up.broken = true;
        ++resets_;
      }
    }
    ways.remove_if([](const Way& way) {
      return way.up.broken || way.down.broken || (way.up.over() && way.down.over());
    });
  }
}

}  // namespace pgleash::test
