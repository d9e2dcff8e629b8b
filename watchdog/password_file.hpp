#pragma once

#include <string>

namespace pgleash::watchdog {

/// A password in memory, overwritten when it goes. Never copied, never logged.
class Password {
 public:
  Password() = default;
  Password(const Password&) = delete;
  Password& operator=(const Password&) = delete;
  ~Password();

  /// The file's first line, without its end. Returns what is wrong, empty when nothing is.
  /// A file that everybody may read is refused; one for the group is fine (Kubernetes mounts
  /// secrets so).
  [[nodiscard]] std::string read(const std::string& file);
  /// Null when there is none.
  [[nodiscard]] const char* c_str() const noexcept {
    return text_.empty() ? nullptr : text_.c_str();
  }

 private:
  std::string text_;
};

}  // namespace pgleash::watchdog
