#pragma once

#include "proxy/cancel_sender.hpp"
#include "proxy/event_set.hpp"
#include "proxy/events.hpp"
#include "proxy/kill_order.hpp"
#include "proxy/relay.hpp"
#include "proxy/settings.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace pgleash::proxy {

/// A session that is ready to be relayed: both sockets connected, startup packet forwarded.
struct NewSession {
  Fd client;
  Fd server;
  std::unique_ptr<TlsStream> client_tls;  ///< null: plain
  std::unique_ptr<TlsStream> server_tls;
  std::shared_ptr<const ServerTlsContext> server_context;  ///< with which the server leg was made
  std::unique_ptr<LoginEdit> login_edit;                   ///< null: the login passes as it is
  SessionIdentity who;
  std::size_t listener = 0;   ///< index in ProxySettings
  QuotaKeeper::Ticket place;  ///< under [[quota]]
  bool console = false;       ///< the server only authenticates; see ConsoleDoor
  std::string heard;          ///< of the server, and not forwarded yet
  /// What was said in the login by both already: the tracker has to know of it.
  std::string said_to_client, said_by_client;
};

/// What the client of a session that was ended knows of it.
enum class Told : std::uint8_t { no, at_once, on_next_use };

/// The sessions of one worker: what happens between the first forwarded byte and the last, and how
/// each one ends. Every session ends in one place, with one EndCause. All calls on the worker's
/// thread.
class SessionTable final : private RelayHost {
 public:
  /// Time a client gets to read what was written before its socket is closed.
  static constexpr Duration linger = std::chrono::seconds{5};
  /// Time a server gets to close after our Terminate before its leg is reset.
  static constexpr Duration terminate_wait = std::chrono::seconds{1};
  /// Clients who do not know yet that their session was ended, at most; beyond that they are told
  /// at once.
  static constexpr std::size_t max_untold = 1000;

  /// `live` counts sessions and logins of this worker for placement; `deadline_set` is called when
  /// tick() is wanted soon; all references outlive the table.
  SessionTable(EventSet& set, std::uint16_t worker, const ProxySettings& settings,
               CancelSender& cancels, ProxyEvents& events, std::vector<ServerCounters>& servers,
               std::vector<ListenerCounters>& listeners, std::atomic<std::uint32_t>& live,
               std::function<void()> deadline_set, LoopShare& share);
  ~SessionTable() override;

  void start() { relay_.start(); }
  void stop() { relay_.stop(); }

  /// Sessions that have no place under [[quota]] yet take one, whatever the limits.
  void count_for_quotas();
  /// Takes the session in. On failure (epoll refuses) it is closed and false comes back.
  bool adopt(NewSession session, Instant now);
  [[nodiscard]] Session* find(SessionId id) noexcept;
  /// The session whose BackendKeyData the key is; null when it is not here.
  [[nodiscard]] Session* find(const protocol::CancelKey& key) noexcept;
  [[nodiscard]] std::vector<SessionView> views(std::string_view server, Instant now);
  /// What touch() was called for since the last call for this server; see SessionDirectory.
  [[nodiscard]] ViewChanges changes(std::string_view server, bool all, Instant now);
  /// The session's view is not what it was: said by whoever changes it. Each byte that is observed
  /// does.
  void touch(Session& session) {
    if (session.touched) return;
    changed_of(session).sessions.push_back(session.id);
    session.touched = true;
  }
  [[nodiscard]] std::optional<StatementEvidence> evidence(SessionId id) const;
  [[nodiscard]] std::size_t size() const noexcept { return sessions_.size(); }
  [[nodiscard]] std::uint32_t logins() const noexcept { return logins_; }

  /// Deadlines of logins, graces and lingering; drain. True while any of them is set.
  bool tick(Instant now);
  /// From now on sessions end as soon as they are idle outside a transaction; at `deadline` all
  /// that are left.
  void drain(Instant deadline, Instant now);

  // The kill path: see KillExecutor for the checks that must come before.
  /// Tells the client, sends Terminate (after CopyFail of a COPY that the client feeds), waits for
  /// the server's end of file. With `notify_within` above zero a client that waits for nothing is
  /// not told now: its leg stays open and silent, and the next thing it sends gets the notice, or
  /// the drain, or the end of that time, to within the second of an idle tick.
  Told end_waiting(Session& session, const ErrorNotice& notice, bool copy_in, EndCause cause,
                   Instant now, Duration notify_within = {});
  /// Tells the client when a message boundary allows it, and resets the server leg.
  bool reset_server(Session& session, const ErrorNotice* notice, EndCause cause, Instant now);
  /// The same, and a CancelRequest behind it, in that order.
  bool reset_and_cancel(Session& session, const ErrorNotice* notice, EndCause cause,
                        CancelOrigin origin, Instant now);
  Relay& relay() noexcept { return relay_; }

