#include "tests/support/cable.hpp"

#include <fmt/format.h>

#include <cstdlib>

namespace pgleash::test {
namespace {

bool ip(const std::string& arguments) {
  return std::system(("ip " + arguments + " >/dev/null 2>&1").c_str()) == 0;
}
void must(bool done, const char* what) {
  if (!done) throw std::runtime_error{std::string{"cannot "} + what};
}
/// Nobody's: a frame for it is dropped by who gets it.
constexpr const char* no_address = "02:00:00:00:00:99";

}  // namespace

// Tests may run side by side: name and addresses are of this process.
Cable::Cable() : name_(fmt::format("pgl{}", ::getpid())) {
  const unsigned block = static_cast<unsigned>(::getpid()) % (64U * 256U);
  const auto address = [&](unsigned host) {
    return fmt::format("10.213.{}.{}", block / 64, block % 64 * 4 + host);
  };
  here_ = address(1);
  there_ = address(2);
  network_ = address(0) + "/30";
  home_ = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  made_ = ip("netns add " + name_) &&
          ip(fmt::format("link add {0}h type veth peer name {0}n", name_)) &&
          ip(fmt::format("link set {0}n netns {0}", name_)) &&
          ip(fmt::format("addr add {}/30 dev {}h", here_, name_)) &&
          ip(fmt::format("link set {}h up", name_)) &&
          ip(fmt::format("-n {0} addr add {1}/30 dev {0}n", name_, there_)) &&
          ip(fmt::format("-n {0} link set {0}n up", name_)) &&
          ip(fmt::format("-n {0} link set lo up", name_));
}

Cable::~Cable() {
  (void)ip("netns del " + name_);
  (void)ip(fmt::format("link del {}h", name_));
  ::close(home_);
}

void Cable::cut() const {
  must(ip(fmt::format("link set {}h down", name_)), "cut the cable");
}

void Cable::swallow() const {
  must(ip(fmt::format("neigh replace {} lladdr {} dev {}h nud permanent", there_, no_address,
                      name_)) &&
           ip(fmt::format("-n {0} neigh replace {1} lladdr {2} dev {0}n nud permanent", name_,
                          here_, no_address)),
       "lose what is sent");
}

void Cable::mend() const {
  must(ip(fmt::format("link set {}h up", name_)), "mend the cable");
  (void)ip(fmt::format("neigh del {} dev {}h", there_, name_));
  (void)ip(fmt::format("-n {0} neigh del {1} dev {0}n", name_, here_));
}

}  // namespace pgleash::test
