#pragma once

#include <boost/asio/awaitable.hpp>

namespace pgleash::watchdog {

/// A flow of the control thread. Parameters are by value, or refer to what outlives the task.
template <class T>
using Task = boost::asio::awaitable<T>;

}  // namespace pgleash::watchdog
