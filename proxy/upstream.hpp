#pragma once

#include "proxy/cancel_sender.hpp"
#include "proxy/loop_share.hpp"
#include "proxy/settings.hpp"
#include "proxy/socket.hpp"
#include "proxy/tls_handshake.hpp"

#include <boost/asio/awaitable.hpp>
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
  std::unique_ptr<TlsStream> tls;                   ///< null: in clear
  std::shared_ptr<const ServerTlsContext> context;  ///< with which it was made; null: in clear
  bool may_be_refused = false;  ///< in clear, with tls = "allow": then connect_secured() may help
  bool tls_failed = false;      ///< it answered, and the handshake failed
};

/// Connects server legs for one worker. Names are resolved by Asio and remembered for a moment;
/// each address is tried in turn within connect_timeout. One thread.
class Upstream {
 public:
  static constexpr Duration name_ttl = std::chrono::seconds{5};

  /// For so long a server that has no TLS is not asked for it again, where that does not matter.
  static constexpr Duration unwilling_ttl = std::chrono::seconds{5};

  /// All of them outlive it.
  Upstream(EventSet& events, const ProxySettings& settings, LoopShare& share)
      : events_(events),
        settings_(settings),
        share_(share),
        unwilling_until_(settings.servers.size()) {}

  /// Connects and, as the server's `tls` says, secures the leg, all within connect_timeout.
  /// `server`: index in ProxySettings.
  boost::asio::awaitable<UpstreamResult> connect(std::size_t server);
  /// In clear, whatever the server's `tls` says: for a client whose own TLS is to pass.
  boost::asio::awaitable<UpstreamResult> connect_clear(std::size_t server);
  /// Of a server with tls = "allow" that has turned a leg in clear away.
  boost::asio::awaitable<UpstreamResult> connect_secured(std::size_t server);

  /// The address a cancel request for an unknown key goes to: the server's first.
  boost::asio::awaitable<CancelTarget> target(std::size_t server);

 private:
  struct Resolved {
    std::vector<StreamProtocol::endpoint> endpoints;
    std::string error;
  };
  boost::asio::awaitable<UpstreamResult> secured(std::size_t server, Instant deadline,
                                                 std::shared_ptr<const ServerTlsContext> tls);
  /// A socket to the first address that answers; null `tls`: in clear.
  boost::asio::awaitable<UpstreamResult> dial(const config::Server& server, Instant deadline,
                                              std::shared_ptr<const ServerTlsContext> tls,
                                              bool& unwilling);
  boost::asio::awaitable<Resolved> resolve(const config::Server& server, Instant deadline);

  struct Cached {
    std::vector<StreamProtocol::endpoint> endpoints;
    Instant until;
  };
  EventSet& events_;
  const ProxySettings& settings_;
  LoopShare& share_;
  std::vector<Instant> unwilling_until_;  ///< by server
  std::map<std::string, Cached> names_;
};

}  // namespace pgleash::proxy
