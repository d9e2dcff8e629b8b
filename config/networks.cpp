#include "config/networks.hpp"

#include "config/network.hpp"

#include <algorithm>
#include <string>
#include <variant>

namespace pgleash::config {

bool Networks::contain(std::string_view address) const {
  if (networks_.empty() || address.empty()) return false;
  address = address.substr(0, address.find('%'));  // the zone of a link-local address
  constexpr std::string_view mapped = "::ffff:";
  if (address.starts_with(mapped) && address.find('.') != std::string_view::npos)
    address.remove_prefix(mapped.size());
  const bool v6 = address.find(':') != std::string_view::npos;
  // An address is the narrowest network around itself.
  const auto parsed = parse_network(std::string{address} + (v6 ? "/128" : "/32"));
  const auto* host = std::get_if<Network>(&parsed);
  return host != nullptr && std::ranges::any_of(networks_, [&](const Network& network) {
           return contains(network, host->address, v6);
         });
}

}  // namespace pgleash::config
