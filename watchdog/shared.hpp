#pragma once

#include <memory>
#include <utility>

namespace pgleash::watchdog {

/// A value that several hold together and none of them changes: copied like a pointer, empty like
/// an optional. To be written to only through edit(), on the thread of its one writer.
template <class T>
class Shared {
 public:
  Shared() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): it is the value, held otherwise
  Shared(T value) : value_(std::make_shared<T>(std::move(value))) {}

  [[nodiscard]] explicit operator bool() const noexcept { return value_ != nullptr; }
  [[nodiscard]] const T& operator*() const noexcept { return *value_; }
  [[nodiscard]] const T* operator->() const noexcept { return value_.get(); }
  // NOLINTNEXTLINE(google-explicit-constructor): so that a range of them is one of the values
  operator const T&() const noexcept { return *value_; }
  void reset() noexcept { value_.reset(); }

  /// The value, to be written to: a fresh one where there is none, a copy of its own where others
  /// hold it too.
  [[nodiscard]] T& edit() {
    if (value_ == nullptr) {
      value_ = std::make_shared<T>();
    } else if (value_.use_count() > 1) {
      value_ = std::make_shared<T>(*value_);
    }
    return *value_;
  }

 private:
  std::shared_ptr<T> value_;
};

}  // namespace pgleash::watchdog
