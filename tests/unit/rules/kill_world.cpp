#include "tests/unit/rules/kill_world.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace pgleash::watchdog {

namespace wire = protocol::wire;
using proxy::InBandStep;
using proxy::KillAction;
using proxy::KillResult;
using namespace std::chrono_literals;

namespace {

struct NoEvents final : protocol::TrackerEvents {
  void backend_key(protocol::BackendPid, protocol::Bytes) override {}
  void parameter_status(std::string_view, std::string_view) override {}
  void server_error(std::string_view, std::string_view) override {}
  void negotiated_minor(std::int32_t) override {}
};

std::string extended() {
  return wire::parse("select 1") + wire::bind() + wire::execute();
}

std::string bytes_of(char kind) {
  switch (kind) {
    case 'b':
      return wire::query("begin");
    case 'c':
      return wire::query("commit");
    case 'x':
      return extended() + wire::message('H');
    case 's':
      return wire::sync();
    case 'y':
      return extended() + wire::sync();
    default:
      return wire::query("select 1");
  }
}

}  // namespace

KillWorld::KillWorld(const Story& story, test::Interleavings& choices)
    : story_(story), choices_(choices), tracker_(texts_, Instant{} + 1h), now_(Instant{} + 1h) {
  NoEvents events;
  tracker_.on_backend(wire::bytes(wire::login()), now_, events);
  promise(tracker_.facts().state == protocol::SessionState::idle, "logged in");
}

void KillWorld::promise(bool kept, const char* what) {
  if (!kept) broken.emplace_back(what);
}

void KillWorld::run() {
  for (int i = 0; i < 500 && broken.empty(); ++i) {
    const auto next = possible();
    if (next.empty()) {
      promise(!plan_ || outcome.has_value(), "a verdict comes to its outcome");
      promise(holds_ == 0, "the client is read again");
      promise(!outcome || acts_ == acts_at_outcome_, "nothing is done behind the outcome");
      return;
    }
    happen(next[choices_.choose(next.size())]);
  }
  promise(!broken.empty(), "it comes to an end");
}

std::vector<KillWorld::Event> KillWorld::possible() const {
  std::vector<Event> all;
  const auto add = [&](bool can, Event event) {
    if (can) all.push_back(event);
  };
  const bool waits = act_ == Act::awaits_moment || act_ == Act::awaits_answer;
  add(cancel_in_flight_, Event::server_reads_cancel);
  add(act_ == Act::cancelling && !cancel_in_flight_, Event::cancel_closes);
  add(act_ == Act::connecting, Event::cancel_connects);
  add(waits && changed_, Event::executor_wakes);
  add(plan_ && !outcome && act_ == Act::none, Event::plan_steps);
  add(!over_ && !from_server_.empty(), Event::relay_reads_server);
  const bool left = server_reset_ || ending_ || (client_closed_ && over_client_);
  add(!server_gone_ && (running_ || !to_server_.empty() || left), Event::server_steps);
  add(may_read_client() && (!from_client_.empty() || (client_closed_ && !over_client_)),
      Event::relay_reads_client);
  add(!over_ && !client_closed_ && sent_ < story_.client.size(), Event::client_sends);
  add(story_.client_leaves && !over_ && !client_closed_, Event::client_closes);
  add(judgeable(), Event::judge);
  add(act_ == Act::awaits_end || act_ == Act::awaits_moment || act_ == Act::awaits_answer ||
          act_ == Act::connecting || (act_ == Act::cancelling && cancel_in_flight_),
      Event::deadline);
  return all;
}

void KillWorld::happen(Event event) {
  static constexpr std::array names{
      "server reads cancel", "cancel closes",      "cancel connects", "executor wakes",
      "plan steps",          "relay reads server", "server steps",    "relay reads client",
      "client sends",        "client closes",      "judge",           "deadline"};
  trace_ += std::string{names.at(static_cast<std::size_t>(event))} + ", ";
  now_ += 1ms;
  switch (event) {
    case Event::client_sends:
      from_client_.push_back({story_.client[sent_], static_cast<int>(sent_) + 1});
      ++sent_;
      return;
    case Event::client_closes:
      client_closed_ = true;
      return;
    case Event::relay_reads_client:
      return relay_client();
    case Event::relay_reads_server:
      return relay_server();
    case Event::server_steps:
      return server_step();
    case Event::server_reads_cancel:
      return server_cancelled();
    case Event::judge:
      return judge();
    case Event::plan_steps:
      return plan_step();
    case Event::cancel_connects:
      return cancel_connected();
    case Event::cancel_closes:
      return cancel_closed();
    case Event::executor_wakes:
      return go_on();
    case Event::deadline:
      return deadline_passed();
  }
}

