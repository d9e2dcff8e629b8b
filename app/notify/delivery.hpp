#pragma once

#include "app/notify/outbox.hpp"
#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/secret.hpp"
#include "config/url.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pgleash::notify {

template <typename T>
using Task = boost::asio::awaitable<T>;

/// Where a webhook goes and what is needed for it; immutable, replaced whole by a reload. The key
/// is overwritten when it goes.
struct Destination {
  config::Url url;
  config::Secret key;
  std::unique_ptr<boost::asio::ssl::context> tls;  ///< null: http to loopback
  Duration timeout{};
  std::string agent;  ///< "pgleash/0.1.0"
};

/// Reads the secrets and the CAs; null with a fault when one cannot be had.
[[nodiscard]] std::shared_ptr<const Destination> make_destination(
    const config::Webhook& webhook, std::string agent, std::vector<config::Diagnostic>& faults);

struct Attempt {
  Answer answer = Answer::failed;
  std::string why;  ///< one line, without anything of the URL; empty when accepted
};

/// Makes one request at a time, on one connection each, within the destination's timeout. Follows
/// no redirect, and reads no more of an answer than its header, 16 KiB at most. Control thread;
/// never blocks it but for what a handshake computes.
class Delivery {
 public:
  explicit Delivery(boost::asio::io_context& context) : context_(context) {}

  [[nodiscard]] Task<Attempt> post(std::shared_ptr<const Destination> to, Notice notice,
                                   std::chrono::system_clock::time_point now);
  /// The attempt under way fails at once.
  void abort();

 private:
  struct Lookup;

  boost::asio::io_context& context_;
  std::function<void()> abort_;
};

}  // namespace pgleash::notify
