#include "config/network.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <string>

namespace pgleash::config {

namespace {

using Bytes = std::array<std::uint8_t, 16>;

constexpr std::array<std::uint8_t, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

bool is_mapped(const Bytes& address) noexcept {
  return std::equal(mapped_prefix.begin(), mapped_prefix.end(), address.begin());
}

/// The bits of byte `index` that belong to the network part.
std::uint8_t mask_of(std::size_t index, unsigned prefix) noexcept {
  const auto first_bit = static_cast<unsigned>(index) * 8;
  if (prefix <= first_bit) return 0;
  return static_cast<std::uint8_t>(0xFF00U >> std::min(prefix - first_bit, 8U));
}

std::string text_of(const Bytes& address, bool v6) {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  inet_ntop(v6 ? AF_INET6 : AF_INET, address.data(), buffer.data(), buffer.size());
  return buffer.data();
}

Fault not_a_network(std::string_view text) {
  return {in_quotes(text) + " is not a network",
          R"(write address/prefix, as "10.20.0.0/16" or "2001:db8::/32")"};
}

}  // namespace

Parsed<Network> parse_network(std::string_view text) {
  const auto slash = text.find('/');
  const std::string host{text.substr(0, slash)};
  Network network;
  network.text = text;
  network.v6 = host.find(':') != std::string::npos;
  if (inet_pton(network.v6 ? AF_INET6 : AF_INET, host.c_str(), network.address.data()) != 1 ||
      host.find('\0') != std::string::npos) {
    return not_a_network(text);
  }
  const unsigned bits = network.v6 ? 128 : 32;
  if (slash == std::string_view::npos) {
    return Fault{in_quotes(text) + " is an address, not a network",
                 "write \"" + host + '/' + std::to_string(bits) + "\" for this one host"};
  }
  const std::string_view length = text.substr(slash + 1);
  const auto parsed = std::from_chars(length.data(), length.data() + length.size(), network.prefix);
  if (length.empty() || parsed.ptr != length.data() + length.size() || parsed.ec != std::errc{} ||
      network.prefix > bits) {
    return Fault{in_quotes(length) + " is not a prefix length",
                 std::string("an ") + (network.v6 ? "IPv6" : "IPv4") + " prefix is 0 to " +
                     std::to_string(bits)};
  }
  if (network.v6 && network.prefix >= 96 && is_mapped(network.address)) {
    Bytes v4{};
    std::copy_n(network.address.begin() + 12, 4, v4.begin());
    return Fault{in_quotes(text) + " is IPv4 in IPv6 clothes",
                 "write \"" + text_of(v4, false) + '/' + std::to_string(network.prefix - 96) + '"'};
  }
  Bytes masked{};
  for (std::size_t i = 0; i < masked.size(); ++i)
    masked[i] = network.address[i] & mask_of(i, network.prefix);
  if (masked != network.address) {
    return Fault{in_quotes(text) + " has bits set beyond its prefix",
                 "write \"" + text_of(masked, network.v6) + '/' + std::to_string(network.prefix) +
                     "\" for the network, \"" + host + '/' + std::to_string(bits) +
                     "\" for the one host"};
  }
  return network;
}

bool contains(const Network& network, const Bytes& address, bool v6) noexcept {
  const bool mapped = v6 && is_mapped(address);
  if (network.v6 != (v6 && !mapped)) return false;
  const std::size_t from = mapped ? mapped_prefix.size() : 0;
  const std::size_t length = network.v6 ? 16 : 4;
  for (std::size_t i = 0; i < length; ++i) {
    if (((address[from + i] ^ network.address[i]) & mask_of(i, network.prefix)) != 0) return false;
  }
  return true;
}

}  // namespace pgleash::config
