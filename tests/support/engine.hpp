#pragma once

#include "config/config.hpp"

#include <cstdlib>
#include <string_view>

namespace pgleash::test {

/// The word for it in a configuration file.
[[nodiscard]] inline std::string_view engine_word() {
  const char* wanted = std::getenv("PGLEASH_TEST_ENGINE");
  return wanted == nullptr ? "epoll" : wanted;
}

/// The relay engine that this run of the tests is about: PGLEASH_TEST_ENGINE, else the default.
[[nodiscard]] inline config::Engine engine() {
  return engine_word() == "io_uring" ? config::Engine::io_uring : config::Engine::epoll;
}

}  // namespace pgleash::test
