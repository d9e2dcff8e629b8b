#include "watchdog/recording.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// Records what was read, and reads that.
class Again {
 public:
  explicit Again(const pgleash::watchdog::RecordingHeader& header)
      : run(header.run),
        encoder_(header, pgleash::Instant{} + std::chrono::milliseconds{header.started_ms}) {}

  void take(const pgleash::watchdog::Snapshot& snapshot) {
    const std::string lines = encoder_.encode(snapshot);
    std::string_view text{lines};
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      require(end != std::string_view::npos, "a line has its end");
      const What what = decoder_.decode(text.substr(0, end));
      require(what == What::header || what == What::frame, "what was read can be recorded");
      text.remove_prefix(end + 1);
    }
    require(decoder_.snapshot().sessions.size() == snapshot.sessions.size(), "with its sessions");
  }

  const std::string run;

 private:
  using What = pgleash::watchdog::RecordingDecoder::What;
  pgleash::watchdog::RecordingEncoder encoder_;
  pgleash::watchdog::RecordingDecoder decoder_;
};

}  // namespace

/// Any lines as a recording. What is damaged is said to be, time never runs backwards, and what a
/// frame leaves behind can be recorded again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pgleash;
  using What = watchdog::RecordingDecoder::What;
  std::string_view text{reinterpret_cast<const char*>(data), size};
  watchdog::RecordingDecoder decoder;
  Instant last{};
  bool any = false;
  std::optional<Again> again;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const What what = decoder.decode(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (what == What::damaged || what == What::other_version)
      require(!decoder.why().empty(), "a fault has a reason");
    if (what != What::frame) continue;
    require(!any || decoder.snapshot().now >= last, "time goes forward");
    any = true;
    last = decoder.snapshot().now;
    if (!again || again->run != decoder.header().run) again.emplace(decoder.header());
    again->take(decoder.snapshot());
    for (const auto& entry : decoder.snapshot().sessions)
      require(entry.view.who != nullptr, "a session is somebody's");
  }
  return 0;
}
