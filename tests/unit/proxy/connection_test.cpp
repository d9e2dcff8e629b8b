#include "proxy/connection.hpp"

#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"
#include "proxy/tls_handshake.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <sys/socket.h>

namespace pgleash::proxy {
namespace {

namespace asio = boost::asio;
using Error = boost::system::error_code;

/// The other end of a socket pair, and a context that runs until what was begun is over.
class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
      throw std::runtime_error("no socket pair");
    ours.emplace(set, Fd{ends[0]});
    peer = Fd{ends[1]};
    set.serve();
  }
  void say(std::string_view words) {
    ASSERT_EQ(::send(peer.get(), words.data(), words.size(), 0),
              static_cast<ssize_t>(words.size()));
  }
  /// Runs it until it waits, or is over.
  template <class T>
  void begin(asio::awaitable<T> task, std::optional<T>& result) {
    asio::co_spawn(context, std::move(task), [&result](const std::exception_ptr& failure, T made) {
      if (failure) std::rethrow_exception(failure);
      result = std::move(made);
    });
    context.poll();
  }
  template <class T>
  void run_until(const std::optional<T>& result) {
    while (!result && context.run_one_for(std::chrono::seconds{10}) == 1) {
    }
    ASSERT_TRUE(result) << "nothing came of it";
  }

  asio::io_context context{1};
  EventSet set{context};
  std::optional<Connection> ours;
  Fd peer;
};

TEST_F(ConnectionTest, ReadsWhatIsThereWithoutWaiting) {
  say("hello");
  std::array<char, 5> bytes{};
  std::optional<ReadSome> read;
  begin(read_exactly(*ours, nullptr, bytes), read);
  ASSERT_TRUE(read);
  EXPECT_EQ((std::string_view{bytes.data(), bytes.size()}), "hello");
}

TEST_F(ConnectionTest, ReadsNotOneByteMoreThanItWasAskedFor) {
  say("hello, world");
  std::array<char, 5> bytes{};
  std::optional<ReadSome> read;
  begin(read_exactly(*ours, nullptr, bytes), read);
  ASSERT_TRUE(read);
  std::array<char, 16> rest{};
  EXPECT_EQ(::recv(ours->fd(), rest.data(), rest.size(), MSG_DONTWAIT), 7);
}

TEST_F(ConnectionTest, WaitsForEachByteThatIsMissing) {
  std::array<char, 6> bytes{};
  std::optional<ReadSome> read;
  begin(read_exactly(*ours, nullptr, bytes), read);
  for (const char* byte : {"a", "b", "c", "d", "e"}) {
    say(byte);
    context.poll();
    EXPECT_FALSE(read);
  }
  say("f");
  run_until(read);
  EXPECT_FALSE(read->error);
  EXPECT_EQ((std::string_view{bytes.data(), bytes.size()}), "abcdef");
}

TEST_F(ConnectionTest, MissesNoEdgeThatCameWhileItWaitedForRoom) {
  std::string much(1 << 22, 'x');
  std::optional<Error> written;
  begin(write_all(*ours, nullptr, much), written);
  ASSERT_FALSE(written) << "more than the sockets hold";
  say("!");
  context.poll();  // the only edge of this byte, and nobody waits for it
  std::size_t drained = 0;
  while (!written) {
    std::array<char, 65536> bytes{};
    const ssize_t got = ::recv(peer.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got > 0) drained += static_cast<std::size_t>(got);
    ASSERT_TRUE(got > 0 || errno == EAGAIN);
    context.poll();
  }
  EXPECT_FALSE(*written);
  EXPECT_GT(drained, 0U);
  std::optional<Error> waited;
  begin(ours->wait(Connection::Wait::input), waited);
  run_until(waited);
  EXPECT_FALSE(*waited);
}

TEST_F(ConnectionTest, TellsOfTheEnd) {
  std::array<char, 6> bytes{};
  std::optional<ReadSome> read;
  begin(read_exactly(*ours, nullptr, bytes), read);
  say("abc");
  peer.close();
  run_until(read);
  EXPECT_EQ(read->error, asio::error::eof);
  EXPECT_EQ(read->size, 3U);
}

TEST_F(ConnectionTest, EndsItsWaitWhenItIsCancelledButNotAtOnce) {
  std::optional<Error> waited;
  begin(ours->wait(Connection::Wait::input), waited);
  ours->cancel();
  EXPECT_FALSE(waited) << "whoever cancels may be in the middle of something";
  run_until(waited);
  EXPECT_EQ(*waited, asio::error::operation_aborted);
  EXPECT_TRUE(ours->is_open());
}

TEST_F(ConnectionTest, EndsItsWaitWhenItIsClosed) {
  std::optional<Error> waited;
  begin(ours->wait(Connection::Wait::input), waited);
  ours->close();
  run_until(waited);
  EXPECT_EQ(*waited, asio::error::operation_aborted);
  std::optional<Error> again;
  begin(ours->wait(Connection::Wait::input), again);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, asio::error::operation_aborted);
}

TEST_F(ConnectionTest, EndsAllWaitsWhenTheSetStops) {
  std::optional<Error> waited;
  begin(ours->wait(Connection::Wait::input), waited);
  set.stop();
  run_until(waited);
  EXPECT_EQ(*waited, asio::error::operation_aborted);
  std::optional<Error> later;
  begin(ours->wait(Connection::Wait::input), later);
  ASSERT_TRUE(later);
  EXPECT_EQ(*later, asio::error::operation_aborted);
  context.run();  // nothing is left that would keep it
}

TEST_F(ConnectionTest, IsClosedAtItsDeadline) {
  const Deadline soon{*ours, monotonic_now() + std::chrono::milliseconds{20}};
  std::array<char, 1> byte{};
  std::optional<ReadSome> read;
  begin(read_exactly(*ours, nullptr, byte), read);
  run_until(read);
  EXPECT_EQ(read->error, asio::error::operation_aborted);
  EXPECT_TRUE(soon.expired());
  EXPECT_FALSE(ours->is_open());
}

TEST_F(ConnectionTest, LeavesTheSetWithItsDescriptor) {
  std::optional<Error> waited;
  begin(ours->wait(Connection::Wait::input), waited);
  say("a");
  run_until(waited);
  const Fd descriptor = ours->release();
  EXPECT_FALSE(ours->is_open());
  EXPECT_TRUE(set.add(descriptor.get(), EPOLLIN, 4)) << errno;
}

TEST_F(ConnectionTest, TellsThatNobodyListensThere) {
  const Fd unused{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(unused.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(unused.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  Connection leg{set};
  Error error = leg.connect(StreamProtocol::endpoint{&address, size});
  if (error == asio::error::in_progress) {
    std::optional<Error> connected;
    begin(leg.connected(), connected);
    run_until(connected);
    error = *connected;
  }
  EXPECT_EQ(error, asio::error::connection_refused);
}

TEST_F(ConnectionTest, IsConnectedAtOnceOnOneHost) {
  asio::ip::tcp::acceptor acceptor{context, {asio::ip::make_address("127.0.0.1"), 0}};
  Connection leg{set};
  const StreamProtocol::endpoint where{acceptor.local_endpoint()};
  EXPECT_FALSE(leg.connect(where));
  EXPECT_EQ(::send(leg.fd(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), 1);
}

}  // namespace
}  // namespace pgleash::proxy
