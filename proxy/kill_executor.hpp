#pragma once

#include "proxy/kill_order.hpp"
#include "proxy/session_table.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace pgleash::proxy {

/// Carries kill orders out on the worker's thread. The check and the act are one uninterrupted
/// step: between them no byte can cross, so the judged activity is hit or nothing (PRODUCT.md,
/// below the kill ladder; FACTS.md 5.2).
class KillExecutor {
 public:
  KillExecutor(boost::asio::io_context& context, SessionTable& sessions, CancelSender& cancels,
               LoopShare& share)
      : context_(context), sessions_(sessions), cancels_(cancels), share_(share) {}

  /// Ends within order.deadline, give or take a tick of the worker.
  boost::asio::awaitable<KillReport> carry_out(KillOrder order);

 private:
  boost::asio::awaitable<KillReport> terminate(KillOrder order, Instant deadline);
  boost::asio::awaitable<KillReport> cancel(KillOrder order, Instant deadline);

  boost::asio::io_context& context_;
  SessionTable& sessions_;
  CancelSender& cancels_;
  LoopShare& share_;
};

}  // namespace pgleash::proxy
