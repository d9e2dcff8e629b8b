#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pgleash::notify {

/// "t=1764110000,v1=HEX": HMAC-SHA256 with the key over "1764110000.BODY". The time is that of the
/// attempt, in seconds, so that a receiver can refuse what is old, and is signed, so that nobody
/// can make it younger. docs/webhook.md shows how to verify it.
[[nodiscard]] std::string sign(std::string_view key, std::int64_t unix_seconds,
                               std::string_view body);

}  // namespace pgleash::notify
