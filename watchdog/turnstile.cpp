#include "watchdog/turnstile.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <list>

namespace pgleash::watchdog {
namespace {

struct Waiter {
  explicit Waiter(const boost::asio::any_io_executor& executor) : timer(executor) {}
  boost::asio::steady_timer timer;
  bool admitted = false;
};

}  // namespace

struct Turnstile::Queue {
  explicit Queue(boost::asio::any_io_executor where) : executor(std::move(where)) {}
  boost::asio::any_io_executor executor;
  std::list<std::shared_ptr<Waiter>> waiting;
  bool taken = false;
};

Turnstile::Turnstile(boost::asio::any_io_executor executor)
    : queue_(std::make_shared<Queue>(std::move(executor))) {}

Turnstile::Turn::~Turn() {
  if (!queue_) return;
  if (queue_->waiting.empty()) {
    queue_->taken = false;
    return;
  }
  // Handed over, not given back: whoever comes before the next one wakes must queue behind it.
  const auto next = queue_->waiting.front();
  queue_->waiting.pop_front();
  next->admitted = true;
  next->timer.cancel();
}

Task<std::optional<Turnstile::Turn>> Turnstile::enter(Instant deadline) {
  const auto queue = queue_;
  if (!queue->taken) {
    queue->taken = true;
    co_return Turn{queue};
  }
  const auto self = std::make_shared<Waiter>(queue->executor);
  self->timer.expires_at(deadline);
  queue->waiting.push_back(self);
  boost::system::error_code admitted_or_late;
  co_await self->timer.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, admitted_or_late));
  if (self->admitted) co_return Turn{queue};
  queue->waiting.remove(self);
  co_return std::nullopt;
}

}  // namespace pgleash::watchdog