// ---------------------------------------------------------------- the relay

proxy::SessionMoment KillWorld::moment() const {
  return {tracker_.facts(), {}, !from_client_.empty(), false, true};
}

bool KillWorld::may_read_client() const {
  return holds_ == 0 && !over_ && !ending_;
}

void KillWorld::relay_client() {
  promise(holds_ == 0, "nothing of the client goes on while it is held");
  if (from_client_.empty()) {
    over_client_ = true;  // its end of file goes on to the server
    return;
  }
  const Message message = from_client_.front();
  from_client_.pop_front();
  NoEvents events;
  const auto changes = tracker_.on_frontend(wire::bytes(bytes_of(message.kind)), now_, events);
  to_server_.push_back(message);
  unanswered_.push_back(message);
  forwarded_ = message.number;
  changed_ = changed_ || changes.state;
}

void KillWorld::relay_server() {
  const Answer answer = from_server_.front();
  from_server_.pop_front();
  if (answer.bytes.empty()) return session_over(true);
  if (ending_) return;
  NoEvents events;
  tracker_.on_backend(wire::bytes(answer.bytes), now_, events);
  while (!unanswered_.empty() && unanswered_.front().number <= answer.number)
    unanswered_.pop_front();
  changed_ = true;
}

void KillWorld::session_over(bool server_eof) {
  over_ = true;
  server_eof_ = server_eof;
  changed_ = true;
  if (act_ != Act::awaits_end) return;
  auto report = proxy::report(KillResult::done);
  report.step = step_;
  report.server_eof = server_eof;
  done(std::move(report));
}

void KillWorld::reset_server() {
  promise(std::none_of(unanswered_.begin(), unanswered_.end(),
                       [](const Message& message) { return message.kind == 'c'; }),
          "no COMMIT is cut off");
  ++acts_;
  server_reset_ = true;
  from_server_.clear();
  over_ = true;
}

// ---------------------------------------------------------------- the server

void KillWorld::server_step() {
  if (running_) {
    answer(false);
    // What it has read ahead it may begin with before it finds out that nobody is there.
    if (server_reset_ && (to_server_.empty() || choices_.choose(2) == 0)) server_gone_ = true;
    return;
  }
  if (server_reset_ || to_server_.empty()) {  // Terminate, or the end of what it was sent
    server_gone_ = true;
    if (!server_reset_) from_server_.push_back({});
    return;
  }
  const Message message = to_server_.front();
  to_server_.pop_front();
  taken_ = message.number;
  const bool synced = message.kind == 's' || message.kind == 'y';
  if (skipping_ && !synced) return;
  if (message.kind == 's' || (skipping_ && synced)) {
    skipping_ = false;
    from_server_.push_back({wire::ready(status_), message.number});
    return;
  }
  running_ = message;
}

void KillWorld::answer(bool cancelled) {
  const Message message = *std::exchange(running_, std::nullopt);
  const bool simple = message.kind == 'q' || message.kind == 'b' || message.kind == 'c';
  const bool failed = cancelled || (status_ == 'E' && message.kind != 'c');
  std::string bytes;
  if (failed) {
    bytes = wire::error(cancelled ? "57014" : "25P02");
    if (status_ == 'T') status_ = 'E';
    skipping_ = message.kind == 'x';
  } else {
    if (!simple) bytes = wire::message('1') + wire::message('2');
    if (message.kind == 'b') status_ = 'T';
    bytes += wire::complete(message.kind == 'b'   ? "BEGIN"
                            : message.kind != 'c' ? "SELECT 1"
                            : status_ == 'E'      ? "ROLLBACK"
                                                  : "COMMIT");
    if (message.kind == 'c') status_ = 'I';
  }
  if (message.kind != 'x') bytes += wire::ready(status_);
  if (!server_reset_) from_server_.push_back({bytes, message.number});
}

