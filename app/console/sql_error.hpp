#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <variant>

namespace pgleash::console {

/// What goes into an ErrorResponse.
struct SqlError {
  std::string sqlstate;
  std::string message;
  std::string detail = {};
  std::string hint = {};
  std::size_t position = 0;  ///< in the statement, in characters, from 1; 0: nowhere
};

/// A value or an error.
template <class T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value)  // NOLINT(google-explicit-constructor): reads as a return value
      : content_(std::in_place_index<0>, std::move(value)) {}
  Outcome(SqlError error)  // NOLINT(google-explicit-constructor): reads as a return value
      : content_(std::in_place_index<1>, std::move(error)) {}
  [[nodiscard]] explicit operator bool() const noexcept { return content_.index() == 0; }
  [[nodiscard]] T& operator*() { return std::get<0>(content_); }
  [[nodiscard]] const T& operator*() const { return std::get<0>(content_); }
  [[nodiscard]] T* operator->() { return &std::get<0>(content_); }
  [[nodiscard]] const T* operator->() const { return &std::get<0>(content_); }
  [[nodiscard]] SqlError& error() { return std::get<1>(content_); }
  [[nodiscard]] const SqlError& error() const { return std::get<1>(content_); }

 private:
  std::variant<T, SqlError> content_;
};

}  // namespace pgleash::console
