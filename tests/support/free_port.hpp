#pragma once

#include <cstdint>

namespace pgleash::test {

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago. Another program may be quicker:
/// try again then.
[[nodiscard]] std::uint16_t free_port();

}  // namespace pgleash::test
