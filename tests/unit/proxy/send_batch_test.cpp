#include "proxy/send_batch.hpp"

#include "proxy/clock.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace pgleash::proxy {
namespace {

using ::testing::HasSubstr;

/// A session whose client and server are the far ends of socket pairs.
struct Pair {
  Pair() {
    for (const Side side : {Side::client, Side::server}) {
      std::array<int, 2> ends{};
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw std::runtime_error{"socketpair"};
      session.leg(side).fd = Fd{ends[0]};
      far(side) = Fd{ends[1]};
    }
  }
  Fd& far(Side side) { return side == Side::client ? client : server; }
  std::string read(Side side) {
    std::array<char, 4096> bytes{};
    const ssize_t got = ::recv(far(side).get(), bytes.data(), bytes.size(), 0);
    return got > 0 ? std::string{bytes.data(), static_cast<std::size_t>(got)} : std::string{};
  }

  protocol::StatementTexts texts;
  Session session{SessionId{1}, texts, monotonic_now()};
  Fd client;
  Fd server;
};

protocol::Bytes bytes(std::string_view text) {
  return std::as_bytes(std::span{text});
}

class SendBatches : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    batch_ = SendBatch::create(why);
    if (batch_ == nullptr) GTEST_SKIP() << "no io_uring here: " << why;
  }
  /// A session whose client has stopped reading: its socket is full.
  static void fill(Pair& pair) {
    const std::vector<char> much(65536);
    while (::send(pair.session.client.fd.get(), much.data(), much.size(), MSG_DONTWAIT) > 0) {
    }
  }

  std::unique_ptr<SendBatch> batch_;
};

TEST_F(SendBatches, WriteEachToItsOwnSocket) {
  std::array<Pair, SendBatch::capacity / 2> pairs;
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    texts.push_back("to client " + std::to_string(i));
    texts.push_back("to server " + std::to_string(i));
  }
  // Twice: a batch that was submitted leaves nothing behind.
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      batch_->add(pairs[i].session, Side::client, bytes(texts[2 * i]));
      batch_->add(pairs[i].session, Side::server, bytes(texts[2 * i + 1]));
    }
    EXPECT_TRUE(batch_->full());
    const auto sends = batch_->submit();
    EXPECT_TRUE(batch_->empty());
    ASSERT_EQ(sends.size(), SendBatch::capacity);
    for (const SendBatch::Send& send : sends)
      EXPECT_EQ(send.result, static_cast<std::int32_t>(send.size));
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      EXPECT_EQ(pairs[i].read(Side::client), texts[2 * i]);
      EXPECT_EQ(pairs[i].read(Side::server), texts[2 * i + 1]);
    }
  }
}

TEST_F(SendBatches, SayOfEachWhatBecameOfItAndNeverWait) {
  Pair full;
  fill(full);
  Pair gone;
  gone.client.close();
  Pair closed;
  closed.session.client.fd.close();
  Pair well;
  for (Pair* one : {&full, &gone, &closed, &well})
    batch_->add(one->session, Side::client, bytes("x"));
  const auto sends = batch_->submit();
  ASSERT_EQ(sends.size(), 4U);
  EXPECT_EQ(sends[0].result, -EAGAIN);
  EXPECT_EQ(sends[1].result, -EPIPE);
  EXPECT_EQ(sends[2].result, -EBADF);
  EXPECT_EQ(sends[3].result, 1);
  EXPECT_EQ(well.read(Side::client), "x");
}

TEST_F(SendBatches, WriteAsMuchAsFits) {
  Pair narrow;
  const int size = 4096;
  ASSERT_EQ(::setsockopt(narrow.session.client.fd.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size),
            0);
  Pair other;
  const std::vector<std::byte> much(std::size_t{4} * 1024 * 1024, std::byte{'m'});
  batch_->add(narrow.session, Side::client, much);
  batch_->add(other.session, Side::client, bytes("small"));
  const auto sends = batch_->submit();
  EXPECT_GT(sends[0].result, 0);
  EXPECT_LT(sends[0].result, static_cast<std::int32_t>(much.size()));
  EXPECT_EQ(sends[1].result, 5);
}

TEST_F(SendBatches, GoOnOneByOneWhenTheRingFails) {
  std::array<Pair, 3> pairs;
  int ring = -1;
  for (int fd = 3; fd < 1024; ++fd) {
    std::array<char, 64> target{};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    if (::readlink(link.c_str(), target.data(), target.size() - 1) > 0 &&
        std::string_view{target.data()}.find("io_uring") != std::string_view::npos)
      ring = fd;
  }
  ASSERT_GE(ring, 0);
  // From now on the ring answers EOPNOTSUPP.
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup3(null, ring, O_CLOEXEC);
  ::close(null);
  for (int round = 0; round < 2; ++round) {
    for (Pair& one : pairs) batch_->add(one.session, Side::server, bytes("still here"));
    for (const SendBatch::Send& send : batch_->submit()) EXPECT_EQ(send.result, 10);
    for (Pair& one : pairs) EXPECT_EQ(one.read(Side::server), "still here");
  }
}

TEST(SendBatch, SaysWhyWhereTheKernelForbidsIt) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::array<sock_filter, 4> filter{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{filter.size(), filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
      ::_exit(2);
    std::string why;
    const auto batch = SendBatch::create(why);
    (void)!::write(pipe[1], why.data(), why.size());
    ::_exit(batch == nullptr ? 0 : 1);
  }
  ::close(pipe[1]);
  std::string why(256, '\0');
  const ssize_t got = ::read(pipe[0], why.data(), why.size());
  why.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  ::close(pipe[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_THAT(why, HasSubstr("io_uring_setup: Operation not permitted"));
}

}  // namespace
}  // namespace pgleash::proxy
