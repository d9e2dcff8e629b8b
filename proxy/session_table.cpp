#include "proxy/session_table.hpp"

#include "protocol/encode.hpp"
#include "proxy/cancel_error.hpp"
#include "proxy/clock.hpp"
#include "proxy/in_band_step.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <cstring>

namespace pgleash::proxy {

using protocol::SessionState;

namespace {

constexpr unsigned worker_shift = 48;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

std::size_t index(EndCause cause) {
  return static_cast<std::size_t>(cause);
}

std::size_t sqlstate_class(std::string_view sqlstate) {
  const auto known =
      std::find(sqlstate_classes.begin(), sqlstate_classes.end(), sqlstate.substr(0, 2));
  return std::min(static_cast<std::size_t>(known - sqlstate_classes.begin()),
                  sqlstate_classes.size() - 1);
}

std::string to_bytes(const ErrorNotice& notice) {
  return protocol::error_response({.sqlstate = notice.sqlstate,
                                   .message = notice.message,
                                   .detail = notice.detail,
                                   .hint = notice.hint});
}

}  // namespace

/// What a session's tracker reports beside its state, kept in the session.
class SessionTable::Events final : public protocol::TrackerEvents {
 public:
  Events(SessionTable& table, Session& session) : table_(table), session_(session) {}

  void backend_key(protocol::BackendPid pid, protocol::Bytes secret) override {
    session_.key = protocol::CancelKey{pid, secret};
    auto who = std::make_shared<SessionIdentity>(*session_.who);
    who->pid = pid;
    who->cancel_key = session_.key.present();
    session_.who = std::move(who);
  }

  void parameter_status(std::string_view parameter, std::string_view value) override {
    if (parameter != "application_name" || value == session_.who->application_name) return;
    auto who = std::make_shared<SessionIdentity>(*session_.who);
    who->application_name = value;
    // A later SET changes what is shown, not what rules and metrics call the session.
    if (session_.phase == SessionPhase::login)
      who->application = table_.settings_.names()->resolve(value, session_.listener->application,
                                                           who->user, who->database);
    session_.who = std::move(who);
  }

  void server_error(std::string_view /*severity*/, std::string_view sqlstate) override {
    session_.counters->server_errors[sqlstate_class(sqlstate)].add();
  }

  void negotiated_minor(std::int32_t /*newest_minor*/) override {}

 private:
  SessionTable& table_;
  Session& session_;
};

SessionTable::SessionTable(boost::asio::io_context& context, std::uint16_t worker,
                           const ProxySettings& settings, CancelSender& cancels,
                           ProxyEvents& events, std::vector<ServerCounters>& servers,
                           std::vector<ListenerCounters>& listeners,
                           std::atomic<std::uint32_t>& live, std::function<void()> deadline_set,
                           LoopShare& share)
    : context_(context),
      settings_(settings),
      cancels_(cancels),
      events_(events),
      servers_(servers),
      listeners_(listeners),
      live_(live),
      deadline_set_(std::move(deadline_set)),
      share_(share),
      texts_(protocol::StatementTexts::default_bytes, settings.marker),
      relay_(context, *this, share),
      next_id_(static_cast<std::uint64_t>(worker) << worker_shift) {}

SessionTable::~SessionTable() = default;

// ---------------------------------------------------------------- coming

bool SessionTable::adopt(NewSession fresh, Instant now) {
  const auto id = SessionId{++next_id_};
  auto owned = std::make_unique<Session>(id, texts_, now);
  Session& session = *owned;
  session.client.fd = std::move(fresh.client);
  session.server.fd = std::move(fresh.server);
  session.listener = &settings_.listeners[fresh.listener];
  session.upstream = &settings_.servers[settings_.server_of[fresh.listener]];
  session.counters = &servers_[settings_.server_of[fresh.listener]];
  session.who = std::make_shared<const SessionIdentity>(std::move(fresh.who));
  sessions_.emplace(number(id), std::move(owned));
  live_.fetch_add(1, std::memory_order_relaxed);
  ++logins_;
  session.counted_login = true;
  if (!relay_.adopt(session)) {
    over(session, EndCause::proxy_error, false, std::strerror(errno), now);
    bury(session);
    return false;
  }
  watch(session, session.who->connected + session.listener->login_timeout);
  return true;
}

void SessionTable::session_up(Session& session) {
  session.phase = SessionPhase::up;
  session.deadline = {};
  session.counted_login = false;
  --logins_;
  const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
  listeners_[listener].connections[static_cast<std::size_t>(AcceptResult::accepted)].add();
  events_.session_opened(session.id, *session.who);
}

// ---------------------------------------------------------------- every byte

protocol::Bytes SessionTable::observe(Session& session, Side from, protocol::Bytes bytes,
                                      Instant now) {
  if (session.phase == SessionPhase::ending || session.phase == SessionPhase::lingering) return {};
  return from == Side::client ? observe_client(session, bytes, now)
                              : observe_server(session, bytes, now);
}

protocol::Bytes SessionTable::observe_client(Session& session, protocol::Bytes bytes, Instant now) {
  Events events{*this, session};
  session.counters->bytes_to_backend.add(bytes.size());
  const protocol::Changes changes = session.tracker.on_frontend(bytes, now, events);
  if (changes.terminate) session.terminate_seen = true;
  if (changes.unframeable) {
    const ErrorNotice notice{
        "08P01", "invalid message length from client",
        "pgleash ends a session whose messages cannot be told apart, as PostgreSQL does", ""};
    (void)tell_client(session, notice, now);
    over(session, EndCause::client_abort, false, "invalid message length", now);
    session.server.fd.close();
    linger_client(session, now);
    return {};
  }
  if (changes.state && session.waiter != nullptr) session.waiter->state_changed();
  return bytes;
}

protocol::Bytes SessionTable::observe_server(Session& session, protocol::Bytes bytes, Instant now) {
  Events events{*this, session};
  const protocol::SessionFacts& facts = session.tracker.facts();
  const auto before_outstanding = facts.outstanding;
  const auto before_request = facts.request_since;
  const auto before_transaction = facts.transaction;
  const auto before_since = facts.transaction_since;
  const auto before_anomalies = facts.anomalies;
  const auto under_way = session.tracker.message_left(protocol::Direction::to_frontend);

