#include "proxy/proxy_header.hpp"
#include "proxy/socket.hpp"

#include <cstdint>
#include <cstdlib>
#include <span>

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

/// Any bytes as a PROXY protocol header. However it is cut, what it asks for is there, and no byte
/// behind it is asked for; what a remote peer says makes nobody local.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pgleash;
  const protocol::Bytes bytes = std::as_bytes(std::span{data, size});
  std::size_t have = 0;
  for (;;) {
    const auto missing = proxy::proxy_header_missing(bytes.first(have));
    if (!missing) {
      require(!missing.error().message.empty());
      // No better for having more of it.
      require(!proxy::proxy_header_missing(bytes));
      return 0;
    }
    if (*missing == 0) break;
    require(have + *missing <= proxy::max_proxy_header);
    if (have + *missing > size) return 0;  // waits for more
    // Each cut before that wants just the rest, or knows that it is wrong.
    for (std::size_t cut = have + 1; cut < have + *missing; ++cut) {
      const auto then = proxy::proxy_header_missing(bytes.first(cut));
      require(!then || (*then > 0 && cut + *then <= have + *missing + 16));
    }
    have += *missing;
  }
  const auto header = proxy::parse_proxy_header(bytes.first(have));
  if (!header) return 0;
  if (header->kind == proxy::ProxyHeader::Kind::address)
    require(!proxy::to_endpoint(header->client).address.empty());
  sockaddr_storage peer{};
  peer.ss_family = AF_INET;
  require(!proxy::origin_of(*header, peer).local);
  return 0;
}
