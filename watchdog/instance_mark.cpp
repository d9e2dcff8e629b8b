#include "watchdog/own_connections.hpp"

#include <cerrno>
#include <system_error>
#include <unistd.h>

namespace pgleash::watchdog {

// Apart from own_connections.cpp, which is pure.
InstanceMark InstanceMark::random() {
  std::uint32_t number = 0;
  if (::getentropy(&number, sizeof number) != 0)
    throw std::system_error{errno, std::generic_category(), "no random number for the mark"};
  return InstanceMark{number};
}

}  // namespace pgleash::watchdog