void KillWorld::server_cancelled() {
  cancel_in_flight_ = false;
  if (server_gone_ || !running_) return;  // it is at rest: nothing happens
  cancelled_something = true;
  promise(running_->kind != 'c', "no COMMIT is cancelled");
  if (server_reset_) {
    promise(running_->number >= judged_number_, "a cancel hits nothing before what was judged");
  } else {
    promise(request_of(running_->number) == request_of(judged_number_),
            "a cancel hits the judged request or nothing");
  }
  answer(true);
  if (server_reset_) server_gone_ = true;
}

/// Number of the message that ends in ReadyForQuery for it: one request. The statements within one
/// cannot be told apart from outside, as the server answers them together.
int KillWorld::request_of(int number) const {
  const auto end = story_.client.find_first_of("qbcsy", static_cast<std::size_t>(number) - 1);
  return end == std::string::npos ? 0 : static_cast<int>(end) + 1;
}

// ---------------------------------------------------------------- the verdict

bool KillWorld::judgeable() const {
  if (plan_ || over_ || tracker_.facts().degraded) return false;
  const auto state = tracker_.facts().state;
  return story_.counter == proxy::JudgedCounter::state
             ? proxy::waits_for_client(state)
             : proxy::server_may_work(state) && !unanswered_.empty() &&
                   !tracker_.facts().commit_outstanding;
}

void KillWorld::judge() {
  Verdict verdict;
  verdict.action = story_.action;
  verdict.counter = story_.counter;
  verdict.mark = tracker_.facts().mark;
  verdict.grace = 1s;
  verdict.session.mapping = Mapping::confirmed;
  verdict.session.backend = BackendId{protocol::BackendPid{4711}, ServerTime{1}};
  order_.counter = verdict.counter;
  order_.mark = verdict.mark;
  judged_number_ = unanswered_.empty() ? 0 : unanswered_.front().number;
  judged_forwarded_ = forwarded_;
  plan_.emplace(verdict, story_.monitor, now_);
}

BackendSight KillWorld::look() const {
  if (server_gone_) return BackendSight::gone;
  if (story_.counter == proxy::JudgedCounter::state)
    return taken_ == judged_forwarded_ && !running_ ? BackendSight::same : BackendSight::moved_on;
  const bool runs = running_ && running_->number == judged_number_;
  return runs || taken_ < judged_number_ ? BackendSight::same : BackendSight::moved_on;
}

void KillWorld::plan_step() {
  const auto step = plan_->next(now_);
  switch (step.kind) {
    case TerminationPlan::Kind::ask_standby:
      promise(false, "nobody waits for standbys here");
      return;
    case TerminationPlan::Kind::carry_out:
      return begin_act(step.action);
    case TerminationPlan::Kind::wait:
      now_ += step.wait;
      return;
    case TerminationPlan::Kind::look:
      return plan_->seen(look(), now_);
    case TerminationPlan::Kind::guarded_sql: {
      if (choices_.choose(2) == 1)
        return plan_->answered(TerminationPlan::SqlResult::unavailable, now_);
      if (look() != BackendSight::same)
        return plan_->answered(TerminationPlan::SqlResult::changed, now_);
      ++acts_;
      running_.reset();
      server_gone_ = true;
      return plan_->answered(TerminationPlan::SqlResult::signalled, now_);
    }
    case TerminationPlan::Kind::finish:
      outcome = step.outcome;
      acts_at_outcome_ = acts_;
      if (*outcome == Outcome::recovered || *outcome == Outcome::already_gone)
        promise(acts_ == 0, "who recovered was not touched");
      if (*outcome == Outcome::confirmed)
        promise(server_gone_ || look() == BackendSight::moved_on || taken_ >= judged_number_,
                "what is confirmed is over");
      if (*outcome == Outcome::survived) promise(acts_ > 0, "who survived was attacked");
      return;
  }
}

