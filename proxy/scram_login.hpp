#pragma once

#include "proxy/kill_order.hpp"
#include "proxy/scram_exchange.hpp"
#include "proxy/tls_handshake.hpp"
#include "proxy/verifier_source.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <string>

namespace pgleash::proxy {

/// One side of a login: its connection, its TLS, and what binds to its channel (the hash of the
/// certificate that its server shows); no channel where it is plain.
struct ScramLeg {
  Connection& connection;
  TlsStream* tls = nullptr;
  std::string channel;
};

/// What became of a login that pgleash took part in.
struct ScramOutcome {
  enum class Kind : std::uint8_t {
    proved,     ///< on both legs; AuthenticationOk and all behind it is still to come
    passed_on,  ///< not this way: the server's words so far go on to the client as they are
    refused,    ///< `notice` is for the client
    client_lost,
    server_lost,
  };
  Kind kind = Kind::server_lost;
  std::string from_server;  ///< passed_on: read and not forwarded. proved: what the client was sent
  std::string from_client;  ///< proved: what the client answered
  ErrorNotice notice;
};

/// From the forwarded startup packet to the proof on both legs: asks for the role's secret,
/// verifies the client, and logs in to the server with the ClientKey that its proof has shown. A
/// client with TLS may bind to the channel, and the server leg does where it can, each to its own
/// certificate. A server that asks for something else than SCRAM, or a secret that nobody can tell,
/// leaves the login to pass as it is. `user` and `seed` as for ScramSecret::mock. References
/// outlive the task; its end is the sockets' deadlines' concern. Source: "Frontend/Backend
/// Protocol", SASL Authentication.
boost::asio::awaitable<ScramOutcome> originate_scram(ScramLeg client, ScramLeg server,
                                                     VerifierSource& source,
                                                     std::string server_name, std::string user,
                                                     std::string seed, Instant deadline);

}  // namespace pgleash::proxy
