#include "watchdog/password_file.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace pgleash::watchdog {
namespace {

constexpr std::size_t longest = 4096;

class File {
 public:
  explicit File(const std::string& name)
      : fd_(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

}  // namespace

Password::~Password() {
  OPENSSL_cleanse(text_.data(), text_.capacity());
}

std::string Password::read(const std::string& name) {
  const File file{name};
  struct stat facts {};
  if (file.fd() < 0 || ::fstat(file.fd(), &facts) != 0) {
    return fmt::format("cannot open password_file \"{}\": {}", name, std::strerror(errno));
  }
  if (!S_ISREG(facts.st_mode))
    return fmt::format("password_file \"{}\" is not a regular file", name);
  if ((facts.st_mode & S_IROTH) != 0) {
    return fmt::format(
        "password_file \"{}\" may be read by everybody: chmod o-rwx (Kubernetes: defaultMode 0440)",
        name);
  }
  // The one allocation: a string that grew would leave copies of the password behind.
  text_.assign(longest, '\0');
  std::size_t length = 0;
  while (length < longest) {
    const auto got = ::read(file.fd(), text_.data() + length, longest - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fmt::format("cannot read password_file \"{}\": {}", name, std::strerror(errno));
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
  }
  length = std::min({length, text_.find('\n'), text_.find('\r'), text_.find('\0')});
  OPENSSL_cleanse(text_.data() + length, text_.size() - length);
  text_.resize(length);
  if (text_.empty())
    return fmt::format("password_file \"{}\" has no password in its first line", name);
  return {};
}

}  // namespace pgleash::watchdog
