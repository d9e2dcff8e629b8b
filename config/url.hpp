#pragma once

#include "config/fault.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace pgleash::config {

/// Where a webhook posts to.
struct Url {
  bool tls = true;
  std::string host;  ///< a name or an IP literal, without brackets
  std::uint16_t port = 0;
  std::string target;  ///< "/hook?x=1"
  [[nodiscard]] bool operator==(const Url&) const = default;
};

/// https://host[:port][/target]; http is for loopback only: tests and sidecars. No fault repeats
/// the text, which may hold a token.
[[nodiscard]] Parsed<Url> parse_webhook_url(std::string_view text);

}  // namespace pgleash::config
