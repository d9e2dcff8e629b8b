#include "config/secret.hpp"

#include "config/secret_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::config {

namespace {

constexpr std::size_t longest = 4096;

Parsed<Secret> read_file(const std::string& path) {
  if (auto fault = secret_file_fault(path)) return std::move(*fault);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  std::array<char, longest> buffer{};
  std::size_t length = 0;
  ssize_t got = fd < 0 ? -1 : 1;
  while (got > 0 && length < buffer.size()) {
    got = ::read(fd, buffer.data() + length, buffer.size() - length);
    if (got < 0 && errno == EINTR) {
      got = 1;
    } else if (got > 0) {
      length += static_cast<std::size_t>(got);
    }
  }
  const int error = errno;
  if (fd >= 0) ::close(fd);
  const std::string_view all{buffer.data(), length};
  // One allocation of the right size: a string that grew would leave copies behind.
  Secret secret{std::string{all.substr(0, all.find_first_of("\r\n"))}};
  ::explicit_bzero(buffer.data(), buffer.size());
  if (got < 0)
    return Fault{"cannot read " + in_quotes(path) + ": " + std::generic_category().message(error),
                 {}};
  if (secret.text().empty()) return Fault{"the first line of " + in_quotes(path) + " is empty", {}};
  return secret;
}

}  // namespace

Secret::Secret(Secret&& other) noexcept : text_(std::move(other.text_)) {
  other.wipe();
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  wipe();
  text_ = std::move(other.text_);
  other.wipe();  // a short text is copied, not moved
  return *this;
}

void Secret::wipe() noexcept {
  ::explicit_bzero(text_.data(), text_.capacity());
  text_.clear();
}

Parsed<Secret> read_secret(const SecretSource& source) {
  switch (source.kind) {
    case SecretSource::Kind::text:
      return Secret{source.name};
    case SecretSource::Kind::file:
      return read_file(source.name);
    case SecretSource::Kind::env:
      break;
  }
  const char* value = std::getenv(source.name.c_str());
  if (value == nullptr || *value == '\0')
    return Fault{"the environment variable " + in_quotes(source.name) +
                     (value == nullptr ? " is not set" : " is empty"),
                 "set it where pgleash is started (systemd: EnvironmentFile=), or write { file = "
                 "\"…\" }"};
  return Secret{value};
}

}  // namespace pgleash::config
