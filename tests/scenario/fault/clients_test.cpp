#include "tests/scenario/fault/fault.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

/// Clients in numbers, half-finished, and slow.
namespace pgleash::test {
namespace {

/// A connection on which nobody waits for an answer.
class Raw {
 public:
  explicit Raw(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Raw() {
    if (fd_ >= 0) ::close(fd_);
  }
  Raw(Raw&& from) noexcept : fd_(std::exchange(from.fd_, -1)), connected_(from.connected_) {}
  Raw& operator=(Raw&&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  void say(const std::string& bytes) const {
    (void)::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void reset_when_closed() const {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }

 private:
  int fd_;
  bool connected_ = false;
};

const std::string startup{"\0\0\0\x22\0\3\0\0user\0app\0database\0orders\0", 34};

class ClientFault : public Fault {
 protected:
  void SetUp() override {
    Fault::SetUp();
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < 4096) GTEST_SKIP() << "NO ROOM HERE: ulimit -n of 4096 is needed";
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
};

TEST_F(ClientFault, TwoThousandConnectsInBurstsAreBorne) {
  auto& house = this->house({});
  house.watch("pgleash_client_connections_total");
  int connected = 0;
  for (int burst = 0; burst < 10; ++burst) {
    std::vector<Raw> all;
    all.reserve(200);
    for (int i = 0; i < 200; ++i) {
      all.emplace_back(pgleash().port());
      connected += all.back().connected() ? 1 : 0;
      // Those who leave at once, in the packet, behind a request for TLS, and at the password.
      if (i % 4 == 1) all.back().say(startup.substr(0, 20));
      if (i % 4 == 2) all.back().say(std::string{"\0\0\0\x08\x04\xd2\x16\x2f", 8});
      if (i % 4 == 3) all.back().say(startup);
      if (i % 8 > 3) all.back().reset_when_closed();
    }
    EXPECT_EQ(login_as("regular").exec("SELECT 'in between'"), "in between") << burst;
  }
  EXPECT_EQ(connected, 2000);
  // Each is accounted for, by what it did.
  EXPECT_TRUE(wait_until(
      [&] { return pgleash().metric("pgleash_client_connections_total") >= 2000; }, 30s));
  house.expect_in_order();
}

TEST_F(ClientFault, AThousandHalfSentStartupsKeepNobodyOut) {
  auto& house = this->house({.listener = "login_timeout = \"5s\""});
  house.watch("pgleash_client_connections_total", {{"result", "login_limit"}});
  std::vector<Raw> half;
  half.reserve(1000);
  for (int i = 0; i < 1000; ++i) {
    half.emplace_back(pgleash().port());
    half.back().say(startup.substr(0, 4 + static_cast<std::size_t>(i) % 20));
  }
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(login_as("regular").exec("SELECT 'let in'"), "let in") << i;
  // They are not waited for longer than anybody else, and stay as they are.
  house.expect_in_order();
}

TEST_F(ClientFault, StalledReadersAreBoundedAndEndedAndSlowOnesAreServed) {
  auto& house = this->house(
      {.rules = rule("stalled", "stalled", "3s", "terminate", for_application("stalled"))});
  house.watch("pgleash_client_stalled_seconds_total");
  const std::string endless = "SELECT repeat('s', 1000) FROM generate_series(1, 1000000)";
  std::vector<std::unique_ptr<Application>> stalled;
  for (int i = 0; i < 30; ++i) {
    stalled.push_back(std::make_unique<Application>(login_as("stalled")));
    stalled.back()->send(endless);
  }
  auto slow = login_as("slow");
  slow.send("SELECT repeat('s', 1000) FROM generate_series(1, 20000)");
  const long before = House::memory(pgleash().pid());
  std::size_t got = 0;
  std::vector<char> part(64 * 1024);
  // 20 MB, a little at a time, for longer than the limit: as it reads, it is not stalled.
  const auto slowly = [&] {
    const auto size = ::recv(slow.socket(), part.data(), part.size(), MSG_DONTWAIT);
    got += size > 0 ? static_cast<std::size_t>(size) : 0;
    return got > 20'000'000;
  };
  EXPECT_TRUE(wait_until(slowly, 60s));
  EXPECT_LT(House::memory(pgleash().pid()) - before, 16 * 1024)
      << "KiB for 30 results of a gigabyte";
  EXPECT_TRUE(wait_until([&] { return acted("stalled", "confirmed") == 30; }, 60s));
  stalled.clear();
  house.expect_in_order();
}

}  // namespace
}  // namespace pgleash::test
