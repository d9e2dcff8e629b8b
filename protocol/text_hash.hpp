#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace pgleash::protocol {

/// A fast 64-bit hash: each 16 bytes are folded by one wide multiplication. With a secret seed,
/// nobody who cannot see its results can choose texts that fall together.
[[nodiscard]] inline std::uint64_t hash_text(std::string_view text, std::uint64_t seed) noexcept {
  __extension__ using Wide = unsigned __int128;
  constexpr std::uint64_t odd_a =
      0x9e3779b97f4a7c15U;  // any odd constants with well mixed bits will do
  constexpr std::uint64_t odd_b = 0xd1b54a32d192ed03U;
  const auto fold = [](std::uint64_t a, std::uint64_t b) noexcept {
    const Wide product = Wide{a} * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
  };
  const auto load = [](const char* from, std::size_t size) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, from, size);
    return word;
  };
  std::uint64_t state = seed ^ fold(text.size() ^ odd_a, odd_b);
  const char* at = text.data();
  std::size_t left = text.size();
  for (; left > 16; at += 16, left -= 16) {
    state = fold(load(at, 8) ^ odd_a ^ state, load(at + 8, 8) ^ odd_b ^ seed);
  }
  const std::size_t low = left < 8 ? left : 8;
  return fold(load(at, low) ^ odd_a ^ state, load(at + low, left - low) ^ odd_b ^ seed);
}

}  // namespace pgleash::protocol
