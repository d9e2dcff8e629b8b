#pragma once

#include "proxy/connection.hpp"
#include "proxy/tls_context.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

/// The coroutines of a connection that is not relayed yet, over TLS or not. Deadlines are the
/// caller's: cancelling or closing the connection ends them.
namespace pgleash::proxy {

/// What became of a handshake; empty `error`: it is done.
struct Handshake {
  boost::system::error_code socket;  ///< of the wait, when that ended it
  bool hung_up = false;              ///< the peer did, in the middle of it
  std::string error;
};
/// The alert is sent when it fails.
boost::asio::awaitable<Handshake> handshake(Connection& connection, TlsStream& stream);

struct ReadSome {
  boost::system::error_code error;
  std::size_t size = 0;
};
/// Exactly so many bytes, and not one more from the connection where `stream` is null.
boost::asio::awaitable<ReadSome> read_exactly(Connection& connection, TlsStream* stream,
                                              std::span<char> into);
/// What comes next, as it comes: at least a byte.
boost::asio::awaitable<ReadSome> read_some(Connection& connection, std::span<char> into);
boost::asio::awaitable<boost::system::error_code> write_all(Connection& connection,
                                                            TlsStream* stream,
                                                            std::string_view bytes);

/// What a server answers to an SSLRequest.
struct SslAnswer {
  bool unwilling = false;  ///< 'N'
  std::string error;       ///< neither yes nor no; empty when either
};
/// Reads one byte and no more: what follows is for whoever makes the handshake. Source:
/// "Frontend/Backend Protocol", SSL Session Encryption.
boost::asio::awaitable<SslAnswer> ask_for_tls(Connection& connection);

/// A server leg's TLS.
struct Secured {
  std::unique_ptr<TlsStream> stream;
  bool unwilling = false;  ///< it was asked, and has none
  std::string error;       ///< empty when neither
};
/// By SSLRequest, or outright where the server's tls_negotiation says so. Bytes between the
/// server's yes and the handshake are somebody else's who wants to be taken for the server
/// (CVE-2021-23222); a handshake begun outright has to end with the server's own word that it
/// speaks PostgreSQL (ALPN).
boost::asio::awaitable<Secured> secure_server_leg(Connection& connection,
                                                  std::shared_ptr<const ServerTlsContext> tls);

}  // namespace pgleash::proxy
