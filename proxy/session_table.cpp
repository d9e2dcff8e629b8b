#include "proxy/session_table.hpp"

#include "proxy/application_name.hpp"
#include "proxy/cancel_error.hpp"
#include "proxy/journal.hpp"
#include "proxy/session_account.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace pgleash::proxy {

namespace {

constexpr unsigned worker_shift = 48;

unsigned worker_of(SessionId id) {
  return static_cast<unsigned>(number(id) >> worker_shift);
}

std::size_t sqlstate_class(std::string_view sqlstate) {
  const auto known =
      std::find(sqlstate_classes.begin(), sqlstate_classes.end(), sqlstate.substr(0, 2));
  return std::min(static_cast<std::size_t>(known - sqlstate_classes.begin()),
                  sqlstate_classes.size() - 1);
}

}  // namespace

/// What a session's tracker reports beside its state, kept in the session.
class SessionTable::Events final : public protocol::TrackerEvents {
 public:
  Events(SessionTable& table, Session& session, Instant now)
      : table_(table), session_(session), now_(now) {}

  void backend_key(protocol::BackendPid pid, protocol::Bytes secret) override {
    session_.key = protocol::CancelKey{pid, secret};
    auto who = std::make_shared<SessionIdentity>(*session_.who);
    who->pid = pid;
    who->cancel_key = session_.key.present();
    if (!session_.console && table_.settings_.journal != nullptr && session_.journal_slot < 0)
      session_.journal_slot =
          table_.settings_.journal->begin(worker_of(session_.id), session_.id, *who, pid);
    who->journal_slot = session_.journal_slot;
    session_.who = std::move(who);
  }

  void parameter_status(std::string_view parameter, std::string_view value) override {
    if (parameter != "application_name" || value == session_.who->application_name) return;
    auto who = std::make_shared<SessionIdentity>(*session_.who);
    const auto names = table_.settings_.names();
    // A driver may give the name that it was told to by a SET behind the login, as JDBC does.
    const bool nameless = !names->is_name(who->application_name);
    who->application_name = value;
    // A later SET changes what is shown, and what rules and metrics call the session if so wished.
    // The name that we lengthened stands for the one that the client gave.
    const bool ours = !who->name_sent.empty() && value == who->name_sent;
    const bool login = session_.phase == SessionPhase::login;
    if (!(login && ours) && (login || nameless || who->pooler || names->follow_set())) {
      if (ours)
        value = name_without_suffix(value, who->client, session_.upstream->application_name_suffix);
      who->application = names->resolve(
          {value, session_.listener->application, who->client.address, who->user, who->database});
    }
    session_.who = std::move(who);
    if (session_.account != nullptr && session_.account->name != session_.who->application)
      charge(session_, session_.counters->applications.of(session_.who->application), now_);
  }

  void server_error(std::string_view /*severity*/, std::string_view sqlstate) override {
    if (session_.console && session_.phase != SessionPhase::login) return;  // ours
    if (session_.phase == SessionPhase::login && sqlstate.size() == session_.login_error.size())
      std::ranges::copy(sqlstate, session_.login_error.begin());
    session_.counters->server_errors[sqlstate_class(sqlstate)].add();
  }

  void negotiated_minor(std::int32_t /*newest_minor*/) override {}

 private:
  SessionTable& table_;
  Session& session_;
  Instant now_;
};

namespace {

std::unique_ptr<SendBatch> batch_for(config::Engine engine, ProxyEvents& events) {
  if (engine == config::Engine::epoll) return nullptr;
  std::string why;
  auto batch = SendBatch::create(why);
  if (batch == nullptr) events.engine_fallback(why);
  return batch;
}

}  // namespace

SessionTable::SessionTable(EventSet& set, std::uint16_t worker, const ProxySettings& settings,
                           CancelSender& cancels, ProxyEvents& events,
                           std::vector<ServerCounters>& servers,
                           std::vector<ListenerCounters>& listeners,
                           std::atomic<std::uint32_t>& live, std::function<void()> deadline_set,
                           LoopShare& share)
    : set_(set),
      settings_(settings),
      cancels_(cancels),
      events_(events),
      servers_(servers),
      listeners_(listeners),
      live_(live),
      deadline_set_(std::move(deadline_set)),
      share_(share),
      texts_(protocol::StatementTexts::default_bytes, settings.marker),
      relay_(set, *this, share, batch_for(settings.process.engine, events)),
      changed_(settings.servers.size()),
      next_id_(static_cast<std::uint64_t>(worker) << worker_shift) {}

