#include "protocol/types.hpp"

#include <utility>

namespace pgleash::protocol {

CancelKey::CancelKey(BackendPid pid, Bytes secret) : pid_(pid) {
  if (secret.size() > max_secret_size) return;
  secret_.assign(reinterpret_cast<const char*>(secret.data()), secret.size());
}

CancelKey& CancelKey::operator=(const CancelKey& other) {
  if (this == &other) return *this;
  // Not string's own assignment: where it grows, it frees the old bytes as they are.
  CancelKey copy{other};
  return *this = std::move(copy);
}

CancelKey::CancelKey(CancelKey&& other) noexcept
    : pid_(other.pid_), secret_(std::move(other.secret_)) {
  other.wipe();  // a short secret lives inside the string and was copied, not moved
}

CancelKey& CancelKey::operator=(CancelKey&& other) noexcept {
  if (this == &other) return *this;
  wipe();
  pid_ = other.pid_;
  secret_ = std::move(other.secret_);
  other.wipe();
  return *this;
}

CancelKey::~CancelKey() {
  wipe();
}

bool CancelKey::matches(const CancelKey& other) const noexcept {
  if (!present() || secret_.size() != other.secret_.size()) return false;
  // No early exit: the time must not tell how many leading bytes were right.
  unsigned difference = pid_ == other.pid_ ? 0U : 1U;
  for (std::size_t i = 0; i < secret_.size(); ++i) {
    difference |= static_cast<unsigned char>(secret_[i] ^ other.secret_[i]);
  }
  return difference == 0;
}

void CancelKey::wipe() noexcept {
  secret_.resize(
      secret_.capacity());  // stale bytes too; stays within the capacity, so nothing is allocated
  // Volatile, or the optimiser drops stores to memory that is about to be freed.
  volatile char* byte = secret_.data();
  for (std::size_t i = 0; i < secret_.size(); ++i) byte[i] = 0;
  secret_.clear();
  pid_ = {};
}

}  // namespace pgleash::protocol
