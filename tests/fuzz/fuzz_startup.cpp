#include "protocol/startup.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

/// Any bytes as the first message of a connection. What is accepted must keep to its own promises.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pgleash::protocol;
  const Bytes bytes = std::as_bytes(std::span{data, size});
  const auto length = first_message_length(bytes.first(std::min<std::size_t>(size, 4)));
  const auto message = parse_first_message(bytes);
  if (!message) {
    (void)startup_refusal(bytes, message.error());
    return 0;
  }
  if (!length || *length != size) std::abort();
  if (const auto* packet = std::get_if<StartupPacket>(&*message)) {
    if (packet->user.empty() || packet->database.empty() || packet->raw.size() != size)
      std::abort();
    (void)packet->is_replication();
  } else if (const auto* request = std::get_if<CancelRequest>(&*message)) {
    if (request->key.secret().size() != size - 12 || !request->key.matches(request->key))
      std::abort();
  }
  return 0;
}
