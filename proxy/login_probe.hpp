#pragma once

#include "proxy/settings.hpp"
#include "proxy/upstream.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::proxy {

/// How a server answers somebody's startup packet, before anything was proved.
struct LoginOffer {
  enum class Kind : std::uint8_t {
    in,           ///< AuthenticationOk at once: nobody was asked for anything
    scram,        ///< SCRAM-SHA-256
    scram_bound,  ///< and SCRAM-SHA-256-PLUS: with channel binding, if the client wants
    md5,
    password,  ///< in clear: password, LDAP, PAM, RADIUS
    gss,
    other,
    refused,      ///< no line of pg_hba.conf, or no such role, or too many connections
    unreachable,  ///< no leg, or no answer
  };
  Kind kind = Kind::unreachable;
  std::string sqlstate;  ///< refused
  std::string message;   ///< refused: the server's; unreachable: what was tried
  std::string_view tls;  ///< "TLSv1.3"; empty: the leg is plain
  bool unix_socket = false;
  std::vector<std::size_t> same_certificate;  ///< listeners that show the server's certificate
};

/// Whom a probe says it is.
struct LoginClaim {
  std::string user;
  std::string database;
  bool replication = false;  ///< as a physical standby, which has lines of its own in pg_hba.conf
};

/// Takes the way of a session of that server up to its first demand, and turns back there: no
/// password is sent, nothing is left. Ends by `deadline`. One thread, which serves
/// `events`; references outlive the task. Source: "Frontend/Backend Protocol", Start-up.
boost::asio::awaitable<LoginOffer> probe_login(EventSet& events, const ProxySettings& settings,
                                               Upstream& upstream, std::size_t server,
                                               LoginClaim claim, Instant deadline);

}  // namespace pgleash::proxy
