#include "proxy/in_band_step.hpp"
#include "proxy/journal.hpp"
#include "proxy/session_account.hpp"
#include "proxy/session_table.hpp"

#include <boost/asio/co_spawn.hpp>

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

// How a session comes to its end because one of its peers went away.
namespace pgleash::proxy {

namespace {

/// Terminate, as it stands at the end of a client's bytes.
constexpr std::string_view farewell{"X\0\0\0\4", 5};
/// Longest record that is an alert: a header, and two bytes with what any cipher adds to them.
constexpr std::size_t longest_alert = 5 + 2 + 64;

/// Whether unread bytes end in an alert, which a client that goes away in order sends behind its
/// Terminate, and one that crashed does not. TLS 1.3 hides the type: there an alert is the one
/// record that is so short.
bool ends_in_alert(std::string_view unread) {
  for (std::size_t at = unread.size() < longest_alert ? 0 : unread.size() - longest_alert;
       at + 5 < unread.size(); ++at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(unread[at + i]); };
    const std::size_t length = std::size_t{byte(3)} << 8U | byte(4);
    if (at + 5 + length != unread.size() || byte(1) != 3 || byte(2) != 3) continue;
    if (byte(0) == 21 || (byte(0) == 23 && length == 2 + 1 + 16)) return true;
  }
  return false;
}

/// Whether all that the client sent and nobody has read ends in order.
bool says_farewell(const Leg& client) {
  if (client.tls == nullptr) return unread_ends_with(client.fd.get(), farewell);
  return ends_in_alert(unread_tail(client.fd.get()));
}

/// What the log says of a login that the server refused: its code, as its text may hold anything.
std::string refusal_of(const SessionIdentity& who, const std::array<char, 5>& sqlstate) {
  constexpr std::size_t longest = 63;
  std::string text{"the server refused it with SQLSTATE "};
  text.append(sqlstate.data(), sqlstate.size());
  text.append(": user ").append(who.user, 0, longest);
  text.append(", database ").append(who.database, 0, longest);
  return text;
}

}  // namespace

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
    case SessionPhase::silent:
      if (session.untold != nullptr) end_silence(session, false, now);
      return;
    case SessionPhase::lingering:
      // It may have closed its half only, and still read what waits for it.
      if (session.client.pending.empty()) bury(session);
      return;
  }
}

void SessionTable::leg_failed(Session& session, Side side, int error, Instant now) {
  if (side == Side::server) {
    // A cause that stands already: the server itself said why, or somebody is ended.
    if (!is_over(session.phase) && session.cause == EndCause::server_close) {
      session.cause = EndCause::server_error;
      tell_of_the_loss(session, error, now);
      if (session.dead) return;  // nor was the client there any more
    }
    server_left(session, false, now);
    return;
  }
  session.client.pending.clear();
  settle(session, now);
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
    case SessionPhase::silent:
      if (session.untold != nullptr) end_silence(session, false, now);
      return;
    case SessionPhase::lingering:
      bury(session);
      return;
  }
}

/// Directly, the client's own system would tell it what became of the connection.
void SessionTable::tell_of_the_loss(Session& session, int error, Instant now) {
  if (session.console || session.client_lost || session.terminate_seen) return;
  const ErrorNotice notice{
      "08006", "pgleash lost the connection to server \"" + session.upstream->name + "\"",
      std::strerror(error),
      "Whether a statement that was under way took effect is not known: look before repeating it."};
  (void)tell_client(session, notice, now);
}

void SessionTable::client_left(Session& session, bool reset, Instant now) {
  if (session.phase == SessionPhase::login) {
    // A client that was refused may close before the server does.
    if (session.login_error[0] != '\0')
      server_refused(session);
    else
      connections(session, AcceptResult::client_gone).add();
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
  if (session.console) return leave_console(session, now);
  if (session.opaque) {
    // Whether a Terminate came before is between the two: the server is told what happened, as
    // directly. One that works for nobody runs on; no key of it is known here.
    session.cause = reset ? session.cause : EndCause::client_terminate;
    if (!reset) {
      relay_.shut(session, Side::server);
      return;
    }
    over(session, session.cause, false, "client gone", now);
    bury(session);
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

void SessionTable::client_hung_up(Session& session, Instant now) {
  // The server does not take what the client sent. A Terminate at its end means that all of it is
  // to be done; else the client gets the same grace as one whose end of file could be read.
  if (session.phase != SessionPhase::up || session.client_lost || session.terminate_seen) return;
  if (session.opaque) return;
  if (session.deadline != Instant{} || says_farewell(session.client)) return;
  watch(session, now + session.listener->client_gone_grace);
}

bool SessionTable::works_for_nobody(const Session& session) noexcept {
  const bool unread_end = session.client.hangup && !session.client.ended;
  if (!session.client_lost && !unread_end) return false;
  return server_may_work(session.tracker.facts().state) || !session.server.pending.empty();
}

void SessionTable::stop_abandoned_query(Session& session, Instant now) {
  if (session.console) return leave_console(session, now);
  const bool reset = !session.client.fd.open();
  const auto& facts = session.tracker.facts();
  const bool out_of_reach = session.who->replication ||
                            settings_.protect()->spares(*session.who, facts.superuser_at_login);
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
  if (session.cause == EndCause::server_close) session.cause = EndCause::client_abort;
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
  CancelTarget target = cancel_target(session);
  target.counters = session.counters;
  const protocol::CancelKey key = session.key;
  ServerCounters* counters = session.counters;
  const bool told = reset_server(session, notice, cause, now);
  boost::asio::co_spawn(
      set_.context(),
      cancels_.send(target, key, now + std::chrono::seconds{5}, [] { return true; }),
      [counters, origin](const std::exception_ptr& failure, CancelResult result) {
        if (failure) result = CancelResult::unreachable;
        counters->cancels[static_cast<std::size_t>(origin)][static_cast<std::size_t>(result)].add();
      });
  return told;
}

Count& SessionTable::connections(const Session& session, AcceptResult result) {
  const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
  return listeners_[listener].connections[static_cast<std::size_t>(result)];
}

void SessionTable::server_refused(const Session& session) {
  connections(session, AcceptResult::server_refused).add();
  if (session.login_error[0] != '\0')
    events_.refused(session.listener->name, session.who->client, AcceptResult::server_refused,
                    refusal_of(*session.who, session.login_error));
}

void SessionTable::server_left(Session& session, bool end_of_file, Instant now) {
  session.server.pending.clear();
  session.server.fd.close();
  if (end_of_file && settings_.journal != nullptr)
    settings_.journal->free(std::exchange(session.journal_slot, -1));
  if (is_over(session.phase)) return;
  if (session.phase == SessionPhase::login) {
    server_refused(session);
  }
  if (session.terminate_seen && session.phase == SessionPhase::up)
    session.cause = EndCause::client_terminate;
  over(session, session.cause, end_of_file, {}, now);
  if (session.phase == SessionPhase::silent) {
    keep_silent(session, now);
  } else {
    linger_client(session, now);
  }
}

}  // namespace pgleash::proxy
