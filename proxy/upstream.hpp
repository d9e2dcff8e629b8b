#pragma once

#include "proxy/cancel_sender.hpp"
#include "proxy/socket.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace pgleash::proxy {

/// A connected server leg, or what was tried and why it failed, in one line for the client and the
/// log.
struct UpstreamResult {
  Fd fd;
  std::string error;
};

/// Connects server legs for one worker. Names are resolved by Asio and remembered for a moment;
/// each address is tried in turn within connect_timeout. One thread.
class Upstream {
 public:
  static constexpr Duration name_ttl = std::chrono::seconds{5};

  explicit Upstream(boost::asio::io_context& context) : context_(context) {}

  /// `server` outlives the call.
  boost::asio::awaitable<UpstreamResult> connect(const config::Server& server);

  /// The address a cancel request for an unknown key goes to: the server's first.
  boost::asio::awaitable<CancelTarget> target(const config::Server& server);

 private:
  struct Resolved {
    std::vector<StreamProtocol::endpoint> endpoints;
    std::string error;
  };
  boost::asio::awaitable<Resolved> resolve(const config::Server& server, Instant deadline);

  struct Cached {
    std::vector<StreamProtocol::endpoint> endpoints;
    Instant until;
  };
  boost::asio::io_context& context_;
  std::map<std::string, Cached> names_;
};

}  // namespace pgleash::proxy
