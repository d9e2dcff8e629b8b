#pragma once

#include "protocol/frame_scanner.hpp"
#include "protocol/message_flow.hpp"
#include "protocol/prepared_texts.hpp"
#include "protocol/statement_texts.hpp"
#include "protocol/types.hpp"

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace pgleash::protocol {

/// What a session is doing, derived from the bytes that crossed the proxy.
enum class SessionState : std::uint8_t {
  starting,             ///< no ReadyForQuery yet
  idle,                 ///< nothing outstanding, no transaction
  idle_in_transaction,  ///< nothing outstanding, transaction open
  aborted,              ///< nothing outstanding, transaction failed
  busy,                 ///< the server owes an answer: simple query, or extended, flushed or synced
  fastpath,             ///< FunctionCall outstanding
  pipeline_flushed,  ///< no Sync yet, all answered, Flush came last: waits for the client for sure
  pipeline_open,     ///< no Sync or Flush yet: the server may work or wait, a sample tells
  pipeline_failed,   ///< a message failed and no Sync came: the server discards until it does
  copy_in,           ///< the server wants CopyData
  copy_out,          ///< the server sends CopyData
  copy_both,         ///< replication stream
  closing,           ///< Terminate with nothing left to do, FATAL or an unframeable stream
};

/// "idle in transaction": as pg_stat_activity spells it, where it can tell the state.
[[nodiscard]] std::string_view name(SessionState state) noexcept;

/// Counters of what may be judged. A verdict keeps the mark it saw; any difference in the judged
/// counter, or in one listed after it, means that the judged activity is over and nothing may be
/// ended because of it. The times of the same name in SessionFacts tell since when each lasts.
struct ActivityMark {
  /// Each message from the frontend, each change of state.
  std::uint32_t state = 0;
  /// Each request begun or ended, each statement completed or failed inside one.
  std::uint32_t request = 0;
  /// Each transaction begun or ended, those of single statements too.
  std::uint32_t transaction = 0;

  bool operator==(const ActivityMark&) const = default;
};

/// One session's state as a plain value: copied into SessionView for the watchdog.
struct SessionFacts {
  SessionState state = SessionState::starting;
  TransactionStatus transaction = TransactionStatus::idle;
  ActivityMark mark;
  /// A frontend message is forwarded in part: the server waits for the rest, in the state it was.
  bool half_message = false;
  /// An anomaly since the last unambiguous point: never kill in-band on a derived state.
  bool degraded = false;
  /// LISTEN active, by command tag.
  bool listening = false;
  /// READ ONLY with REPEATABLE READ or SERIALIZABLE, confirmed by its command tag.
  bool dump_transaction = false;
  /// pg_export_snapshot was called in this transaction, and answered: others work with its
  /// snapshot.
  bool exported_snapshot = false;
  /// pg_backup_start was called in this session, and answered, and pg_backup_stop was not since. A
  /// backup needs the session to stay, idle as it is.
  bool backup_running = false;
  /// The first statement of the transaction that is open, or about to be, has the marker.
  bool marked = false;
  /// Extended messages came behind the last one that ends in ReadyForQuery.
  bool segment_open = false;
  /// An unanswered statement ends a transaction, or may, as nothing of its text is known.
  bool commit_outstanding = false;
  /// is_superuser of the login's ParameterStatus.
  bool superuser_at_login = false;
  /// The server asked for a password, SASL or other proof in this login.
  bool challenged = false;
  /// Of the last forwarded statement.
  StatementTraits statement;
  /// Requests forwarded that will end in ReadyForQuery and have not.
  std::uint32_t outstanding = 0;
  std::uint32_t anomalies = 0;
  /// When mark.state last moved: in COPY IN or an open pipeline, the client's last message.
  Instant state_since{};
  /// Start of the running statement: request begun, or the statement before it completed.
  Instant request_since{};
  /// Start of the request that began it. Meaningless while idle with nothing outstanding.
  Instant transaction_since{};
  Instant last_frontend_byte{};
  Instant last_backend_byte{};
  std::uint64_t frontend_bytes = 0;
  std::uint64_t backend_bytes = 0;
  std::uint64_t request_bytes = 0;  ///< sent by the server since the request began
  std::uint64_t request_rows = 0;   ///< DataRow and CopyData since the request began

  bool operator==(const SessionFacts&) const = default;
};

/// What a chunk brought; more than one may be set.
struct Changes {
  bool state : 1 = false;
  bool session_up : 1 = false;          ///< the first ReadyForQuery
  bool unchallenged_login : 1 = false;  ///< AuthenticationOk without any challenge before it
  bool terminate : 1 = false;           ///< the frontend's Terminate was seen
  bool fatal : 1 = false;               ///< FATAL or PANIC from the server
  bool unframeable : 1 = false;         ///< a length below 4: see SessionTracker::on_frontend

  bool operator==(const Changes&) const = default;
};

/// Receives what a session keeps beside its state. Called from within on_frontend / on_backend;
/// views die on return.
class TrackerEvents {
 public:
  virtual ~TrackerEvents() = default;
  virtual void backend_key(BackendPid pid, Bytes secret) = 0;
  virtual void parameter_status(std::string_view name, std::string_view value) = 0;
  virtual void server_error(std::string_view severity, std::string_view sqlstate) = 0;
  virtual void negotiated_minor(std::int32_t newest_minor) = 0;
};

/// Follows one session's byte stream from both sides and tells what state it is in.
/// Begin with the bytes behind the startup packet. Call from one thread, in the order the bytes
/// crossed the proxy; any chunking is fine.
///
/// A message body is never held. Only the first bytes of some are read, and copied only when a
/// chunk ends inside them: K, S, E, R, C, v, Z from the server; texts and names in Q, P, B, E, C.
/// Allocates nothing while messages arrive whole and texts are known.
///
/// Never fails a session: on bytes it cannot frame it turns `closing` and reports `unframeable`; on
/// an answer it did not expect it counts an anomaly and is `degraded` until a request that began
/// with nothing outstanding went through without another one.
///
/// Source: "Frontend/Backend Protocol", Message Flow: Extended Query, COPY Operations, Function
/// Call, Asynchronous Operations.
class SessionTracker {
 public:
  /// `texts` is the worker's table and outlives the tracker.
  explicit SessionTracker(StatementTexts& texts, Instant now);

  /// `unframeable`: the frontend sent a length below 4. PostgreSQL closes without a message; so
  /// should the caller.
  Changes on_frontend(Bytes bytes, Instant now, TrackerEvents& events);
  Changes on_backend(Bytes bytes, Instant now, TrackerEvents& events);

  [[nodiscard]] const SessionFacts& facts() const noexcept { return facts_; }
  /// Instead of both: bytes that nobody here can read. They count, and leave the state alone.
  void on_opaque(Direction direction, std::size_t size, Instant now) noexcept {
    const bool up = direction == Direction::to_backend;
    (up ? facts_.frontend_bytes : facts_.backend_bytes) += size;
    (up ? facts_.last_frontend_byte : facts_.last_backend_byte) = now;
  }

  /// True when everything seen of that direction ends at a message boundary: only there may an own
  /// message follow.
  [[nodiscard]] bool at_boundary(Direction direction) const noexcept;
  /// Bytes to come of the message under way: see FrameScanner.
  [[nodiscard]] std::optional<std::size_t> message_left(Direction direction,
                                                        Bytes next) const noexcept;
  /// True while the queue of outstanding messages is at its cap: read no more from the frontend
  /// until it drained.
  [[nodiscard]] bool queue_full() const noexcept;
  [[nodiscard]] const StatementTexts::Ref& last_statement() const noexcept;
  /// What the open transaction began with; a BEGIN of its own is passed over for what comes next.
  [[nodiscard]] const StatementTexts::Ref& first_of_transaction() const noexcept;

 private:
  struct FrontendMessages;
  struct BackendMessages;
  using Flag = Outstanding::Flag;
  using Kind = Outstanding::Kind;
  [[nodiscard]] SessionState derive_state() const noexcept;
  [[nodiscard]] SessionState state_of_flow() const noexcept;
  /// True when the state is another one than before: an event to touch it for.
  bool refresh_state() noexcept {
    const SessionState before = std::exchange(facts_.state, derive_state());
    return before != facts_.state;
  }
  void touch_state(Instant now) noexcept {
    ++facts_.mark.state;
    facts_.state_since = now;
  }
  /// What is derived once a chunk, not once a message.
  void refresh_counts() noexcept {
    facts_.outstanding = flow_.queue().ending_in_ready();
    facts_.segment_open = flow_.extended_open();
    facts_.commit_outstanding = flow_.queue().may_commit() != 0;
    facts_.request_bytes = facts_.backend_bytes - request_offset_;
  }
  /// Nothing was outstanding, and something is now.
  void begin_request(Instant now) noexcept {
    ++facts_.mark.request;
    clean_request_ = true;
    start_clock(now, facts_.backend_bytes);
  }
  /// The server turns to a request: one just begun, or the next of those that waited.
  void start_clock(Instant now, std::uint64_t backend_offset) noexcept {
    facts_.request_since = now;
    facts_.request_rows = 0;
    request_offset_ = backend_offset;
    if (facts_.transaction == TransactionStatus::idle) facts_.transaction_since = now;
  }
  void end_transaction() noexcept;
  void anomaly() noexcept {
    ++facts_.anomalies;
    facts_.degraded = true;
    clean_request_ = false;
  }

  SessionFacts facts_;
  StatementTexts* texts_;
  std::uint64_t request_offset_ = 0;  // of the server's stream, where the request's answers begin
  FrameScanner frontend_;
  FrameScanner backend_;
  MessageFlow flow_;
  PreparedTexts prepared_;
  StatementTexts::Ref unnamed_portal_;
  StatementTexts::Ref named_portal_;   // of the last Bind to a named portal
  StatementTexts::Ref arriving_text_;  // of a Query or Execute until its message is whole
  StatementTexts::Ref last_statement_;
  StatementTexts::Ref first_of_transaction_;
  StatementTraits arriving_traits_;
  bool arriving_known_ = true;  // false: it may hold a COMMIT that nobody saw
  bool up_ = false;             // the first ReadyForQuery came
  bool closing_ = false;        // FATAL, or a stream that cannot be framed
  bool terminated_ = false;     // the frontend said Terminate
  bool first_to_come_ = true;   // the next statement is the transaction's first
  bool only_begun_ = false;     // the transaction's first statement was a BEGIN, and no other came
  bool first_is_sure_ = true;   // and is not within a request that began before it
  bool transaction_ended_ = false;  // by a command tag of the running request
  bool unlisten_to_come_ = false;   // UNLISTEN * ran, and counts when its transaction commits
  bool clean_request_ = false;      // no anomaly since the outstanding requests began
};

}  // namespace pgleash::protocol
