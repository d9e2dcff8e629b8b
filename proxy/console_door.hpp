#pragma once

#include "proxy/session_view.hpp"
#include "proxy/socket.hpp"

#include <string>

namespace pgleash::proxy {

/// Who asked for the console, and was authenticated by the server in this very login.
struct ConsoleGuest {
  std::string user;
  std::string server;  ///< that authenticated the user
  Endpoint client;
  bool ready_sent = false;  ///< the client has its first ReadyForQuery already
};

/// Where the proxy hands logins over that are meant for pgleash itself.
class ConsoleDoor {
 public:
  virtual ~ConsoleDoor() = default;
  /// `stream` is connected to the client, behind whatever encryption its leg has: what is written
  /// there goes on to the client, with backpressure; its end of file is the client's end. Called on
  /// a worker's thread; must not block.
  virtual void enter(Fd stream, ConsoleGuest guest) = 0;
};

}  // namespace pgleash::proxy
