#include "proxy/kill_executor.hpp"

#include "proxy/cancel_error.hpp"
#include "proxy/clock.hpp"
#include "proxy/kill_check.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace pgleash::proxy {

namespace asio = boost::asio;
using protocol::SessionState;

namespace {

/// What a backend that works needs to look for interrupts, many times over.
constexpr Duration before_another_cancel = std::chrono::seconds{1};
/// A cancel request that was written and not answered can still be carried out: the session waits
/// that much longer.
constexpr Duration late_cancel_patience = std::chrono::seconds{30};

/// A session's next step as an event: one coroutine waits, the table calls.
class Watcher final : public SessionWaiter {
 public:
  Watcher(asio::io_context& context, SessionTable& sessions, Session& session)
      : timer_(context), session_(&session) {
    sessions.touch(session);
    session.waiter = this;
  }
  ~Watcher() override {
    if (session_ != nullptr) session_->waiter = nullptr;
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  void state_changed() override {
    changed_ = true;
    timer_.cancel();
  }
  void session_over(bool server_eof) override {
    session_ = nullptr;
    server_eof_ = server_eof;
    timer_.cancel();
  }

  /// Waits until the session moves, ends, or the deadline passes.
  asio::awaitable<void> next(Instant deadline) {
    if (session_ == nullptr || std::exchange(changed_, false)) co_return;
    timer_.expires_at(deadline);
    (void)co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
    changed_ = false;
  }
  [[nodiscard]] bool alive() const noexcept { return session_ != nullptr; }
  [[nodiscard]] bool server_eof() const noexcept { return server_eof_; }

 private:
  asio::steady_timer timer_;
  Session* session_;
  bool changed_ = false;
  bool server_eof_ = false;
};

SessionMoment now_in(const Session& session) noexcept {
  const bool pending = !session.server.pending.empty();
  return {session.tracker.facts(), session.stalled_since,
          session.client.hangup || has_unread(session.client),
          pending || unsent_bytes(session.server.fd.get()) > 0,
          !pending && session.tracker.at_boundary(protocol::Direction::to_backend)};
}

}  // namespace

asio::awaitable<KillReport> KillExecutor::carry_out(KillOrder order) {
  const LoopShare::Flow flow{share_};
  const Instant deadline = monotonic_now() + order.deadline;
  KillReport done;
  if (order.action == KillAction::terminate) {
    done = co_await terminate(std::move(order), deadline);
  } else {
    done = co_await cancel(std::move(order), deadline);
  }
  co_return done;
}

asio::awaitable<KillReport> KillExecutor::terminate(KillOrder order, Instant deadline) {
  Session* session = sessions_.find(order.session);
  if (session == nullptr || is_over(session->phase)) co_return report(KillResult::gone);
  if (session->phase != SessionPhase::up || session->waiter != nullptr)
    co_return report(KillResult::recovered, "another end is under way");
  if (session->opaque) co_return report(KillResult::failed, "its TLS is end to end");
  if (auto why_not = objection(now_in(*session), order)) co_return *why_not;

  const Instant now = monotonic_now();
  KillReport done = report(KillResult::done);
  done.step = first_step(KillAction::terminate, session->tracker.facts().state,
                         !session->client.pending.empty(), now_in(*session).whole_to_server);
  switch (done.step) {
    case InBandStep::end_waiting:
    case InBandStep::end_copy_in: {
      Watcher watcher{context_, sessions_, *session};
      const Told told =
          sessions_.end_waiting(*session, order.notice, done.step == InBandStep::end_copy_in,
                                EndCause::rule, now, order.notify_within);
      done.client_told = told == Told::at_once;
      done.told_on_next_use = told == Told::on_next_use;
      while (watcher.alive() && monotonic_now() < deadline) co_await watcher.next(deadline);
      done.server_eof = watcher.server_eof();
      co_return done;
    }
    case InBandStep::reset_stalled:
    case InBandStep::reset_then_cancel: {
      // Reset first: a cancel alone would let statements that are pipelined behind run and commit.
      // Behind the reset it can only hit what is judged; a reader that stalls may also have a
      // server that works, and not on the socket.
      const bool working = done.step == InBandStep::reset_then_cancel ||
                           session->tracker.facts().outstanding > 0 ||
                           session->tracker.facts().segment_open;
      ServerCounters* counters = session->counters;
      CancelTarget target = cancel_target(*session);
      target.counters = counters;
      const protocol::CancelKey key = session->key;
      done.client_told = sessions_.reset_server(*session, &order.notice, EndCause::rule, now);
      if (!working) co_return done;
      const std::function<bool()> always = [] { return true; };
      const CancelResult sent = co_await cancels_.send(target, key, deadline, always);
      counters
          ->cancels[static_cast<std::size_t>(CancelOrigin::rule)][static_cast<std::size_t>(sent)]
          .add();
      if (sent != CancelResult::delivered) done.why = "cancel request: " + std::string{name(sent)};
      co_return done;
    }
    case InBandStep::cancel:
    case InBandStep::none:
      break;
  }
  done.result = KillResult::failed;
  done.why = "no way to end it in this state: " +
             std::string{protocol::name(session->tracker.facts().state)};
  co_return done;
}

asio::awaitable<KillReport> KillExecutor::cancel(KillOrder order, Instant deadline) {
  Session* session = sessions_.find(order.session);
  if (session == nullptr || is_over(session->phase)) co_return report(KillResult::gone);
  if (session->phase != SessionPhase::up || session->waiter != nullptr)
    co_return report(KillResult::recovered, "another end is under way");
  if (session->opaque) co_return report(KillResult::failed, "its TLS is end to end");
  if (auto why_not = objection(now_in(*session), order)) co_return *why_not;
  if (!session->key.present())
    co_return report(KillResult::failed, "the server gave no cancel key");

  // From here on nothing of the client goes forward, so that no later request can be hit.
  struct Hold {
    KillExecutor& executor;
    SessionId id;
    ~Hold() {
      Session* held = executor.sessions_.find(id);
      if (held == nullptr) return;
      if (held->cancel_words != nullptr) {
        held->cancel_words->give_up();
        if (held->cancel_words->done()) held->cancel_words.reset();
      }
      executor.sessions_.relay().resume(*held, monotonic_now());
    }
  };
  sessions_.relay().hold(*session);
  const Hold hold{*this, order.session};
  Watcher watcher{context_, sessions_, *session};

  // Exactly one outstanding request, and it is the judged one: wait for that moment.
  const auto ready = [&] { return alone_outstanding(now_in(*session)); };
  while (watcher.alive()) {
    // Also when it is ready: the one request that is left need not be the judged one.
    if (auto why_not = objection(now_in(*session), order)) co_return *why_not;
    if (ready()) break;
    if (nothing_to_cancel(now_in(*session)))
      co_return report(KillResult::recovered, "it has ended");
    if (monotonic_now() >= deadline)
      co_return report(KillResult::failed, "the one judged request is not alone outstanding");
    co_await watcher.next(deadline);
  }
  if (!watcher.alive()) co_return report(KillResult::gone);

  KillReport done = report(KillResult::done);
  done.step = InBandStep::cancel;
  std::optional<KillReport> late;
  bool ours = false;
  const std::function<bool()> still_wanted = [&] {
    if (!watcher.alive()) {
      late = report(KillResult::gone);
    } else if (!ready()) {
      late = report(KillResult::recovered, "it has ended");
    } else {
      late = objection(now_in(*session), order);
    }
    // From here on a 57014 is our doing.
    if (!late && !std::exchange(ours, true))
      session->cancel_words = std::make_unique<CancelWords>(order.notice);
    return !late;
  };
  ServerCounters* counters = session->counters;
  CancelTarget target = cancel_target(*session);
  target.counters = counters;
  const protocol::CancelKey key = session->key;
  const auto runs_on = [&] { return watcher.alive() && session->tracker.facts().outstanding > 0; };
  CancelResult sent = CancelResult::unreachable;
  bool acted = false;
  // A cancel that comes before the backend has read the statement is forgotten: on a busy server it
  // takes another one.
  do {
    sent = co_await cancels_.send(target, key, deadline, still_wanted, late_cancel_patience);
    counters->cancels[static_cast<std::size_t>(CancelOrigin::rule)][static_cast<std::size_t>(sent)]
        .add();
    if (late && acted) break;  // it has heeded the one before
    if (late) co_return *late;
    if (sent != CancelResult::delivered) break;
    acted = true;
    const Instant patience = std::min(deadline, monotonic_now() + before_another_cancel);
    while (runs_on() && monotonic_now() < patience) co_await watcher.next(patience);
  } while (runs_on() && monotonic_now() < deadline);
  // One that could not be sent takes nothing back of the one before.
  if (acted && sent != CancelResult::timeout) sent = CancelResult::delivered;
  if (sent == CancelResult::timeout && watcher.alive() && session->cancel_words != nullptr) {
    // The request is with the server, which may read it at any time: a session that lived on could
    // be hit in a later statement. So it does not live on.
    done.step = InBandStep::reset_then_cancel;
    done.client_told =
        sessions_.reset_server(*session, &order.notice, EndCause::rule, monotonic_now());
    done.why = "the server did not take the cancel request; the session was ended";
    co_return done;
  }
  if (sent != CancelResult::delivered) {
    done.result = KillResult::failed;
    done.why = "cancel request: " + std::string{name(sent)};
    co_return done;
  }
  // The error itself went out as soon as it came; whether it did in our words decides
  // `client_told`.
  done.client_told = watcher.alive() && session->cancel_words == nullptr;
  done.statement_ended = watcher.alive() && session->tracker.facts().outstanding == 0;
  done.server_eof = watcher.server_eof();
  co_return done;
}

}  // namespace pgleash::proxy
