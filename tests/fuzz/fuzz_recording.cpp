#include "watchdog/recording.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

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
    for (const auto& entry : decoder.snapshot().sessions)
      require(entry.view.who != nullptr, "a session is somebody's");
  }
  return 0;
}
