#pragma once

#include "protocol/types.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace pgleash::protocol {

/// Four bytes in network order.
[[nodiscard]] inline std::uint32_t load_uint32(const std::byte* from) noexcept {
  return std::to_integer<std::uint32_t>(from[0]) << 24U |
         std::to_integer<std::uint32_t>(from[1]) << 16U |
         std::to_integer<std::uint32_t>(from[2]) << 8U | std::to_integer<std::uint32_t>(from[3]);
}

[[nodiscard]] inline std::string_view as_text(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads the fields of one message body from front to back; nothing is read past the end.
/// A failed read leaves the reader where it was.
class WireReader {
 public:
  explicit WireReader(Bytes body) noexcept : body_(body) {}

  [[nodiscard]] std::optional<char> byte() noexcept {
    if (offset_ == body_.size()) return std::nullopt;
    return static_cast<char>(body_[offset_++]);
  }

  [[nodiscard]] std::optional<std::uint32_t> uint32() noexcept {
    if (body_.size() - offset_ < sizeof(std::uint32_t)) return std::nullopt;
    const std::uint32_t value = load_uint32(body_.data() + offset_);
    offset_ += sizeof(std::uint32_t);
    return value;
  }

  /// A string up to its NUL, which is passed over; nothing when there is none.
  [[nodiscard]] std::optional<std::string_view> string() noexcept {
    const std::string_view left = as_text(rest());
    const std::size_t end = left.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    offset_ += end + 1;
    return left.substr(0, end);
  }

  [[nodiscard]] Bytes rest() const noexcept { return body_.subspan(offset_); }
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] bool at_end() const noexcept { return offset_ == body_.size(); }

 private:
  Bytes body_;
  std::size_t offset_ = 0;
};

}  // namespace pgleash::protocol
