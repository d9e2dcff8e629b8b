#pragma once

#include "protocol/types.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace pgleash::watchdog {

/// Lets tasks of one thread through one at a time, in the order they came, each no longer waiting
/// than it wants to.
class Turnstile {
  struct Queue;

 public:
  /// The right to be inside; leaves when it goes.
  class Turn {
   public:
    Turn(Turn&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn();

   private:
    friend class Turnstile;
    explicit Turn(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}
    std::shared_ptr<Queue> queue_;
  };

  explicit Turnstile(boost::asio::any_io_executor executor);
  /// Empty when the deadline passed first.
  Task<std::optional<Turn>> enter(Instant deadline);

 private:
  std::shared_ptr<Queue>
      queue_;  ///< shared with the turns: frames of an ending loop may outlive the turnstile
};

}  // namespace pgleash::watchdog
