#pragma once

#include "proxy/session.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct io_uring;

namespace pgleash::proxy {

/// Several small sends to different sockets in one system call, by io_uring.
///
/// Each send(2) wakes a peer, and its way back to user space is where the kernel may give the
/// processor to whom it woke: a relay that answers thirty sockets one after the other is
/// interrupted again and again, on a machine that is busy. Submitted together all are written, and
/// all peers woken, before anybody else runs there. Nothing stays in flight: a send that would
/// block fails at once with EAGAIN, so that a batch leaves behind what the calls would have that it
/// stands for. The bytes are the caller's until submit() returns.
///
/// create() on any thread, all else on one. Source: io_uring(7), io_uring_enter(2).
class SendBatch {
 public:
  static constexpr std::size_t capacity = 64;

  struct Send {
    Session* session = nullptr;
    const std::byte* data = nullptr;
    std::uint32_t size = 0;
    std::int32_t result = 0;  ///< after submit(): bytes written, or minus errno
    Side to = Side::client;
  };

  /// Null where the kernel, a seccomp filter or a limit forbids io_uring, and why.
  [[nodiscard]] static std::unique_ptr<SendBatch> create(std::string& why);
  ~SendBatch();
  SendBatch(const SendBatch&) = delete;
  SendBatch& operator=(const SendBatch&) = delete;

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] bool full() const noexcept { return count_ == capacity; }
  /// Not when full(), and no second one to the same leg: the order of two would be lost if the
  /// first did not fit.
  void add(Session& session, Side to, protocol::Bytes bytes) noexcept;
  /// Writes all of them and leaves the batch empty. What it returns lives until the next add().
  [[nodiscard]] std::span<const Send> submit() noexcept;

 private:
  explicit SendBatch(std::unique_ptr<io_uring> ring) noexcept;
  /// False: the ring took none of them.
  bool submit_together(std::span<Send> sends) noexcept;

  std::unique_ptr<io_uring> ring_;  ///< null: it failed once, and is not asked again
  std::array<Send, capacity> sends_{};
  std::size_t count_ = 0;
  bool registered_ = false;
};

}  // namespace pgleash::proxy
