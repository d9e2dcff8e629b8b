#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::console {

/// Cuts a client's bytes into messages; any chunking is fine. Pure.
class Inbox {
 public:
  static constexpr std::size_t max_message = std::size_t{64} * 1024;

  struct Message {
    char type = 0;
    std::string body;
  };

  void add(std::string_view bytes) { bytes_.append(bytes); }
  /// The next one that is whole.
  [[nodiscard]] std::optional<Message> next();
  /// A length that no message may have came: nothing can be read any more.
  [[nodiscard]] bool broken() const noexcept { return broken_; }

 private:
  std::string bytes_;
  bool broken_ = false;
};

}  // namespace pgleash::console
