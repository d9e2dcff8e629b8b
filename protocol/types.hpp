#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pgleash {

/// A point on the monotonic clock of this host. Always a parameter, never read inside a decision.
using Instant = std::chrono::steady_clock::time_point;
/// A length of time; units appear only at the edges (configuration, metrics, messages).
using Duration = std::chrono::nanoseconds;

namespace protocol {

using Bytes = std::span<const std::byte>;

/// Which way bytes cross the proxy.
enum class Direction : std::uint8_t { to_backend, to_frontend };

/// Process id of a backend, as BackendKeyData and pg_stat_activity.pid name it.
/// Never enough to end anything: pids are used again (see BackendId in watchdog/activity.hpp).
enum class BackendPid : std::int32_t {};

/// The byte of ReadyForQuery. Nothing else says what the transaction's state is.
enum class TransactionStatus : char { idle = 'I', in_transaction = 'T', failed = 'E' };

/// What a CancelRequest needs: the pid and the secret of BackendKeyData.
/// The secret has 4 bytes in protocol 3.0, 32 in 3.2, and up to 256 are allowed.
/// A credential: compared in constant time, never logged, wiped when it goes.
/// Source: "Frontend/Backend Protocol", Canceling Requests in Progress; Message Formats:
/// BackendKeyData.
class CancelKey {
 public:
  static constexpr std::size_t max_secret_size = 256;

  CancelKey() = default;
  /// A secret longer than max_secret_size is not kept: the key is not present then.
  CancelKey(BackendPid pid, Bytes secret);
  CancelKey(const CancelKey&) = default;
  CancelKey& operator=(const CancelKey& other);
  CancelKey(CancelKey&& other) noexcept;
  CancelKey& operator=(CancelKey&& other) noexcept;
  ~CancelKey();

  [[nodiscard]] bool present() const noexcept { return !secret_.empty(); }
  [[nodiscard]] BackendPid pid() const noexcept { return pid_; }
  [[nodiscard]] Bytes secret() const noexcept {
    return std::as_bytes(std::span{secret_.data(), secret_.size()});
  }
  /// Equal pid and secret; takes the same time for any two secrets of equal length.
  [[nodiscard]] bool matches(const CancelKey& other) const noexcept;

 private:
  void wipe() noexcept;

  BackendPid pid_{};
  std::string secret_;
};

}  // namespace protocol
}  // namespace pgleash
