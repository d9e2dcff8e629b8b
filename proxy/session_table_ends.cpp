#include "protocol/encode.hpp"
#include "proxy/journal.hpp"
#include "proxy/session_account.hpp"
#include "proxy/session_table.hpp"

#include <boost/asio/post.hpp>

#include <utility>

// The ways in which a session of ours is ended, and what each end has in common.
namespace pgleash::proxy {

namespace {

std::string to_bytes(const ErrorNotice& notice) {
  return protocol::error_response({.sqlstate = notice.sqlstate,
                                   .message = notice.message,
                                   .detail = notice.detail,
                                   .hint = notice.hint});
}

}  // namespace

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

bool SessionTable::tell_client(Session& session, const ErrorNotice& notice, Instant now) {
  if (session.opaque) return false;  // its TLS is the server's
  // Inside a half-sent message, or behind bytes that still wait, an error would be read as data.
  if (!session.client.fd.open() || !session.client.pending.empty()) return false;
  if (!session.tracker.at_boundary(protocol::Direction::to_frontend)) return false;
  touch(session);  // it may be more than the client takes
  return relay_.inject(session, Side::client, to_bytes(notice), now);
}

Told SessionTable::end_waiting(Session& session, const ErrorNotice& notice, bool copy_in,
                               EndCause cause, Instant now, Duration notify_within) {
  touch(session);
  session.phase = SessionPhase::ending;
  session.cause = cause;
  session.server.discard = true;
  Told told = Told::no;
  if (may_tell_later(session, notify_within)) {
    tell_later(session, notice, notify_within);
    told = Told::on_next_use;
  } else {
    session.client.discard = true;
    if (tell_client(session, notice, now)) told = Told::at_once;
    relay_.shut(session, Side::client);
  }
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
  if (is_over(session.phase)) return;
  touch(session);
  const bool was_up = session.phase != SessionPhase::login;
  if (session.untold != nullptr) {
    session.phase = SessionPhase::silent;  // its client's socket still takes a place
  } else {
    session.phase = SessionPhase::lingering;
    live_.fetch_sub(1, std::memory_order_relaxed);
  }
  session.place.give_back();
  if (session.counted_login) {
    session.counted_login = false;
    --logins_;
  }
  const auto& facts = session.tracker.facts();
  if (!session.console) settle(session, now);
  if (was_up && !session.console) {
    session.counters->ends[static_cast<std::size_t>(cause)].add();
    session.counters->session_duration.observe(now - session.who->connected);
    SessionEnd end{session.id,
                   cause,
                   protocol::name(facts.state),
                   now > facts.state_since ? now - facts.state_since : Duration{},
                   now - session.who->connected,
                   facts.frontend_bytes,
                   facts.backend_bytes,
                   facts.anomalies,
                   detail};
    events_.session_closed(*session.who, end);
  }
  session.server.tls.reset();  // nobody speaks to the server any more
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
  if (settings_.journal != nullptr)
    settings_.journal->close(std::exchange(session.journal_slot, -1));
  session.client.fd.close();
  session.server.fd.close();
  const auto mine = sessions_.find(number(session.id));
  if (graveyard_.empty())
    boost::asio::post(set_.context(), [this] {
      for (const auto& grave : graveyard_) relay_.forget(*grave);
      graveyard_.clear();
    });
  graveyard_.push_back(std::move(mine->second));
  sessions_.erase(mine);
}

}  // namespace pgleash::proxy