SessionTable::~SessionTable() = default;

// ---------------------------------------------------------------- coming

bool SessionTable::adopt(NewSession fresh, Instant now) {
  const auto id = SessionId{++next_id_};
  auto owned = std::make_unique<Session>(id, texts_, now);
  Session& session = *owned;
  session.client.fd = std::move(fresh.client);
  session.server.fd = std::move(fresh.server);
  session.client.tls = std::move(fresh.client_tls);
  session.server.tls = std::move(fresh.server_tls);
  session.login_edit = std::move(fresh.login_edit);
  session.server_tls = std::move(fresh.server_context);
  session.listener = &settings_.listeners[fresh.listener];
  session.upstream = &settings_.servers[settings_.server_of[fresh.listener]];
  session.counters = &servers_[settings_.server_of[fresh.listener]];
  session.console = fresh.console;
  session.opaque = fresh.who.opaque;
  session.who = std::make_shared<const SessionIdentity>(std::move(fresh.who));
  session.place = std::move(fresh.place);
  count_for_quotas(session);  // the first quota may have come since the client asked
  sessions_.emplace(number(id), std::move(owned));
  make_room_for_changes(session);
  touch(session);
  live_.fetch_add(1, std::memory_order_relaxed);
  ++logins_;
  session.counted_login = true;
  if (!relay_.adopt(session)) {
    over(session, EndCause::proxy_error, false, std::strerror(errno), now);
    bury(session);
    return false;
  }
  if (session.opaque) {
    session_up(session, now);  // the end of its login is the server's to see
    return true;
  }
  watch(session, session.who->connected + session.listener->login_timeout);
  if (!fresh.said_to_client.empty()) {
    Events before{*this, session, now};
    (void)session.tracker.on_backend(std::as_bytes(std::span{fresh.said_to_client}), now, before);
    (void)session.tracker.on_frontend(std::as_bytes(std::span{fresh.said_by_client}), now, before);
  }
  if (!fresh.heard.empty()) {
    const protocol::Bytes onward =
        observe(session, Side::server, std::as_bytes(std::span{fresh.heard}), now);
    if (!session.dead && !onward.empty())
      (void)relay_.inject(session, Side::client,
                          {reinterpret_cast<const char*>(onward.data()), onward.size()}, now);
  }
  // What a handshake read too much of makes no edge.
  for (const Side side : {Side::server, Side::client})
    if (!session.dead && session.leg(side).tls != nullptr && session.leg(side).tls->buffered())
      relay_.kick(session, side, now);
  return true;
}

void SessionTable::count_for_quotas() {
  for (const auto& [id, session] : sessions_)
    if (!is_over(session->phase)) count_for_quotas(*session);
}

/// Nobody is refused: who is in is in. The console is no session of an application.
void SessionTable::count_for_quotas(Session& session) {
  if (session.console || session.place.taken() || !settings_.quotas.active()) return;
  session.place = settings_.quotas.count(*session.who);
}

void SessionTable::session_up(Session& session, Instant now) {
  session.phase = SessionPhase::up;
  session.deadline = {};
  session.counted_login = false;
  --logins_;
  const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
  listeners_[listener].connections[static_cast<std::size_t>(AcceptResult::accepted)].add();
  // Not before: who may not log in must not fill the table with names.
  charge(session, session.counters->applications.of(session.who->application), now);
  events_.session_opened(session.id, *session.who);
}

// ---------------------------------------------------------------- every byte

protocol::Bytes SessionTable::observe(Session& session, Side from, protocol::Bytes bytes,
                                      Instant now) {
  touch(session);
  if (session.phase == SessionPhase::ending || is_over(session.phase)) {
    if (session.untold != nullptr && from == Side::client) heard_of_untold(session, bytes, now);
    return {};
  }
  if (session.opaque) return observe_opaque(session, from, bytes, now);
  if (session.console && session.phase == SessionPhase::up)
    return observe_console(session, from, bytes, now);
  if (idles_in_transaction(session)) settle(session, now);
  return from == Side::client ? observe_client(session, bytes, now)
                              : observe_server(session, bytes, now);
}

