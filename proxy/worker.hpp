#pragma once

#include "proxy/cancel_sender.hpp"
#include "proxy/kill_executor.hpp"
#include "proxy/session_table.hpp"
#include "proxy/startup_phase.hpp"
#include "proxy/tick_timer.hpp"
#include "proxy/upstream.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace pgleash::proxy {

/// One thread with its io_context and all sessions it serves. Nothing of it is shared: others reach
/// it by posting to executor() and awaiting a value, and read its counters.
class Worker {
 public:
  static constexpr Duration idle_tick = std::chrono::seconds{1};
  static constexpr Duration busy_tick = std::chrono::milliseconds{50};

  Worker(std::uint16_t index, unsigned workers, const ProxySettings& settings, ProxyEvents& events,
         ProxyLinks& links);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start();
  /// Lets the thread end; call when drained(). join() waits for it.
  void finish();
  void join();

  // From any thread.
  [[nodiscard]] boost::asio::io_context::executor_type executor() noexcept {
    return context_.get_executor();
  }
  /// After something was posted or spawned there: the relay may be waiting in its own set.
  void ring() noexcept { sessions_.relay().ring(); }
  void hand_over(Accepted accepted);
  /// Those that have no place under the quotas yet take one.
  void count_sessions();
  /// Sessions end as they become idle, all of them at `deadline`.
  void drain(Instant deadline);
  [[nodiscard]] bool drained() const noexcept { return drained_.load(); }
  [[nodiscard]] std::uint32_t live() const noexcept {
    return live_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] Instant heartbeat() const noexcept {
    return Instant{Instant::duration{heartbeat_.load()}};
  }
  [[nodiscard]] const std::vector<ServerCounters>& server_counters() const noexcept {
    return server_counters_;
  }
  [[nodiscard]] const std::vector<ListenerCounters>& listener_counters() const noexcept {
    return listener_counters_;
  }

  /// How late its ticks came: what else the thread was busy with, and the machine.
  [[nodiscard]] const LagCounts& lag() const noexcept { return lag_; }

  // On the worker's thread.
  /// As hand_over().
  void take(Accepted accepted);
  /// Sends a client's cancel request when the key's session is here; nothing when it is not. The
  /// client's own bytes wait meanwhile, so that no later statement can be hit.
  boost::asio::awaitable<std::optional<CancelResult>> cancel_for_client(protocol::CancelKey key,
                                                                        Instant deadline);
  [[nodiscard]] SessionTable& sessions() noexcept { return sessions_; }
  [[nodiscard]] KillExecutor& killer() noexcept { return killer_; }
  [[nodiscard]] EventSet& set() noexcept { return set_; }

 private:
  void run();
  void begin(Accepted accepted);
  void tick();
  void schedule(Duration delay);
  /// Something got a deadline: the timer may be on its slow beat.
  void quicken();

  std::uint16_t index_;
  ProxyEvents& events_;
  boost::asio::io_context context_{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::vector<ServerCounters> server_counters_;
  std::vector<ListenerCounters> listener_counters_;
  std::atomic<std::uint32_t> live_{0};
  std::atomic<Instant::rep> heartbeat_{0};
  LagCounts lag_;
  LoopShare share_;
  EventSet set_{context_};
  CancelSender cancels_;
  Upstream upstream_;
  SessionTable sessions_;
  StartupPhase startup_;
  KillExecutor killer_;
  TickTimer timer_;
  bool draining_ = false;
  Instant drain_deadline_{};
  bool finished_ = false;
  std::atomic<bool> drained_{false};
  std::thread thread_;
};

}  // namespace pgleash::proxy
