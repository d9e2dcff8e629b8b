#pragma once

#include <cstddef>
#include <string_view>

namespace pgleash::config {

/// Whether a text is UTF-8 all through. Names and statements come in the client's encoding, which
/// nobody told us.
[[nodiscard]] constexpr bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    const std::size_t follow = lead < 0xC2   ? 0
                               : lead < 0xE0 ? 1
                               : lead < 0xF0 ? 2
                               : lead < 0xF5 ? 3
                                             : 0;
    if (follow == 0 || text.size() - i < follow) return false;
    for (const std::size_t end = i + follow; i < end; ++i) {
      if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) return false;
    }
  }
  return true;
}

}  // namespace pgleash::config
