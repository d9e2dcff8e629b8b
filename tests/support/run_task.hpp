#pragma once

#include "tests/support/wait_until.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

namespace pgleash::test {

/// Turns the loop until `condition` holds; false at the end of `patience`.
template <class Condition>
[[nodiscard]] bool run_until(boost::asio::io_context& io, Condition condition,
                             std::chrono::nanoseconds patience) {
  return wait_until(
      [&] {
        io.restart();
        io.poll();
        return condition();
      },
      patience);
}

namespace detail {

template <class T>
struct TaskResult {
  std::exception_ptr thrown;
  std::optional<T> value;
  bool done = false;
};

template <class T>
boost::asio::awaitable<void> keep_value(boost::asio::awaitable<T> task,
                                        std::shared_ptr<TaskResult<T>> result) {
  result->value.emplace(co_await std::move(task));
}

}  // namespace detail

/// Turns the loop until the task has its value; throws what it threw, or when it takes longer than
/// `patience`.
template <class T>
T run_task(boost::asio::io_context& io, boost::asio::awaitable<T> task,
           std::chrono::nanoseconds patience = std::chrono::seconds{20}) {
  // Shared, since a task that is given up here may still end later.
  const auto result = std::make_shared<detail::TaskResult<T>>();
  boost::asio::co_spawn(io, detail::keep_value(std::move(task), result),
                        [result](std::exception_ptr thrown) {
                          result->thrown = thrown;
                          result->done = true;
                        });
  if (!run_until(
          io, [&] { return result->done; }, patience))
    throw std::runtime_error{"the task did not end in time"};
  if (result->thrown) std::rethrow_exception(result->thrown);
  return std::move(*result->value);
}

}  // namespace pgleash::test
