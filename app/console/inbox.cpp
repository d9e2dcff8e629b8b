#include "app/console/inbox.hpp"

#include "protocol/wire_reader.hpp"

#include <span>

namespace pgleash::console {

std::optional<Inbox::Message> Inbox::next() {
  constexpr std::size_t header = 5;
  if (broken_ || bytes_.size() < header) return std::nullopt;
  const std::size_t length = protocol::load_uint32(std::as_bytes(std::span{bytes_}).data() + 1);
  if (length < 4 || length > max_message) {
    broken_ = true;
    bytes_.clear();
    return std::nullopt;
  }
  if (bytes_.size() < length + 1) return std::nullopt;
  Message message{bytes_[0], bytes_.substr(header, length - 4)};
  bytes_.erase(0, length + 1);
  return message;
}

}  // namespace pgleash::console
