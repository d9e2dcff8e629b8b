#include "app/notify/webhooks.hpp"

#include "app/notify/notice.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <utility>

namespace pgleash::notify {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

Instant now() {
  return std::chrono::steady_clock::now();
}

/// 128 bits: what a receiver tells repetitions by.
std::string fresh_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

OutboxSettings outbox_of(const config::Webhook& webhook) {
  return {webhook.queue, webhook.retry_for};
}

}  // namespace

struct Webhooks::Sink {
  Sink(asio::io_context& context, config::Webhook how, std::shared_ptr<const Destination> where)
      : settings(std::move(how)),
        to(std::move(where)),
        outbox(outbox_of(settings), std::random_device{}()),
        delivery(context),
        timer(context) {}

  config::Webhook settings;
  std::shared_ptr<const Destination> to;
  Outbox outbox;
  Delivery delivery;
  asio::steady_timer timer;  ///< cancelled when something is to be looked at
  std::optional<Instant> failing_since;
  std::uint64_t lost_before = 0;
  bool stopping = false;  ///< ends when there is nothing to send, or an attempt failed
  bool leaving = false;   ///< ends at once

  [[nodiscard]] std::uint64_t lost() const noexcept {
    return outbox.counts().given_up + outbox.counts().dropped;
  }
};

Webhooks::Webhooks(asio::io_context& context, WebhookEvents& events)
    : context_(context), events_(events) {}

Webhooks::~Webhooks() = default;

std::optional<Webhooks::Prepared> Webhooks::prepare(const config::Config& config, std::string agent,
                                                    std::vector<config::Diagnostic>& faults) {
  Prepared prepared{config.webhooks, {}, config.process.name};
  for (const config::Webhook& webhook : config.webhooks) {
    prepared.destinations.push_back(make_destination(webhook, agent, faults));
    if (!prepared.destinations.back()) return std::nullopt;
  }
  return prepared;
}

void Webhooks::take(Prepared prepared) {
  instance_ = std::move(prepared.instance);
  std::vector<std::shared_ptr<Sink>> before = std::exchange(sinks_, {});
  for (std::size_t i = 0; i < prepared.webhooks.size(); ++i) {
    config::Webhook& webhook = prepared.webhooks[i];
    const auto same = std::ranges::find_if(
        before, [&](const auto& one) { return one && one->settings.name == webhook.name; });
    if (same != before.end()) {
      (*same)->settings = std::move(webhook);
      (*same)->to = std::move(prepared.destinations[i]);
      (*same)->outbox.configure(outbox_of((*same)->settings), now());
      (*same)->timer.cancel();
      sinks_.push_back(std::move(*same));
      continue;
    }
    auto sink =
        std::make_shared<Sink>(context_, std::move(webhook), std::move(prepared.destinations[i]));
    sinks_.push_back(sink);
    asio::co_spawn(context_, run(sink, events_), [this](const std::exception_ptr& failure) {
      if (!failure) return;
      try {
        std::rethrow_exception(failure);
      } catch (const std::exception& e) {
        events_.failure("webhook", e.what());
      }
    });
  }
  for (const auto& gone : before) {
    if (!gone) continue;
    gone->leaving = true;
    gone->timer.cancel();
    gone->delivery.abort();
    leaving_.push_back(gone);
  }
  std::erase_if(leaving_, [](const auto& one) { return one.expired(); });
}

Task<void> Webhooks::run(std::shared_ptr<Sink> sink, WebhookEvents& events) {
  while (!sink->leaving) {
    const Notice* notice = sink->outbox.take(now());
    if (notice == nullptr) {
      if (sink->stopping) break;
      sink->timer.expires_at(sink->outbox.wakes().value_or(Instant::max()));
      (void)co_await sink->timer.async_wait(as_result);
      continue;
    }
    Notice copy = *notice;
    const std::string id = copy.id;
    Attempt attempt;
    try {
      auto post = sink->delivery.post(sink->to, std::move(copy), std::chrono::system_clock::now());
      attempt = co_await std::move(post);
    } catch (const std::exception& e) {
      attempt.why = e.what();
    }
    sink->outbox.settle(attempt.answer, now());
    if (attempt.answer == Answer::failed) {
      if (sink->stopping) break;
      if (sink->failing_since || sink->leaving) continue;
      sink->failing_since = now();
      events.webhook_fails(sink->settings.name, attempt.why);
      continue;
    }
    if (attempt.answer == Answer::refused)
      events.webhook_refused(sink->settings.name, id, attempt.why);
    if (sink->failing_since)
      events.webhook_works(sink->settings.name, now() - *std::exchange(sink->failing_since, {}),
                           sink->lost() - sink->lost_before);
    sink->lost_before = sink->lost();
  }
}

template <typename Body>
void Webhooks::announce(config::WebhookEvent event, std::string_view server, Body body) {
  for (const auto& sink : sinks_) {
    const auto& wanted = sink->settings.events;
    if (std::ranges::find(wanted, event) == wanted.end()) continue;
    const Preamble preamble{fresh_id(), instance_, server, std::chrono::system_clock::now()};
    sink->outbox.add({preamble.id, body(preamble)}, now());
    sink->timer.cancel();
  }
}

void Webhooks::finished(std::string_view server, const watchdog::Verdict& verdict,
                        const watchdog::TerminationRecord& record) {
  const auto event = event_of(record.outcome);
  if (!event) return;
  announce(*event, server, [&](const Preamble& preamble) {
    return notify::finished(preamble, *event, verdict, record);
  });
}

void Webhooks::fuse_tripped(std::string_view server, const watchdog::OpenFuse& open) {
  announce(config::WebhookEvent::fuse, server,
           [&](const Preamble& preamble) { return fuse(preamble, open); });
}

void Webhooks::leak(std::string_view server, std::string_view change,
                    const watchdog::LeakReport& report) {
  announce(config::WebhookEvent::leak, server,
           [&](const Preamble& preamble) { return notify::leak(preamble, change, report); });
}

Task<void> Webhooks::stop(Duration patience) {
  std::vector<std::weak_ptr<Sink>> all = std::exchange(leaving_, {});
  for (auto& sink : sinks_) {
    sink->stopping = true;
    sink->timer.cancel();
    all.push_back(sink);
  }
  sinks_.clear();
  const Instant deadline = now() + patience;
  asio::steady_timer timer{context_};
  const auto left = [&all] {
    return std::ranges::any_of(all, [](const auto& one) { return !one.expired(); });
  };
  while (left()) {
    if (now() >= deadline)
      for (const auto& one : all)
        if (const auto sink = one.lock()) {
          sink->leaving = true;
          sink->delivery.abort();
        }
    timer.expires_after(5ms);
    (void)co_await timer.async_wait(as_result);
  }
}

std::vector<Webhooks::Facts> Webhooks::facts() const {
  std::vector<Facts> all;
  for (const auto& sink : sinks_)
    all.push_back({sink->settings.name, sink->outbox.counts(), sink->outbox.size()});
  return all;
}

}  // namespace pgleash::notify
