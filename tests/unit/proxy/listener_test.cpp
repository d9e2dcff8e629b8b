#include "proxy/listener.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace pgleash::proxy {
namespace {

struct Quiet final : ProxyEvents {
  void listening(std::string_view, std::string_view) override {}
  void accept_paused(std::string_view, std::string_view) override { ++paused; }
  void refused(std::string_view, const Endpoint&, AcceptResult, std::string_view) override {}
  void session_opened(SessionId, const SessionIdentity&) override {}
  void session_closed(const SessionIdentity&, const SessionEnd&) override {}
  void client_gone(SessionId, const SessionIdentity&, bool) override {}
  void failure(std::string_view, std::string_view) override {}
  int paused = 0;
};

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

class ListenerTest : public testing::Test {
 protected:
  ListenerTest() {
    settings.name = "main";
    settings.keepalive.idle = std::chrono::seconds{17};
    settings.keepalive.interval = std::chrono::seconds{5};
    settings.keepalive.count = 4;
    settings.keepalive.user_timeout = std::chrono::milliseconds{12'345};
  }
  void listen(Fd inherited = {}) {
    listener.emplace(set, settings, 0, config::Address{"127.0.0.1", 0, false}, std::move(inherited),
                     events, [this](Accepted one) { accepted.push_back(std::move(one)); });
    set.serve();
    listener->start();
  }
  /// Listens, as a service manager does before it starts us.
  static Fd somebody_elses() {
    Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 16), 0);
    return fd;
  }
  void expect_options_of_a_leg(int fd) {
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 17);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 5);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
  }
  Fd connect() {
    Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(listener->port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return client;
  }
  /// In how many turns so many came.
  std::size_t run_until(std::size_t count) {
    std::size_t turns = 0;
    while (accepted.size() < count && context.run_one_for(std::chrono::seconds{10}) == 1) ++turns;
    return turns;
  }

  boost::asio::io_context context{1};
  EventSet set{context};
  Quiet events;
  config::Listener settings;
  std::vector<Accepted> accepted;
  std::optional<Listener> listener;
};

TEST_F(ListenerTest, GivesItsConnectionsTheOptionsOfALeg) {
  listen();
  const Fd client = connect();
  run_until(1);
  ASSERT_EQ(accepted.size(), 1U);
  expect_options_of_a_leg(accepted.front().fd.get());
}

TEST_F(ListenerTest, GivesThemToThoseWhoCameBeforeItTookTheSocketOver) {
  Fd inherited = somebody_elses();
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(inherited.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const Fd early{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::connect(early.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  listen(std::move(inherited));
  run_until(1);
  ASSERT_EQ(accepted.size(), 1U);
  expect_options_of_a_leg(accepted.front().fd.get());
}

TEST_F(ListenerTest, LeavesASocketThatOthersKeepOpenAloneOnceItStopped) {
  Fd inherited = somebody_elses();
  const Fd kept{::dup(inherited.get())};
  listen(std::move(inherited));
  const std::uint16_t port = listener->port();
  listener->stop();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Fd late{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::connect(late.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(context.poll(), 0U) << "no event may come of it, again and again";
  EXPECT_EQ(events.paused, 0);
}

TEST_F(ListenerTest, TakesARushInFewTurns) {
  listen();
  std::vector<Fd> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(connect());
  EXPECT_LT(run_until(clients.size()), clients.size() / 2);
  EXPECT_EQ(accepted.size(), clients.size());
}

TEST_F(ListenerTest, TakesNobodyInAnyMoreOnceItStopped) {
  listen();
  const Fd client = connect();
  listener->stop();
  context.poll();
  EXPECT_TRUE(accepted.empty());
  char byte = 0;
  EXPECT_LE(::recv(client.get(), &byte, 1, 0), 0) << "the kernel closed it";
}

TEST_F(ListenerTest, StopsInTheMiddleOfARush) {
  listener.emplace(set, settings, 0, config::Address{"127.0.0.1", 0, false}, Fd{}, events,
                   [this](Accepted one) {
                     accepted.push_back(std::move(one));
                     listener->stop();
                   });
  set.serve();
  listener->start();
  const Fd first = connect();
  const Fd second = connect();
  run_until(1);
  context.poll();
  EXPECT_EQ(accepted.size(), 1U);
}

}  // namespace
}  // namespace pgleash::proxy
