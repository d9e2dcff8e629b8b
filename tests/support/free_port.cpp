#include "tests/support/free_port.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <random>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace pgleash::test {

// Below the range that the kernel gives to outgoing connections.
std::uint16_t free_port() {
  static std::minstd_rand random{std::random_device{}()};
  for (int attempt = 0; attempt < 100; ++attempt) {
    const auto port =
        static_cast<std::uint16_t>(std::uniform_int_distribution<int>{20000, 32000}(random));
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free =
        ::bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    if (free) return port;
  }
  throw std::runtime_error{"no free port"};
}

}  // namespace pgleash::test
