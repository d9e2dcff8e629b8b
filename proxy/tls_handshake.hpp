#pragma once

#include "proxy/socket.hpp"
#include "proxy/tls_context.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

/// The coroutines of a connection that is not relayed yet, over TLS or not. Deadlines are the
/// caller's: cancelling or closing the socket ends them.
namespace pgleash::proxy {

/// What became of a handshake; empty `error`: it is done.
struct Handshake {
  boost::system::error_code socket;  ///< of the wait, when that ended it
  std::string error;
};
/// The alert is sent when it fails.
boost::asio::awaitable<Handshake> handshake(Socket& socket, TlsStream& stream);

struct ReadSome {
  boost::system::error_code error;
  std::size_t size = 0;
};
/// Exactly so many bytes, and not one more from the socket where `stream` is null.
boost::asio::awaitable<ReadSome> read_exactly(Socket& socket, TlsStream* stream,
                                              std::span<char> into);
boost::asio::awaitable<boost::system::error_code> write_all(Socket& socket, TlsStream* stream,
                                                            std::string_view bytes);

/// What a server answers to an SSLRequest, and the handshake behind it.
struct Secured {
  std::unique_ptr<TlsStream> stream;
  bool unwilling = false;  ///< it answered 'N'
  std::string error;       ///< empty when neither
};
/// Reads one byte and no more: bytes behind it are somebody else's who wants to be taken for the
/// server (CVE-2021-23222). Source: "Frontend/Backend Protocol", SSL Session Encryption.
boost::asio::awaitable<Secured> request_tls(Socket& socket,
                                            std::shared_ptr<const ServerTlsContext> tls);

}  // namespace pgleash::proxy
