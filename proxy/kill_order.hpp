#pragma once

#include "proxy/session_view.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace pgleash::proxy {

/// Which of a session's activities a verdict judged (PRODUCT.md, below the kill ladder).
enum class JudgedCounter : std::uint8_t { state, request, transaction, session };

/// True when the judged activity goes on: the judged counter is unchanged. `state` implies the
/// counters below it.
[[nodiscard]] constexpr bool same_activity(JudgedCounter judged, const protocol::ActivityMark& then,
                                           const protocol::ActivityMark& now) noexcept {
  switch (judged) {
    case JudgedCounter::state:
      return then == now;
    case JudgedCounter::request:
      return then.request == now.request && then.transaction == now.transaction;
    case JudgedCounter::transaction:
      return then.transaction == now.transaction;
    case JudgedCounter::session:
      return true;
  }
  return false;
}

enum class KillAction : std::uint8_t { cancel, terminate };

/// What the client is told. The message is the user interface: libpq shows nothing else of an
/// unsolicited error.
struct ErrorNotice {
  std::string sqlstate;
  std::string message;
  std::string detail;
  std::string hint;
};

/// Asks the session's own thread to end the judged activity, or nothing.
struct KillOrder {
  SessionId session{};
  JudgedCounter counter = JudgedCounter::state;
  protocol::ActivityMark mark;
  KillAction action = KillAction::terminate;
  ErrorNotice notice;
  Duration deadline{};  ///< for all waits of this order together
  /// Above zero: a client that waits for nothing is told when it next sends something, or when
  /// this is over; see SessionTable::end_waiting.
  Duration notify_within{};
  bool only_while_idle = false;     ///< session age: not inside a request or transaction
  bool only_while_waiting = false;  ///< the server must wait for the client, whatever the counter
  bool require_stalled =
      false;  ///< the client must still not have read a byte since `stalled_since`
  Instant stalled_since{};
};

/// What the worker did, chosen by the session's state when the order was carried out (the kill
/// ladder's step 1).
enum class InBandStep : std::uint8_t {
  none,
  end_waiting,        ///< FATAL to the client, Terminate and close on the server leg
  end_copy_in,        ///< the same with CopyFail first
  reset_then_cancel,  ///< reset of the server leg, then CancelRequest; FATAL to the client
  reset_stalled,      ///< reset of the server leg; the client leg is closed
  cancel,             ///< CancelRequest alone, client's bytes held meanwhile
};
[[nodiscard]] std::string_view name(InBandStep step) noexcept;

enum class KillResult : std::uint8_t {
  done,           ///< the step was carried out
  recovered,      ///< the judged activity was over: nothing was done
  gone,           ///< the session had ended by itself
  exempt_now,     ///< a commit is outstanding: not touched
  untrustworthy,  ///< tracking is degraded: no in-band act on a derived state
  failed,         ///< the step could not be carried out (no key, cancel connection refused)
};
[[nodiscard]] std::string_view name(KillResult result) noexcept;

struct KillReport {
  KillResult result = KillResult::gone;
  InBandStep step = InBandStep::none;
  bool client_told = false;       ///< the error went out at a message boundary
  bool told_on_next_use = false;  ///< the client's leg is kept, silent, as `notify_within` asked
  bool server_eof = false;        ///< the server closed its leg after our Terminate: proof of death
  bool statement_ended = false;   ///< cancel: ReadyForQuery came within the deadline
  std::string why;                ///< one line for the log when not `done`
};

}  // namespace pgleash::proxy
