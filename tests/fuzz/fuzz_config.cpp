#include "config/loader.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using pgleash::config::LoadResult;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace

/// Any text gives a configuration or a reason, never both or neither; and what is in force can be
/// written and read back.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const LoadResult first = pgleash::config::load_text(text, "fuzz.toml");
  require(first.config.has_value() != has_errors(first.diagnostics), "a configuration or an error");
  for (const auto& diagnostic : first.diagnostics) {
    require(!diagnostic.message.empty(), "a fault has a message");
    require(render(diagnostic, false).find('\x1b') == std::string::npos,
            "nothing steers the terminal");
  }
  if (!first.config) return 0;
  const std::string written = effective_toml(first);
  const LoadResult second = pgleash::config::load_text(written, "effective.toml");
  require(second.config.has_value(), "the effective configuration loads");
  require(effective_toml(*second.config) == effective_toml(*first.config), "and is the same");
  return 0;
}
