#include "app/service_manager.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <utility>
#include <vector>

namespace pgleash::app {
namespace {

/// As sd_notify does it, but never waiting: a manager that stands still must not stop our control
/// thread. What it has no room for is lost, as if it had not been listening.
void tell(const std::string& state) {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr) return;
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  const std::size_t size = std::strlen(path);
  if (size < 2 || size > sizeof where.sun_path) return;
  std::memcpy(where.sun_path, path, size);
  if (where.sun_path[0] == '@') where.sun_path[0] = '\0';  // of the abstract namespace
  const proxy::Fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd.open()) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  (void)::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&where), length);
}

/// The clock of CLOCK_MONOTONIC, by which systemd tells one reload from the next.
std::int64_t monotonic_microseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

}  // namespace

ServiceManager::ServiceManager(boost::asio::io_context& context, std::function<bool()> healthy)
    : healthy_(std::move(healthy)), timer_(context) {
  std::uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) > 0)
    interval_ = std::chrono::microseconds{static_cast<std::int64_t>(microseconds / 2)};
}

proxy::InheritedSockets ServiceManager::sockets() {
  const int count = ::sd_listen_fds(1);
  std::vector<proxy::Fd> all;
  for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; ++fd) all.emplace_back(fd);
  return proxy::InheritedSockets{std::move(all)};
}

void ServiceManager::ready(const std::string& status) {
  tell("READY=1\nSTATUS=" + status);
}

void ServiceManager::reloading() {
  tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_microseconds()));
}

void ServiceManager::stopping() {
  tell("STOPPING=1\nSTATUS=draining");
}

void ServiceManager::start() {
  if (interval_.count() > 0) beat();
}

void ServiceManager::stop() {
  interval_ = {};
  timer_.cancel();
}

void ServiceManager::beat() {
  if (healthy_()) tell("WATCHDOG=1");
  timer_.expires_after(interval_);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && interval_.count() > 0) beat();
  });
}

}  // namespace pgleash::app
