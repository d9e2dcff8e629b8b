#pragma once

#include "config/config.hpp"
#include "proxy/socket.hpp"

#include <string>
#include <vector>

namespace pgleash::proxy {

/// Listening sockets that a service manager opened for us ("socket activation"), by where they are
/// bound: a listener takes its own instead of binding. Before the threads start.
class InheritedSockets {
 public:
  InheritedSockets() = default;
  /// Not of a stream, or not listening: std::runtime_error says which.
  explicit InheritedSockets(std::vector<Fd> sockets);

  /// The one bound to that address; closed when there is none. "*", 0.0.0.0 and [::] are the same:
  /// systemd binds a bare port to [::], for both families.
  [[nodiscard]] Fd take(const config::Address& address);
  /// Of those that nobody took: "[::]:6433".
  [[nodiscard]] std::vector<std::string> left() const;

 private:
  struct Inherited {
    Fd fd;
    config::Address address;
    std::string text;
  };
  std::vector<Inherited> sockets_;
};

}  // namespace pgleash::proxy