 private:
  void count_for_quotas(Session& session);
  class Events;
  /// Sessions of one server whose views are not what was told last, and those that are gone.
  struct Changed {
    std::vector<SessionId> sessions;
    bool lost = true;  ///< others may have changed too: all have to be told
  };

  [[nodiscard]] Changed& changed_of(const Session& session) noexcept {
    return changed_[static_cast<std::size_t>(session.upstream - settings_.servers.data())];
  }
  /// Here rather than when its bytes flow.
  void make_room_for_changes(const Session& session);

  protocol::Bytes observe(Session& session, Side from, protocol::Bytes bytes, Instant now) override;
  protocol::Bytes observe_opaque(Session& session, Side from, protocol::Bytes bytes, Instant now);
  protocol::Bytes observe_client(Session& session, protocol::Bytes bytes, Instant now);
  protocol::Bytes observe_server(Session& session, protocol::Bytes bytes, Instant now);
  protocol::Bytes observe_console(Session& session, Side from, protocol::Bytes bytes, Instant now);
  /// False: the login was refused.
  bool may_enter_console(Session& session, protocol::Changes changes, Instant now);
  /// Puts the console in the server's place. Returns what of the server's last bytes goes on to
  /// the client: all but ReadyForQuery, which is the console's to say.
  protocol::Bytes enter_console(Session& session, protocol::Bytes bytes, Instant now);
  void leave_console(Session& session, Instant now);
  void refuse_unframeable(Session& session, Instant now);
  void leg_ended(Session& session, Side side, Instant now) override;
  void leg_failed(Session& session, Side side, int error, Instant now) override;
  void client_hung_up(Session& session, Instant now) override;
  void flushed(Session& session, Side side, Instant now) override;

  void session_up(Session& session, Instant now);
  void refuse_login(Session& session, AcceptResult result, const ErrorNotice& notice, Instant now);
  void client_left(Session& session, bool reset, Instant now);
  /// Nobody reads what the server works on, or would hand over.
  [[nodiscard]] static bool works_for_nobody(const Session& session) noexcept;
  void stop_abandoned_query(Session& session, Instant now);
  [[nodiscard]] Count& connections(const Session& session, AcceptResult result);
  /// The server ended the login; with an error the log says which.
  void server_refused(const Session& session);
  void server_left(Session& session, bool end_of_file, Instant now);
  bool tell_client(Session& session, const ErrorNotice& notice, Instant now);
  void tell_of_the_loss(Session& session, int error, Instant now);
  void over(Session& session, EndCause cause, bool server_eof, std::string_view detail,
            Instant now);
  void linger_client(Session& session, Instant now);
  void bury(Session& session);
  [[nodiscard]] bool may_tell_later(const Session& session, Duration within) const noexcept;
  void tell_later(Session& session, const ErrorNotice& notice, Duration within);
  /// The server leg of a session with something untold is gone.
  void keep_silent(Session& session, Instant now);
  void heard_of_untold(Session& session, protocol::Bytes bytes, Instant now);
  void end_silence(Session& session, bool tell, Instant now);
  void tick_silent(Instant now);
  void end_for_drain(Session& session, Instant now);
  void watch(Session& session, Instant deadline);
  bool on_deadline(Session& session, Instant now);

  EventSet& set_;
  const ProxySettings& settings_;
  CancelSender& cancels_;
  ProxyEvents& events_;
  std::vector<ServerCounters>& servers_;
  std::vector<ListenerCounters>& listeners_;
  std::atomic<std::uint32_t>& live_;
  std::function<void()> deadline_set_;
  LoopShare& share_;
  std::string rewritten_;  ///< a chunk in our words; valid until the next one
  protocol::StatementTexts texts_;
  Relay relay_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::vector<Changed> changed_;  ///< by server
  std::vector<std::unique_ptr<Session>> graveyard_;
  std::vector<SessionId> watched_;  ///< sessions with a deadline; swept on tick
  std::vector<SessionId> silent_;   ///< swept on tick, in no hurry; may hold some that spoke since
  std::size_t untold_ = 0;          ///< sessions with something untold, silent or about to be
  std::uint64_t next_id_;
  std::uint32_t logins_ = 0;
  std::optional<Instant> drain_deadline_;
};

}  // namespace pgleash::proxy
