#include "proxy/cancel_error.hpp"

#include "protocol/encode.hpp"
#include "protocol/messages.hpp"

#include <span>
#include <utility>

namespace pgleash::proxy {
namespace {

constexpr std::size_t header_size = 5;

std::size_t message_size(protocol::Bytes header) {
  std::uint32_t length = 0;
  for (std::size_t i = 1; i < header_size; ++i)
    length = (length << 8U) | static_cast<std::uint32_t>(header[i]);
  return std::size_t{1} + length;
}

protocol::Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span{text});
}

/// Where the first ErrorResponse of `chunk` stands, or what is cut at its end. `size` reaches
/// beyond the chunk, or is 0 in a header, of what is cut.
struct Place {
  std::size_t at;
  std::size_t size;
};

std::optional<Place> find_error(protocol::Bytes chunk, std::size_t begin) {
  for (std::size_t at = begin; at < chunk.size();) {
    const protocol::Bytes rest = chunk.subspan(at);
    if (rest.size() < header_size) return Place{at, 0};
    const std::size_t size = message_size(rest);
    if (size < header_size) return std::nullopt;
    if (static_cast<char>(rest[0]) == 'E') return Place{at, size};
    if (size > rest.size()) return std::nullopt;
    at += size;
  }
  return std::nullopt;
}

}  // namespace

std::string cancel_error(const ErrorNotice& notice) {
  return protocol::error_response({.severity = "ERROR",
                                   .sqlstate = notice.sqlstate,
                                   .message = notice.message,
                                   .detail = notice.detail,
                                   .hint = notice.hint});
}

protocol::Bytes CancelWords::feed(protocol::Bytes chunk, std::optional<std::size_t> left,
                                  std::string& out) {
  if (!begun_.empty()) {
    out = std::exchange(begun_, {});
    out.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
    chunk = bytes_of(out);
    left = 0;
  }
  if (told_ || !left) return chunk;
  const std::optional<Place> error = find_error(chunk, *left);
  if (!error || error->size > longest) return chunk;
  const protocol::Bytes rest = chunk.subspan(error->at);
  if (rest.size() < header_size || rest.size() < error->size) {
    begun_.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
    return chunk.first(error->at);
  }
  const protocol::ErrorSummary summary =
      protocol::decode_error(rest.subspan(header_size, error->size - header_size));
  if (summary.sqlstate != "57014" || summary.fatal()) return chunk;
  const auto* text = reinterpret_cast<const char*>(chunk.data());
  std::string replaced;
  replaced.reserve(chunk.size() - error->size + words_.size());
  replaced.append(text, error->at);
  replaced += words_;
  replaced.append(text + error->at + error->size, rest.size() - error->size);
  out = std::move(replaced);
  told_ = true;
  return bytes_of(out);
}

}  // namespace pgleash::proxy