  session.counters->bytes_to_frontend.add(bytes.size());
  const protocol::Changes changes = session.tracker.on_backend(bytes, now, events);
  if (changes.unchallenged_login && session.phase == SessionPhase::login) {
    const config::RequireChallenge policy = session.listener->require_challenge;
    if (policy == config::RequireChallenge::always ||
        (policy == config::RequireChallenge::remote && !session.who->client_is_local)) {
      refuse_login(
          session, AcceptResult::no_challenge,
          {"28000",
           "login refused: the server accepted it without asking for a password or other proof",
           "pg_hba.conf sees the address of pgleash, not of the client: a trust, peer or ident "
           "line there "
           "would let anybody in",
           "give the server's pg_hba.conf a line with scram-sha-256 for pgleash's address, or set "
           "require_challenge on the listener"},
          now);
      return {};
    }
  }
  if (changes.session_up) session_up(session);
  if (before_outstanding > facts.outstanding)
    session.counters->statement_duration.observe(seconds(now - before_request));
  if (before_transaction != protocol::TransactionStatus::idle &&
      facts.transaction == protocol::TransactionStatus::idle)
    session.counters->transaction_duration.observe(seconds(now - before_since));
  if (facts.anomalies != before_anomalies)
    session.counters->anomalies.add(facts.anomalies - before_anomalies);
  if (changes.fatal) session.cause = EndCause::server_error;
  // A pipeline stays busy from one request to the next: who waits for the last one is told of each.
  const bool moved = changes.state || facts.outstanding != before_outstanding;
  if (moved && session.waiter != nullptr) session.waiter->state_changed();
  if (session.cancel_error != nullptr && under_way &&
      replace_cancel_error(bytes, *under_way, *session.cancel_error, rewritten_)) {
    session.cancel_error.reset();
    return std::as_bytes(std::span{rewritten_});
  }
  return bytes;
}

void SessionTable::refuse_login(Session& session, AcceptResult result, const ErrorNotice& notice,
                                Instant now) {
  const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
  listeners_[listener].connections[static_cast<std::size_t>(result)].add();
  events_.refused(session.listener->name, session.who->client, result, notice.message);
  (void)tell_client(session, notice, now);
  over(session, EndCause::proxy_error, false, name(result), now);
  session.server.fd.close();
  linger_client(session, now);
}

void SessionTable::flushed(Session& session, Side side, Instant now) {
  if (side == Side::client) {
    if (session.phase == SessionPhase::lingering) {
      relay_.shut(session, Side::client);
      if (session.client.ended) {
        bury(session);
      } else {
        watch(session, now + linger);
      }
    }
    return;
  }
  // A client that half-closed while its last bytes waited: the server learns of it behind them.
  if (session.client.ended && !session.terminate_seen) relay_.shut(session, Side::server);
}

// ---------------------------------------------------------------- the client leaves

void SessionTable::leg_ended(Session& session, Side side, Instant now) {
  if (side == Side::server) {
    server_left(session, true, now);
    return;
  }
  switch (session.phase) {
    case SessionPhase::login:
    case SessionPhase::up:
      client_left(session, false, now);
      return;
    case SessionPhase::ending:
      return;
    case SessionPhase::lingering:
      // It may have closed its half only, and still read what waits for it.
      if (session.client.pending.empty()) bury(session);
      return;
  }
}

void SessionTable::leg_failed(Session& session, Side side, int error, Instant now) {
  if (side == Side::server) {
    if (session.phase != SessionPhase::lingering && session.cause == EndCause::server_close)
      session.cause = EndCause::server_error;
    server_left(session, false, now);
    return;
  }
  session.client.pending.clear();
  session.stalled_since = {};
  session.client.ended = true;
  session.client.fd.close();
  switch (session.phase) {
    case SessionPhase::login:
    case SessionPhase::up:
      session.cause = error == ETIMEDOUT ? EndCause::client_timeout : EndCause::client_abort;
      client_left(session, true, now);
      return;
    case SessionPhase::ending:
      return;
    case SessionPhase::lingering:
      bury(session);
      return;
  }
}

void SessionTable::client_left(Session& session, bool reset, Instant now) {
  if (session.phase == SessionPhase::login) {
    const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
    listeners_[listener].connections[static_cast<std::size_t>(AcceptResult::client_gone)].add();
    over(session, EndCause::client_abort, false, "during login", now);
    bury(session);
    return;
  }
  if (session.terminate_seen) {
    // Terminate behind work finishes, as it does directly: read the server to its end, whoever
    // listens.
    session.cause = EndCause::client_terminate;
    session.server.discard = reset;
    if (reset) relay_.kick(session, Side::server, now);
    return;
  }
  session.client_lost = true;
  if (session.cause == EndCause::server_close) session.cause = EndCause::client_abort;
  if (!reset) relay_.shut(session, Side::server);
  const bool works = server_may_work(session.tracker.facts().state);
  if (!works) {
    // The server reads: it sees the end by itself. After a reset there is nobody to hand its answer
    // to.
    if (reset) {
      over(session, session.cause, false, "client gone", now);
      bury(session);
    }
    return;
  }
  if (reset) {
    stop_abandoned_query(session, now);
  } else {
    watch(session, now + session.listener->client_gone_grace);
  }
}

void SessionTable::stop_abandoned_query(Session& session, Instant now) {
  const bool reset = !session.client.fd.open();
  const auto& facts = session.tracker.facts();
  const bool out_of_reach =
      session.who->replication || (settings_.spare_superusers && facts.superuser_at_login);
  if (session.listener->on_client_gone == config::OnClientGone::finish || out_of_reach ||
      facts.commit_outstanding) {
    // Nobody may take back a COMMIT half way. It finishes, its answer goes nowhere, and the server
    // finds nobody behind it.
    session.server.discard = reset;
    relay_.shut(session, Side::server);
    if (reset) {
      relay_.kick(session, Side::server, now);
    } else {
      watch(session, now + session.listener->client_gone_grace);
    }
    return;
  }
  const bool act = settings_.mode == config::Mode::enforce;
  events_.client_gone(session.id, *session.who, act);
  const auto origin = static_cast<std::size_t>(CancelOrigin::client_gone);
  if (!act) {
    session.counters->cancels[origin][static_cast<std::size_t>(CancelResult::observed)].add();
    session.deadline = {};
    if (reset) {
      over(session, session.cause, false, "client gone", now);
      bury(session);
    }
    return;
  }
  (void)reset_and_cancel(session, nullptr, session.cause, CancelOrigin::client_gone, now);
}

bool SessionTable::reset_and_cancel(Session& session, const ErrorNotice* notice, EndCause cause,
                                    CancelOrigin origin, Instant now) {
  const CancelTarget target = cancel_target(session.server.fd.get());
  const protocol::CancelKey key = session.key;
  ServerCounters* counters = session.counters;
  const bool told = reset_server(session, notice, cause, now);
  share_.ask();
  boost::asio::co_spawn(
      context_, cancels_.send(target, key, now + std::chrono::seconds{5}, [] { return true; }),
      [counters, origin](const std::exception_ptr& failure, CancelResult result) {
        if (failure) result = CancelResult::unreachable;
        counters->cancels[static_cast<std::size_t>(origin)][static_cast<std::size_t>(result)].add();
      });
  return told;
}

// ---------------------------------------------------------------- the server leaves

void SessionTable::server_left(Session& session, bool end_of_file, Instant now) {
  session.server.pending.clear();
  session.server.fd.close();
  if (session.phase == SessionPhase::lingering) return;
  if (session.phase == SessionPhase::login) {
    const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
    listeners_[listener].connections[static_cast<std::size_t>(AcceptResult::server_refused)].add();
  }
  if (session.terminate_seen && session.phase == SessionPhase::up)
    session.cause = EndCause::client_terminate;
  over(session, session.cause, end_of_file, {}, now);
  linger_client(session, now);
}

// ---------------------------------------------------------------- ends

bool SessionTable::tell_client(Session& session, const ErrorNotice& notice, Instant now) {
  // Inside a half-sent message, or behind bytes that still wait, an error would be read as data.
  if (!session.client.fd.open() || !session.client.pending.empty()) return false;
  if (!session.tracker.at_boundary(protocol::Direction::to_frontend)) return false;
  return relay_.inject(session, Side::client, to_bytes(notice), now);
}

bool SessionTable::end_waiting(Session& session, const ErrorNotice& notice, bool copy_in,
                               EndCause cause, Instant now) {
  session.phase = SessionPhase::ending;
  session.cause = cause;
  session.client.discard = true;
  session.server.discard = true;
  const bool told = tell_client(session, notice, now);
  relay_.shut(session, Side::client);
  std::string farewell = copy_in ? protocol::copy_fail(notice.message) : std::string{};
  farewell += protocol::terminate();
  if (!session.dead && session.server.fd.open()) {
    if (!relay_.inject(session, Side::server, farewell, now) && session.server.fd.open()) {
      close_with_reset(session.server.fd);
      server_left(session, false, now);
      return told;
    }
    watch(session, now + terminate_wait);
  }
  return told;
}

bool SessionTable::reset_server(Session& session, const ErrorNotice* notice, EndCause cause,
                                Instant now) {
  session.cause = cause;
  const bool told = notice != nullptr && tell_client(session, *notice, now);
  if (session.dead) return told;
  close_with_reset(session.server.fd);
  session.server.pending.clear();
  over(session, cause, false, {}, now);
  linger_client(session, now);
  return told;
}

void SessionTable::over(Session& session, EndCause cause, bool server_eof, std::string_view detail,
                        Instant now) {
  if (session.phase == SessionPhase::lingering) return;
  const bool was_up = session.phase != SessionPhase::login;
  session.phase = SessionPhase::lingering;
  live_.fetch_sub(1, std::memory_order_relaxed);
  if (session.counted_login) {
    session.counted_login = false;
    --logins_;
  }
  const auto& facts = session.tracker.facts();
  if (was_up) {
    session.counters->ends[index(cause)].add();
    session.counters->session_duration.observe(seconds(now - session.who->connected));
    SessionEnd end{session.id,
                   cause,
                   protocol::name(facts.state),
                   now - session.who->connected,
                   facts.frontend_bytes,
                   facts.backend_bytes,
                   facts.anomalies,
                   detail};
    events_.session_closed(*session.who, end);
  }
  if (SessionWaiter* waiter = std::exchange(session.waiter, nullptr))
    waiter->session_over(server_eof);
}

void SessionTable::linger_client(Session& session, Instant now) {
  if (session.dead) return;
  session.client.discard = true;
  if (!session.client.fd.open() || (session.client.ended && session.client.pending.empty())) {
    bury(session);
    return;
  }
  relay_.shut(session, Side::client);
  // What still waits for a slow reader is the end of a result: it gets as long as TCP itself would
  // give it.
  watch(session, now + (session.client.pending.empty()
                            ? linger
                            : Duration{session.listener->keepalive.user_timeout}));
  // The client may already have closed, or hold bytes that were never read: closing over them would
  // reset the connection and take the last message away from it.
  relay_.kick(session, Side::client, now);
}

void SessionTable::bury(Session& session) {
  if (session.dead) return;
  session.dead = true;
  session.client.fd.close();
  session.server.fd.close();
  const auto mine = sessions_.find(number(session.id));
  if (graveyard_.empty())
    boost::asio::post(context_, [this] {
      for (const auto& grave : graveyard_) relay_.forget(*grave);
      graveyard_.clear();
    });
  graveyard_.push_back(std::move(mine->second));
  sessions_.erase(mine);
}

// ---------------------------------------------------------------- deadlines and drain

void SessionTable::watch(Session& session, Instant deadline) {
  const bool known = session.deadline != Instant{};
  session.deadline = deadline;
  if (!known) watched_.push_back(session.id);
  deadline_set_();
}

bool SessionTable::tick(Instant now) {
  const std::vector<SessionId> watched = std::exchange(watched_, {});
  for (const SessionId id : watched) {
    Session* session = find(id);
    if (session == nullptr || session->deadline == Instant{}) continue;
    if (now < session->deadline) {
      watched_.push_back(id);
      continue;
    }
    session->deadline = {};
    (void)on_deadline(*session, now);
  }
  if (drain_deadline_) {
    std::vector<Session*> all;
    for (const auto& [key, session] : sessions_)
      if (session->phase == SessionPhase::up || session->phase == SessionPhase::login)
        all.push_back(session.get());
    for (Session* session : all) end_for_drain(*session, now);
  }
  return !watched_.empty() || (drain_deadline_ && !sessions_.empty());
}

bool SessionTable::on_deadline(Session& session, Instant now) {
  switch (session.phase) {
    case SessionPhase::login:
      refuse_login(session, AcceptResult::login_timeout,
                   {"08006", "canceling authentication due to timeout",
                    "the login did not finish within the listener's login_timeout", ""},
                   now);
      return true;
    case SessionPhase::up:
      if (session.client_lost && server_may_work(session.tracker.facts().state))
        stop_abandoned_query(session, now);
      return true;
    case SessionPhase::ending:
      close_with_reset(session.server.fd);
      server_left(session, false, now);
      return true;
    case SessionPhase::lingering:
      bury(session);
      return true;
  }
  return false;
}

void SessionTable::drain(Instant deadline, Instant now) {
  drain_deadline_ = deadline;
  (void)tick(now);
}

void SessionTable::end_for_drain(Session& session, Instant now) {
  const auto& facts = session.tracker.facts();
  const bool idle = facts.state == SessionState::idle && !facts.half_message &&
                    unread_bytes(session.client.fd.get()) == 0;
  const bool late = now >= *drain_deadline_;
  if (!idle && !late) return;
  if (session.phase == SessionPhase::login) {
    refuse_login(session, AcceptResult::draining,
                 {"57P03", "pgleash is shutting down", "", "connect again"}, now);
    return;
  }
  const ErrorNotice notice{"57P01", "terminating connection due to administrator command",
                           "pgleash is shutting down", "connect again"};
  const bool whole = session.server.pending.empty() &&
                     session.tracker.at_boundary(protocol::Direction::to_backend);
  switch (first_step(KillAction::terminate, facts.state, !session.client.pending.empty(), whole)) {
    case InBandStep::end_waiting:
      (void)end_waiting(session, notice, false, EndCause::drain, now);
      return;
    case InBandStep::end_copy_in:
      (void)end_waiting(session, notice, true, EndCause::drain, now);
      return;
    case InBandStep::reset_then_cancel:
      // A COMMIT that is under way is left to finish: its answer is lost, as in any shutdown.
      if (facts.commit_outstanding) {
        (void)reset_server(session, &notice, EndCause::drain, now);
      } else {
        (void)reset_and_cancel(session, &notice, EndCause::drain, CancelOrigin::drain, now);
      }
      return;
    default:
      (void)reset_server(session, &notice, EndCause::drain, now);
      return;
  }
}

// ---------------------------------------------------------------- looking in

Session* SessionTable::find(SessionId id) noexcept {
  const auto found = sessions_.find(number(id));
  return found == sessions_.end() ? nullptr : found->second.get();
}

Session* SessionTable::find(const protocol::CancelKey& key) noexcept {
  for (const auto& [id, session] : sessions_)
    if (session->phase == SessionPhase::up && session->key.matches(key)) return session.get();
  return nullptr;
}

std::vector<SessionView> SessionTable::views(std::string_view server) const {
  std::vector<SessionView> result;
  result.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) {
    if (session->phase == SessionPhase::lingering || session->who->server != server) continue;
    result.push_back({session->id, session->who, session->tracker.facts(), session->stalled_since,
                      session->phase == SessionPhase::ending || session->waiter != nullptr});
  }
  return result;
}

std::optional<StatementEvidence> SessionTable::evidence(SessionId id) const {
  const auto found = sessions_.find(number(id));
  if (found == sessions_.end()) return std::nullopt;
  const auto& last = found->second->tracker.last_statement();
  const auto& first = found->second->tracker.first_of_transaction();
  return StatementEvidence{std::string{last.text()}, std::string{first.text()}, last.truncated(),
                           first.truncated()};
}

}  // namespace pgleash::proxy
