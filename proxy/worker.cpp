#include "proxy/worker.hpp"

#include "proxy/clock.hpp"

#include <boost/asio/post.hpp>

#include <string>
#include <sys/prctl.h>

namespace pgleash::proxy {

namespace asio = boost::asio;

Worker::Worker(std::uint16_t index, unsigned workers, const ProxySettings& settings,
               ProxyEvents& events, ProxyLinks& links)
    : index_(index),
      events_(events),
      work_(asio::make_work_guard(context_)),
      server_counters_(settings.servers.size()),
      listener_counters_(settings.listeners.size()),
      heartbeat_(monotonic_now().time_since_epoch().count()),
      cancels_(set_, share_),
      upstream_(set_, settings, share_),
      sessions_(
          set_, index, settings, cancels_, events, server_counters_, listener_counters_, live_,
          [this] { quicken(); }, share_),
      startup_(set_, settings, sessions_, upstream_, cancels_, events, listener_counters_, workers,
               live_, links, share_),
      killer_(context_, sessions_, cancels_, share_),
      timer_(set_, [this] { tick(); }) {}

Worker::~Worker() {
  join();
}

void Worker::start() {
  sessions_.start();
  timer_.start();
  schedule(busy_tick);
  thread_ = std::thread{[this] { run(); }};
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  ::prctl(PR_SET_NAME, ("worker-" + std::to_string(index_)).c_str());
  // A handler that throws ends its own session's coroutine at most: the others go on.
  for (;;) {
    try {
      context_.run();
      return;
    } catch (const std::exception& e) {
      events_.failure("worker", e.what());
    }
  }
}

void Worker::schedule(Duration delay) {
  if (!finished_) timer_.set(delay);
}

void Worker::tick() {
  const Instant now = monotonic_now();
  heartbeat_.store(now.time_since_epoch().count());
  lag_.observe(now - timer_.due());
  bool busy = true;
  try {
    if (draining_ && now >= drain_deadline_) startup_.stop();
    const bool starting = startup_.tick(now);
    busy = sessions_.tick(now) || starting || draining_;
    if (draining_) drained_.store(!starting && sessions_.size() == 0 && cancels_.idle());
  } catch (const std::exception& e) {
    events_.failure("tick", e.what());  // the next one must come all the same
  }
  schedule(busy ? busy_tick : idle_tick);
}

void Worker::quicken() {
  if (timer_.due() > monotonic_now() + busy_tick) schedule(busy_tick);
}

void Worker::hand_over(Accepted accepted) {
  live_.fetch_add(1, std::memory_order_relaxed);
  auto handler = [this, taken = std::move(accepted)]() mutable { begin(std::move(taken)); };
  asio::post(context_, std::move(handler));
  ring();
}

void Worker::take(Accepted accepted) {
  live_.fetch_add(1, std::memory_order_relaxed);
  begin(std::move(accepted));
}

void Worker::begin(Accepted accepted) {
  startup_.begin(std::move(accepted));
  if (startup_.starting() > 0) quicken();
}

void Worker::finish() {
  asio::post(context_, [this] {
    finished_ = true;
    timer_.stop();
    startup_.stop();
    sessions_.stop();
    work_.reset();
  });
  ring();
}

asio::awaitable<std::optional<CancelResult>> Worker::cancel_for_client(protocol::CancelKey key,
                                                                       Instant deadline) {
  Session* session = sessions_.find(key);
  if (session == nullptr) co_return std::nullopt;
  const LoopShare::Flow flow{share_};
  struct Hold {
    SessionTable& sessions;
    SessionId id;
    ~Hold() {
      if (Session* held = sessions.find(id)) sessions.relay().resume(*held, monotonic_now());
    }
  };
  const Hold hold{sessions_, session->id};
  sessions_.relay().hold(*session);
  ServerCounters* counters = session->counters;
  CancelTarget target = cancel_target(*session);
  target.counters = counters;
  const std::function<bool()> always = [] { return true; };
  const CancelResult result = co_await cancels_.send(target, std::move(key), deadline, always);
  counters
      ->cancels[static_cast<std::size_t>(CancelOrigin::client)][static_cast<std::size_t>(result)]
      .add();
  co_return result;
}

void Worker::count_sessions() {
  asio::post(context_, [this] { sessions_.count_for_quotas(); });
  ring();
}

void Worker::drain(Instant deadline) {
  asio::post(context_, [this, deadline] {
    draining_ = true;
    drain_deadline_ = deadline;
    startup_.begin_refusing();
    sessions_.drain(deadline, monotonic_now());
    schedule(Duration::zero());
  });
  ring();
}

}  // namespace pgleash::proxy
