#include "protocol/encode.hpp"
#include "proxy/console_door.hpp"
#include "proxy/session_table.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <utility>

// Logins that are meant for pgleash itself: the server authenticates the user, the console takes
// over. The client's leg stays with the relay, encryption, deadlines and drain included; in the
// place of the server's leg comes one end of a socket pair, whose other end the console has.
namespace pgleash::proxy {

namespace {

constexpr std::size_t ready_size = 6;  ///< of ReadyForQuery

/// The server says nothing behind its first ReadyForQuery: unless the message came in two chunks,
/// it is the end of this one.
bool ends_with_ready(protocol::Bytes bytes) noexcept {
  if (bytes.size() < ready_size) return false;
  constexpr char head[] = {'Z', 0, 0, 0, 5};
  return std::memcmp(bytes.data() + bytes.size() - ready_size, head, sizeof head) == 0;
}

}  // namespace

bool SessionTable::may_enter_console(Session& session, protocol::Changes changes, Instant now) {
  const auto& facts = session.tracker.facts();
  if (changes.unchallenged_login || (changes.session_up && !facts.challenged)) {
    refuse_login(
        session, AcceptResult::no_challenge,
        {"28000",
         "console login refused: the server accepted it without asking for a password or other "
         "proof",
         "a trust, peer or ident line of pg_hba.conf applies to this user and database, and would "
         "make anybody an operator of pgleash",
         "give pg_hba.conf a line with scram-sha-256 for the console's users, database \"" +
             session.upstream->monitor.database +
             "\" and pgleash's address, above the other lines"},
        now);
    return false;
  }
  // A client may send its first statement behind its password. The server must not get it: it is
  // meant for us.
  if (facts.outstanding > 0 || facts.segment_open) {
    refuse_login(session, AcceptResult::protocol_error,
                 {"08P01", "the console takes no statement before the login is over", "",
                  "wait for ReadyForQuery"},
                 now);
    return false;
  }
  return true;
}

protocol::Bytes SessionTable::enter_console(Session& session, protocol::Bytes bytes, Instant now) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    refuse_login(session, AcceptResult::session_limit,
                 {"53300", "no descriptors are left for a console session", std::strerror(errno),
                  "raise the limit on open files"},
                 now);
    return {};
  }
  Fd ours{ends[0]};
  Fd theirs{ends[1]};
  // The server has done its part: it is left as a client leaves it.
  (void)relay_.inject(session, Side::server, protocol::terminate(), now);
  if (session.dead || is_over(session.phase)) return {};
  if (!relay_.replace_server(session, std::move(ours))) {
    over(session, EndCause::proxy_error, false, std::strerror(errno), now);
    bury(session);
    return {};
  }
  session.login_edit.reset();  // from here on the words are ours
  session.key = {};            // a cancel request with it has nobody to reach
  session.phase = SessionPhase::up;
  session.deadline = {};
  session.counted_login = false;
  --logins_;
  const auto listener = static_cast<std::size_t>(session.listener - settings_.listeners.data());
  listeners_[listener].connections[static_cast<std::size_t>(AcceptResult::console)].add();
  const bool withheld = ends_with_ready(bytes);
  settings_.console_door->enter(
      std::move(theirs), {session.who->user, session.who->server, session.who->client, !withheld});
  return withheld ? bytes.first(bytes.size() - ready_size) : bytes;
}

void SessionTable::leave_console(Session& session, Instant now) {
  session.server.fd.close();
  over(session, EndCause::client_abort, false, "client gone", now);
  bury(session);
}

}  // namespace pgleash::proxy
