#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace pgleash::config {

/// Reads a CIDR network, "10.20.0.0/16" or "2001:db8::/32". Bits of the host part must be zero: a
/// network with such bits is a slip, and the hint gives both readings of it.
[[nodiscard]] Parsed<Network> parse_network(std::string_view text);

/// Whether an address lies in the network. `address` is in network byte order, its first 4 bytes
/// significant unless `v6`. An IPv4-mapped IPv6 address (::ffff:a.b.c.d), as a dual-stack socket
/// shows IPv4 peers, counts as the IPv4 address.
[[nodiscard]] bool contains(const Network& network, const std::array<std::uint8_t, 16>& address,
                            bool v6) noexcept;

}  // namespace pgleash::config
