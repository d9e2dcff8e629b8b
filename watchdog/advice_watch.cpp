#include "watchdog/advice_watch.hpp"

#include "watchdog/clock.hpp"
#include "watchdog/server_probe.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;

constexpr auto as_result = boost::asio::as_tuple(boost::asio::use_awaitable);
constexpr Duration first_back_off = 30s;
constexpr Duration between = 1h;

}  // namespace

AdviceWatch::AdviceWatch(boost::asio::any_io_executor executor, const config::Server& server,
                         std::string application_name, Told told)
    : executor_(executor),
      server_(server),
      application_name_(std::move(application_name)),
      told_(std::move(told)),
      timer_(executor) {}

Task<void> AdviceWatch::run() {
  Duration pause = between;
  Duration back_off = first_back_off;
  while (!stopping_) {
    if (!std::exchange(wanted_, false)) {
      timer_.expires_after(pause);
      (void)co_await timer_.async_wait(as_result);
      if (stopping_) co_return;
      wanted_ = false;
    }
    const auto config = config_;
    const Instant deadline = now() + server_.connect_timeout + server_.monitor.statement_timeout;
    connection_ = std::make_unique<PgConnection>(executor_);
    const PgResult<ServerFacts> facts =
        co_await probe(*connection_, server_, application_name_, deadline);
    connection_.reset();
    if (stopping_) co_return;
    if (!facts) {
      pause = back_off;
      back_off = std::min(2 * back_off, between);
      continue;
    }
    pause = between;
    back_off = first_back_off;
    std::vector<Advice> advice = advise(*facts, *config, server_);
    if (advice == last_) continue;
    last_ = std::move(advice);
    told_(*last_);
  }
}

void AdviceWatch::stop() {
  stopping_ = true;
  timer_.cancel();
  if (connection_) connection_->close();
}

void AdviceWatch::wake() {
  wanted_ = true;
  timer_.cancel();
}

std::optional<protocol::BackendPid> AdviceWatch::pid() const noexcept {
  if (!connection_ || !connection_->alive()) return std::nullopt;
  return connection_->pid();
}

void AdviceWatch::configure(std::shared_ptr<const config::Config> config) {
  const bool another = config_ != nullptr;
  config_ = std::move(config);
  if (another) wake();
}

}  // namespace pgleash::watchdog
