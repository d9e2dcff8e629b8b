#include "protocol/session_tracker.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

using namespace pgleash;
using namespace pgleash::protocol;

/// All that a tracker said, in one text.
class Record final : public TrackerEvents {
 public:
  std::string text;

  void backend_key(BackendPid pid, Bytes secret) override {
    text += "K" + std::to_string(static_cast<std::int32_t>(pid));
    text.append(reinterpret_cast<const char*>(secret.data()), secret.size());
  }
  void parameter_status(std::string_view name, std::string_view value) override {
    text.append("S").append(name).append("=").append(value);
  }
  void server_error(std::string_view severity, std::string_view sqlstate) override {
    text.append("E").append(severity).append(sqlstate);
  }
  void negotiated_minor(std::int32_t newest_minor) override {
    text += "v" + std::to_string(newest_minor);
  }
};

struct Session {
  StatementTexts texts{16U << 10U};
  Record record;
  SessionTracker tracker{texts, Instant{}};

  void feed(Direction direction, Bytes bytes, Instant now) {
    if (direction == Direction::to_backend) {
      tracker.on_frontend(bytes, now, record);
    } else {
      tracker.on_backend(bytes, now, record);
    }
  }
};

void require(bool holds) {
  if (!holds) std::abort();
}

void require_same(const Session& whole, const Session& bytewise) {
  require(whole.tracker.facts() == bytewise.tracker.facts());
  require(whole.record.text == bytewise.record.text);
  require(whole.tracker.last_statement().text() == bytewise.tracker.last_statement().text());
  require(whole.tracker.first_of_transaction().text() ==
          bytewise.tracker.first_of_transaction().text());
  require(whole.tracker.at_boundary(Direction::to_backend) ==
          bytewise.tracker.at_boundary(Direction::to_backend));
  require(whole.tracker.at_boundary(Direction::to_frontend) ==
          bytewise.tracker.at_boundary(Direction::to_frontend));
}

}  // namespace

/// The input is a list of chunks: one byte with the direction in its highest bit and the size in
/// the others, then the chunk. One tracker gets them as they are, another one byte by byte: both
/// must see the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Session whole;
  Session bytewise;
  Instant now{};
  while (size > 1) {
    const auto direction = (data[0] & 0x80U) != 0 ? Direction::to_frontend : Direction::to_backend;
    const auto length = std::min<std::size_t>(data[0] & 0x7FU, size - 1);
    const Bytes chunk = std::as_bytes(std::span{data + 1, length});
    now += std::chrono::seconds{1};
    whole.feed(direction, chunk, now);
    for (std::size_t i = 0; i < length; ++i) bytewise.feed(direction, chunk.subspan(i, 1), now);
    require_same(whole, bytewise);
    data += 1 + length;
    size -= 1 + length;
  }
  return 0;
}