// ---------------------------------------------------------------- the executor, as KillExecutor

void KillWorld::begin_act(KillAction action) {
  order_.action = action;
  step_ = InBandStep::none;
  changed_ = false;
  if (over_) return done(proxy::report(KillResult::gone));
  if (auto why_not = proxy::objection(moment(), order_)) return done(std::move(*why_not));
  if (action == KillAction::terminate) return terminate_now();
  ++holds_;
  held_by_us_ = true;
  act_ = Act::awaits_moment;
  go_on();
}

void KillWorld::terminate_now() {
  step_ = proxy::first_step(KillAction::terminate, tracker_.facts().state, false, true);
  switch (step_) {
    case InBandStep::end_waiting:
      promise(from_client_.empty(), "nothing that the client said is thrown away");
      promise(to_server_.empty() && !running_, "the server is given nothing to throw away");
      if (story_.counter == proxy::JudgedCounter::state)
        promise(forwarded_ == judged_forwarded_, "the client said nothing since it was judged");
      ++acts_;
      ending_ = true;
      act_ = Act::awaits_end;
      return;
    case InBandStep::reset_then_cancel:
      reset_server();
      act_ = Act::connecting;
      return;
    default: {
      auto report = proxy::report(KillResult::failed);
      return done(std::move(report));
    }
  }
}

void KillWorld::go_on() {
  changed_ = false;
  if (act_ == Act::awaits_answer) {
    if (!over_ && tracker_.facts().outstanding > 0) return;
    auto report = proxy::report(KillResult::done);
    report.step = InBandStep::cancel;
    report.statement_ended = !over_;
    report.server_eof = server_eof_;
    return done(std::move(report));
  }
  if (over_) return done(proxy::report(KillResult::gone));
  if (auto why_not = proxy::objection(moment(), order_)) return done(std::move(*why_not));
  if (proxy::alone_outstanding(moment())) {
    act_ = Act::connecting;
  } else if (proxy::nothing_to_cancel(moment())) {
    done(proxy::report(KillResult::recovered));
  }
}

void KillWorld::cancel_connected() {
  if (order_.action == KillAction::cancel) {
    std::optional<proxy::KillReport> late;
    if (over_) {
      late = proxy::report(KillResult::gone);
    } else if (!proxy::alone_outstanding(moment())) {
      late = proxy::report(KillResult::recovered);
    } else {
      late = proxy::objection(moment(), order_);
    }
    if (late) return done(std::move(*late));
    promise(holds_ > 0 && !unanswered_.empty() &&
                request_of(unanswered_.front().number) == request_of(judged_number_) &&
                unanswered_.back().number == request_of(judged_number_),
            "a cancel goes out only while the judged request is alone outstanding");
    ++acts_;
    step_ = InBandStep::cancel;
  }
  cancel_in_flight_ = true;
  act_ = Act::cancelling;
}

void KillWorld::cancel_closed() {
  if (order_.action == KillAction::cancel) {
    act_ = Act::awaits_answer;
    go_on();
    return;
  }
  auto report = proxy::report(KillResult::done);
  report.step = step_;
  done(std::move(report));
}

void KillWorld::deadline_passed() {
  now_ += 5s;
  const bool cancels = order_.action == KillAction::cancel;
  auto report = proxy::report(KillResult::done);
  switch (act_) {
    case Act::awaits_moment:
      report.result = KillResult::failed;
      break;
    case Act::connecting:
      if (cancels) report.result = KillResult::failed;
      break;
    case Act::cancelling:
      if (cancels && over_) report.result = KillResult::failed;
      if (cancels && !over_) {
        reset_server();
        step_ = InBandStep::reset_then_cancel;
      }
      break;
    case Act::awaits_end:
      over_ = true;  // the session's own deadline resets the leg
      server_reset_ = true;
      from_server_.clear();
      break;
    default:
      break;
  }
  report.step = step_;
  done(std::move(report));
}

void KillWorld::done(proxy::KillReport report) {
  act_ = Act::none;
  if (std::exchange(held_by_us_, false)) --holds_;
  plan_->reported(report, now_);
}

}  // namespace pgleash::watchdog
