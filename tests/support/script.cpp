#include "tests/support/script.hpp"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace pgleash::test {
namespace {

constexpr std::uint32_t cancel_code = 80877102;

[[noreturn]] void fail(std::string_view what, int error) {
  throw ScriptFailure{fmt::format("{}: {}", what, std::strerror(error))};
}

int made(int fd, std::string_view what) {
  if (fd < 0) fail(what, errno);
  return fd;
}

std::uint32_t int32_at(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return ntohl(value);
}

/// Bytes as a person reads them, the first few hundred.
std::string shown(std::string_view bytes) {
  constexpr std::size_t enough = 300;
  std::string text;
  for (const char c : bytes.substr(0, enough))
    text += c >= ' ' && c <= '~' ? std::string{c}
                                 : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return fmt::format("\"{}\"{} ({} bytes)", text, bytes.size() > enough ? "..." : "", bytes.size());
}

bool ready(int fd, short events, std::chrono::nanoseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  for (;;) {
    pollfd watched{fd, events, 0};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int count =
        ::poll(&watched, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) fail("poll", errno);
    if (left.count() <= 0) return false;
  }
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

template <class Address>
const sockaddr* any(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

// ---------------------------------------------------------------- one end of a connection

ScriptedPeer::ScriptedPeer(int fd) : fd_(fd) {
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on);  // fails on a Unix socket, which needs none
}

ScriptedPeer::ScriptedPeer(ScriptedPeer&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), tls_(std::move(other.tls_)) {}

ScriptedPeer& ScriptedPeer::operator=(ScriptedPeer&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    tls_ = std::move(other.tls_);
  }
  return *this;
}

ScriptedPeer::~ScriptedPeer() {
  close();
}

ScriptedPeer ScriptedPeer::connect_tcp(std::uint16_t port) {
  ScriptedPeer peer{made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  const sockaddr_in address = loopback(port);
  if (::connect(peer.fd_, any(address), sizeof address) != 0)
    fail(fmt::format("connect to port {}", port), errno);
  return peer;
}

ScriptedPeer ScriptedPeer::connect_unix(const std::string& path) {
  ScriptedPeer peer{made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  const sockaddr_un address = unix_address(path);
  if (::connect(peer.fd_, any(address), sizeof address) != 0) fail("connect to " + path, errno);
  return peer;
}

void ScriptedPeer::wait(short events, std::string_view what) const {
  if (!ready(fd_, events, patience)) throw ScriptFailure{fmt::format("{} in time", what)};
}

std::size_t ScriptedPeer::send_some(std::string_view bytes) {
  if (tls_) return send_sealed(bytes);
  const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
  fail("send", errno);
}

void ScriptedPeer::send(std::string_view bytes) {
  while (!bytes.empty()) {
    wait(POLLOUT, "the peer does not take what is sent");
    bytes.remove_prefix(send_some(bytes));
  }
}

std::size_t ScriptedPeer::read_some(char* buffer, std::size_t size) {
  if (tls_) return read_sealed(buffer, size);
  wait(POLLIN, "nothing came");
  const ssize_t got = ::recv(fd_, buffer, size, MSG_DONTWAIT);
  if (got < 0) fail("read", errno);
  return static_cast<std::size_t>(got);
}

std::string ScriptedPeer::read(std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t have = 0;
  try {
    while (have < size) {
      const std::size_t got = read_some(bytes.data() + have, size - have);
      if (got == 0) throw ScriptFailure{"end of file"};
      have += got;
    }
  } catch (const ScriptFailure& failure) {
    throw ScriptFailure{fmt::format("{} after {} of {} bytes: {}", failure.what(), have, size,
                                    shown(bytes.substr(0, have)))};
  }
  return bytes;
}

void ScriptedPeer::expect(std::string_view bytes) {
  const std::string came = read(bytes.size());
  if (came != bytes)
    throw ScriptFailure{fmt::format("expected {}, came {}", shown(bytes), shown(came))};
}

std::string ScriptedPeer::read_message() {
  std::string message = read(5);
  return message + read(int32_at(message, 1) - 4);
}

std::string ScriptedPeer::read_to_end() {
  std::string all;
  std::array<char, 4096> buffer{};
  while (const std::size_t got = read_some(buffer.data(), buffer.size()))
    all.append(buffer.data(), got);
  return all;
}

void ScriptedPeer::expect_end() {
  if (const std::string rest = read_to_end(); !rest.empty())
    throw ScriptFailure{"expected the end of the stream, came " + shown(rest)};
}

void ScriptedPeer::expect_reset() {
  std::array<char, 4096> buffer{};
  for (;;) {
    wait(POLLIN, "no reset came");
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == ECONNRESET) return;
    if (got == 0) throw ScriptFailure{"expected a reset, came a FIN"};
    if (got < 0) fail("read", errno);
  }
}

std::size_t ScriptedPeer::unread() const {
  int waiting = 0;
  if (::ioctl(fd_, FIONREAD, &waiting) != 0) fail("FIONREAD", errno);
  return static_cast<std::size_t>(waiting) + (tls_ ? unread_behind_tls() : 0);
}

StreamEnd ScriptedPeer::end() const {
  pollfd watched{fd_, POLLRDHUP, 0};
  if (::poll(&watched, 1, 0) <= 0) return StreamEnd::open;
  return (watched.revents & POLLERR) != 0 ? StreamEnd::reset : StreamEnd::closed;
}

std::uint16_t ScriptedPeer::local_port() const {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    fail("getsockname", errno);
  return ntohs(address.sin_port);
}

void ScriptedPeer::small_receive_buffer() {
  const int bytes = 4096;
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

void ScriptedPeer::half_close() {
  if (::shutdown(fd_, SHUT_WR) != 0) fail("shutdown", errno);
}

void ScriptedPeer::close() {
  tls_.reset();
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void ScriptedPeer::reset() {
  const linger hard{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close();
}

// ---------------------------------------------------------------- a server

ScriptedBackend::ScriptedBackend()
    : fd_(made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")) {
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(fd_, any(address), size) != 0 || ::listen(fd_, SOMAXCONN) != 0) fail("listen", errno);
  ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
}

ScriptedBackend::ScriptedBackend(const std::string& directory, std::uint16_t port)
    : fd_(made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")),
      port_(port),
      path_(fmt::format("{}/.s.PGSQL.{}", directory, port)) {
  const sockaddr_un address = unix_address(path_);
  if (::bind(fd_, any(address), sizeof address) != 0 || ::listen(fd_, SOMAXCONN) != 0)
    fail(path_, errno);
}

ScriptedBackend::~ScriptedBackend() {
  stop();
}

void ScriptedBackend::stop() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  if (!path_.empty()) ::unlink(std::exchange(path_, {}).c_str());
}

bool ScriptedBackend::called(std::chrono::nanoseconds within) const {
  return ready(fd_, POLLIN, within);
}

ScriptedPeer ScriptedBackend::accept() {
  if (!called(ScriptedPeer::patience)) throw ScriptFailure{"nobody connected in time"};
  ScriptedPeer peer{made(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC), "accept")};
  ++accepted_;
  return peer;
}

CancelArrived ScriptedBackend::accept_cancel() {
  ScriptedPeer connection = accept();
  const std::string head = connection.read(12);
  if (int32_at(head, 4) != cancel_code)
    throw ScriptFailure{"expected a cancel request, came " + shown(head)};
  std::string secret = connection.read(int32_at(head, 0) - 12);
  return {static_cast<std::int32_t>(int32_at(head, 8)), std::move(secret), std::move(connection)};
}

std::string error_field(std::string_view message, char field) {
  std::size_t at = 5;
  while (at < message.size() && message[at] != '\0') {
    const std::string_view value{message.data() + at + 1};
    if (message[at] == field) return std::string{value};
    at += value.size() + 2;
  }
  return {};
}

}  // namespace pgleash::test
