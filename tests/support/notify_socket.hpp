#pragma once

#include "tests/support/temp_dir.hpp"

#include <array>
#include <chrono>
#include <cstring>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace pgleash::test {

/// Hears what a service tells its manager, as systemd does.
class NotifySocket {
 public:
  NotifySocket() {
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    const std::string path = address();
    std::memcpy(where.sun_path, path.data(), path.size());
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0)
      throw std::runtime_error{"cannot listen on " + path};
  }
  ~NotifySocket() { ::close(fd_); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  /// For $NOTIFY_SOCKET.
  [[nodiscard]] std::string address() const { return directory_ / "notify"; }
  /// The next message with this word; empty when none comes within `patience` of the one before.
  std::string hears(const std::string& word,
                    std::chrono::milliseconds patience = std::chrono::seconds{10}) {
    for (;;) {
      const std::string message = next(patience);
      if (message.empty() || message.find(word) != std::string::npos) return message;
    }
  }
  /// Passes over what was said up to now.
  void forget() {
    while (!next(std::chrono::milliseconds{0}).empty()) {
    }
  }

 private:
  std::string next(std::chrono::milliseconds patience) {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(patience.count())) != 1) return "";
    std::array<char, 4096> text{};
    const auto size = ::recv(fd_, text.data(), text.size(), 0);
    return {text.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
  }

  TempDir directory_;
  int fd_ = -1;
};

}  // namespace pgleash::test
