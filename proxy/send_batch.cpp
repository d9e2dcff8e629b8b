#include "proxy/send_batch.hpp"

#include <cerrno>
#include <liburing.h>
#include <sys/socket.h>
#include <system_error>
#include <utility>

namespace pgleash::proxy {
namespace {

constexpr int send_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
/// Of a send that was not tried yet.
constexpr std::int32_t untried = -EINPROGRESS;

int descriptor(const SendBatch::Send& send) noexcept {
  return send.session->leg(send.to).fd.get();
}

void send_alone(SendBatch::Send& send) noexcept {
  do {
    const ssize_t sent = ::send(descriptor(send), send.data, send.size, send_flags);
    send.result = static_cast<std::int32_t>(sent >= 0 ? sent : -errno);
  } while (send.result == -EINTR);
}

}  // namespace

std::unique_ptr<SendBatch> SendBatch::create(std::string& why) {
  auto ring = std::make_unique<io_uring>();
  if (const int error = io_uring_queue_init(capacity, ring.get(), 0); error < 0) {
    why = "io_uring_setup: " + std::generic_category().message(-error);
    return nullptr;
  }
  return std::unique_ptr<SendBatch>{new SendBatch{std::move(ring)}};
}

SendBatch::SendBatch(std::unique_ptr<io_uring> ring) noexcept : ring_(std::move(ring)) {}

SendBatch::~SendBatch() {
  if (ring_ != nullptr) io_uring_queue_exit(ring_.get());
}

void SendBatch::add(Session& session, Side to, protocol::Bytes bytes) noexcept {
  sends_[count_++] = {&session, bytes.data(), static_cast<std::uint32_t>(bytes.size()), untried,
                      to};
}

bool SendBatch::submit_together(std::span<Send> sends) noexcept {
  if (!registered_) {
    // Saves the kernel a lookup at each submission, of this thread alone; all works without.
    (void)io_uring_register_ring_fd(ring_.get());
    registered_ = true;
  }
  for (std::size_t i = 0; i < sends.size(); ++i) {
    io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
    io_uring_prep_send(entry, descriptor(sends[i]), sends[i].data, sends[i].size, send_flags);
    io_uring_sqe_set_data64(entry, i);
  }
  const auto count = static_cast<unsigned>(sends.size());
  // They do not block, so each is answered within the call: there is nothing to wait for.
  int taken = 0;
  do {
    taken = io_uring_submit_and_wait(ring_.get(), count);
  } while (taken == -EINTR);
  unsigned head = 0;
  unsigned answered = 0;
  io_uring_cqe* answer = nullptr;
  io_uring_for_each_cqe(ring_.get(), head, answer) {
    sends[io_uring_cqe_get_data64(answer)].result = answer->res;
    ++answered;
  }
  io_uring_cq_advance(ring_.get(), answered);
  return taken == static_cast<int>(count) && answered == count;
}

std::span<const SendBatch::Send> SendBatch::submit() noexcept {
  const std::span<Send> sends{sends_.data(), std::exchange(count_, 0)};
  if (sends.size() > 1 && ring_ != nullptr && !submit_together(sends)) {
    // Out of memory in the kernel, say. What it did not take must not go out later, from memory
    // that holds other bytes by then; closing the ring drops it.
    io_uring_queue_exit(ring_.get());
    ring_.reset();
  }
  for (Send& send : sends)
    if (send.result == untried || send.result == -EINTR) send_alone(send);
  return sends;
}

}  // namespace pgleash::proxy
