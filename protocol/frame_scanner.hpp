#pragma once

#include "protocol/types.hpp"
#include "protocol/wire_reader.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>

namespace pgleash::protocol {

/// Walks the message headers of one direction: type byte, length, body. Resumable at any byte.
/// Bodies pass by; only a prefix which the handler asks for is shown to it, out of the chunk where
/// it lies in one piece, else out of a buffer that lives no longer than that message is incomplete.
/// Source: "Frontend/Backend Protocol", Messaging Overview.
class FrameScanner {
 public:
  /// What Handler::header answers for a body that it does not want to see.
  static constexpr std::uint32_t not_wanted = std::numeric_limits<std::uint32_t>::max();

  /// Handler:
  ///   std::uint32_t header(char type, std::uint32_t body)   once a header is complete; how many of
  ///   the body's first
  ///                                                         bytes it wants (at most `body`), or
  ///                                                         not_wanted
  ///   void body(char type, Bytes prefix, std::size_t end)   those bytes; `end` is how much of the
  ///   chunk lies before
  ///                                                         their end
  ///   void whole(char type)                                 once the last byte of the body has
  ///   passed
  /// False when a length can not be one; the rest of the stream is not looked at then.
  template <class Handler>
  bool feed(Bytes chunk, Handler& handler);

  /// Everything seen ends at the end of a message.
  [[nodiscard]] bool at_boundary() const noexcept {
    return body_left_ == 0 && header_seen_ == 0 && !broken_;
  }
  /// How many of the bytes to come belong to the message under way, 0 at a boundary. `next` is what
  /// comes, before it is fed: a header that was cut ends there. Nothing when it does not, or when
  /// its length can not be one.
  [[nodiscard]] std::optional<std::size_t> message_left(Bytes next) const noexcept {
    if (broken_) return std::nullopt;
    if (header_seen_ == 0) return body_left_;
    std::array<std::byte, header_size> header = header_;
    const std::size_t rest = header_size - header_seen_;
    if (next.size() < rest) return std::nullopt;
    std::copy_n(next.begin(), rest, header.begin() + header_seen_);
    const std::uint32_t length = load_uint32(header.data() + 1);
    if (!possible(length)) return std::nullopt;
    return rest + (length - length_size);
  }

 private:
  static constexpr std::uint32_t header_size = 5;
  static constexpr std::uint32_t length_size = 4;  // the length counts itself

  /// As int32 a length is never negative.
  static bool possible(std::uint32_t length) noexcept {
    return length >= length_size && length <= std::numeric_limits<std::int32_t>::max();
  }

  template <class Handler>
  const std::byte* finish_header(const std::byte* at, Bytes chunk, Handler& handler);
  template <class Handler>
  const std::byte* finish_body(const std::byte* at, Bytes chunk, Handler& handler);
  template <class Handler>
  const std::byte* open_message(char type, std::uint32_t body, const std::byte* at, Bytes chunk,
                                Handler& handler);

  std::unique_ptr<std::byte[]> prefix_;  // only while a chunk ended inside a wanted prefix
  std::uint32_t body_left_ = 0;
  std::array<std::byte, header_size> header_{};
  std::uint8_t header_seen_ = 0;
  bool broken_ = false;
  std::uint16_t prefix_size_ = 0;
  std::uint16_t prefix_seen_ = 0;
};

template <class Handler>
bool FrameScanner::feed(Bytes chunk, Handler& handler) {
  if (broken_) return false;
  const std::byte* at = chunk.data();
  const std::byte* const end = at + chunk.size();
  if (header_seen_ != 0) at = finish_header(at, chunk, handler);
  if (body_left_ != 0) at = finish_body(at, chunk, handler);
  while (end - at >= header_size && !broken_) {
    const std::uint32_t length = load_uint32(at + 1);
    if (!possible(length)) {
      broken_ = true;
      break;
    }
    const auto type = static_cast<char>(*at);
    const std::uint32_t body = length - length_size;
    at += header_size;
    if (end - at >= std::ptrdiff_t{body}) [[likely]] {
      const std::uint32_t wanted = handler.header(type, body);
      if (wanted != not_wanted) {
        handler.body(type, {at, wanted}, static_cast<std::size_t>(at + wanted - chunk.data()));
      }
      at += body;
      handler.whole(type);
    } else {
      at = open_message(type, body, at, chunk, handler);
    }
  }
  if (at != end && !broken_) {  // fewer bytes than a header has
    header_seen_ = static_cast<std::uint8_t>(end - at);
    std::copy(at, end, header_.begin());
  }
  return !broken_;
}

/// The rest of a header which the last chunk cut, then on as with any other.
template <class Handler>
const std::byte* FrameScanner::finish_header(const std::byte* at, Bytes chunk, Handler& handler) {
  const std::byte* const end = chunk.data() + chunk.size();
  while (at != end && header_seen_ < header_size) header_[header_seen_++] = *at++;
  if (header_seen_ < header_size) return at;
  header_seen_ = 0;
  const std::uint32_t length = load_uint32(header_.data() + 1);
  if (!possible(length)) {
    broken_ = true;
    return at;
  }
  return open_message(static_cast<char>(header_[0]), length - length_size, at, chunk, handler);
}

/// A message whose body may go on behind this chunk.
template <class Handler>
const std::byte* FrameScanner::open_message(char type, std::uint32_t body, const std::byte* at,
                                            Bytes chunk, Handler& handler) {
  const std::byte* const end = chunk.data() + chunk.size();
  header_[0] = static_cast<std::byte>(type);
  const std::uint32_t wanted = handler.header(type, body);
  body_left_ = body;
  prefix_size_ = 0;
  if (wanted != not_wanted) {
    if (end - at >= std::ptrdiff_t{wanted}) {
      handler.body(type, {at, wanted}, static_cast<std::size_t>(at + wanted - chunk.data()));
    } else {
      prefix_size_ = static_cast<std::uint16_t>(wanted);
      prefix_seen_ = 0;
      prefix_ = std::make_unique_for_overwrite<std::byte[]>(wanted);
    }
  }
  if (body_left_ != 0) return finish_body(at, chunk, handler);
  handler.whole(type);
  return at;
}

/// The rest of a body, as far as this chunk has it.
template <class Handler>
const std::byte* FrameScanner::finish_body(const std::byte* at, Bytes chunk, Handler& handler) {
  const std::byte* const end = chunk.data() + chunk.size();
  if (prefix_seen_ < prefix_size_) {
    const auto piece =
        std::min<std::size_t>(static_cast<std::size_t>(end - at), prefix_size_ - prefix_seen_);
    if (piece != 0) std::memcpy(prefix_.get() + prefix_seen_, at, piece);
    prefix_seen_ = static_cast<std::uint16_t>(prefix_seen_ + piece);
    if (prefix_seen_ == prefix_size_) {
      const auto prefix = std::move(prefix_);
      handler.body(static_cast<char>(header_[0]), {prefix.get(), prefix_size_},
                   static_cast<std::size_t>(at + piece - chunk.data()));
      prefix_seen_ = prefix_size_ = 0;
    }
  }
  const auto passed = std::min<std::size_t>(static_cast<std::size_t>(end - at), body_left_);
  body_left_ -= static_cast<std::uint32_t>(passed);
  if (body_left_ == 0) handler.whole(static_cast<char>(header_[0]));
  return at + passed;
}

}  // namespace pgleash::protocol
