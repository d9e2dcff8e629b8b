#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace pgleash::protocol {

/// What was wrong with bytes that could not be decoded, and where.
struct ProtocolError {
  std::string sqlstate;      ///< what PostgreSQL would answer; empty: it closes without a word
  std::string message;       ///< primary message, in PostgreSQL's words where it has some
  char message_type = 0;     ///< type byte of the offending message; 0 in the startup phase
  std::uint64_t offset = 0;  ///< byte offset within the message
};

/// A value or a ProtocolError. Asking for the one that is not there is a bug of ours.
template <class T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): reads as a return value
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): reads as a return value
  Result(ProtocolError error) : content_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] explicit operator bool() const noexcept { return content_.index() == 0; }
  [[nodiscard]] T& value() & { return std::get<0>(content_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(content_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(content_)); }
  [[nodiscard]] T& operator*() & { return value(); }
  [[nodiscard]] const T& operator*() const& { return value(); }
  [[nodiscard]] T* operator->() { return &value(); }
  [[nodiscard]] const T* operator->() const { return &value(); }
  [[nodiscard]] const ProtocolError& error() const { return std::get<1>(content_); }

 private:
  std::variant<T, ProtocolError> content_;
};

}  // namespace pgleash::protocol
