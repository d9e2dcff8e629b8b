#pragma once

#include "protocol/error.hpp"
#include "protocol/types.hpp"

#include <cstddef>
#include <cstdint>
#include <sys/socket.h>

/// The PROXY protocol, versions 1 and 2, as a balancer in front of us speaks it. Pure.
/// Source: haproxy, doc/proxy-protocol.txt.
namespace pgleash::proxy {

/// The longest header we take, its TLVs included. Version 1 ends after 107 bytes by itself; what
/// balancers put behind the addresses of version 2 are some hundreds of bytes.
inline constexpr std::size_t max_proxy_header = 4096;

/// What a header says of the client.
struct ProxyHeader {
  enum class Kind : std::uint8_t {
    address,  ///< the client has this address
    unknown,  ///< there is a client, of another family or one the balancer does not tell
    local,    ///< no client: the balancer itself, which looks whether we are there
  };
  Kind kind = Kind::unknown;
  sockaddr_storage client{};  ///< AF_INET or AF_INET6; means nothing unless kind is address
};

/// How many more bytes surely belong to a header that begins so; 0: it is whole. Whoever reads so
/// many and asks again never takes a byte of what comes behind. An error as soon as no header can
/// begin so.
[[nodiscard]] protocol::Result<std::size_t> proxy_header_missing(protocol::Bytes so_far);

/// Decodes a whole header (proxy_header_missing says 0). TLVs are passed over.
[[nodiscard]] protocol::Result<ProxyHeader> parse_proxy_header(protocol::Bytes whole);

/// Where a client comes from, as everything but the socket itself is to see it.
struct Origin {
  sockaddr_storage address{};
  bool local = false;  ///< on this host: require_challenge believes such clients
};

/// `peer` is the real one, which sent the header. A remote peer's word makes nobody local: a
/// loopback address that it names is one of its own host, so that the client is where the peer is.
/// Neither is a client local of whom nothing is known.
[[nodiscard]] Origin origin_of(const ProxyHeader& header, const sockaddr_storage& peer) noexcept;

}  // namespace pgleash::proxy