protocol::Bytes SessionTable::observe_opaque(Session& session, Side from, protocol::Bytes bytes,
                                             Instant now) {
  const bool up = from == Side::client;
  (up ? session.counters->bytes_to_backend : session.counters->bytes_to_frontend).add(bytes.size());
  session.tracker.on_opaque(up ? protocol::Direction::to_backend : protocol::Direction::to_frontend,
                            bytes.size(), now);
  return bytes;
}

protocol::Bytes SessionTable::observe_client(Session& session, protocol::Bytes bytes, Instant now) {
  Events events{*this, session, now};
  session.counters->bytes_to_backend.add(bytes.size());
  const protocol::Changes changes = session.tracker.on_frontend(bytes, now, events);
  if (changes.terminate) session.terminate_seen = true;
  if (changes.unframeable) {
    refuse_unframeable(session, now);
    return {};
  }
  if (session.console && !may_enter_console(session, changes, now)) return {};
  if (changes.state && session.waiter != nullptr) session.waiter->state_changed();
  return bytes;
}

protocol::Bytes SessionTable::observe_console(Session& session, Side from, protocol::Bytes bytes,
                                              Instant now) {
  Events events{*this, session, now};
  if (from == Side::server) {
    (void)session.tracker.on_backend(bytes, now, events);
    return bytes;
  }
  const protocol::Changes changes = session.tracker.on_frontend(bytes, now, events);
  if (changes.terminate) session.terminate_seen = true;
  if (!changes.unframeable) return bytes;
  refuse_unframeable(session, now);
  return {};
}

void SessionTable::refuse_unframeable(Session& session, Instant now) {
  const ErrorNotice notice{
      "08P01", "invalid message length from client",
      "pgleash ends a session whose messages cannot be told apart, as PostgreSQL does", ""};
  (void)tell_client(session, notice, now);
  over(session, EndCause::client_abort, false, "invalid message length", now);
  session.server.fd.close();
  linger_client(session, now);
}

protocol::Bytes SessionTable::observe_server(Session& session, protocol::Bytes bytes, Instant now) {
  Events events{*this, session, now};
  const protocol::SessionFacts& facts = session.tracker.facts();
  const auto before_outstanding = facts.outstanding;
  const auto before_request = facts.request_since;
  const auto before_transaction = facts.transaction;
  const auto before_since = facts.transaction_since;
  const auto before_anomalies = facts.anomalies;
  const auto under_way = session.cancel_words != nullptr
                             ? session.tracker.message_left(protocol::Direction::to_frontend, bytes)
                             : std::nullopt;

  session.counters->bytes_to_frontend.add(bytes.size());
  const protocol::Changes changes = session.tracker.on_backend(bytes, now, events);
  if (session.console && !may_enter_console(session, changes, now)) return {};
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
  if (changes.session_up && !session.console) session_up(session, now);
  if (session.login_edit != nullptr) {
    session.login_edit->feed(bytes, changes.session_up, rewritten_);
    if (changes.session_up) session.login_edit.reset();
    bytes = std::as_bytes(std::span{rewritten_});
  }
  if (changes.session_up && session.console) return enter_console(session, bytes, now);
  if (before_outstanding > facts.outstanding)
    session.counters->statement_duration.observe(now - before_request);
  if (before_transaction != protocol::TransactionStatus::idle &&
      facts.transaction == protocol::TransactionStatus::idle)
    session.counters->transaction_duration.observe(now - before_since);
  if (facts.anomalies != before_anomalies)
    session.counters->anomalies.add(facts.anomalies - before_anomalies);
  if (changes.fatal) session.cause = EndCause::server_error;
  // A pipeline stays busy from one request to the next: who waits for the last one is told of each.
  const bool moved = changes.state || facts.outstanding != before_outstanding;
  if (moved && session.waiter != nullptr) session.waiter->state_changed();
  if (session.cancel_words != nullptr) {
    bytes = session.cancel_words->feed(bytes, under_way, rewritten_);
    if (session.cancel_words->done()) session.cancel_words.reset();
  }
  return bytes;
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

}  // namespace pgleash::proxy
