#pragma once

#include "protocol/startup.hpp"
#include "proxy/cancel_sender.hpp"
#include "proxy/event_set.hpp"
#include "proxy/events.hpp"
#include "proxy/flood_gate.hpp"
#include "proxy/loop_share.hpp"
#include "proxy/session_table.hpp"
#include "proxy/settings.hpp"
#include "proxy/upstream.hpp"

#include <boost/asio/awaitable.hpp>

#include <atomic>
#include <list>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::proxy {

/// A connection as the listener hands it to a worker.
struct Accepted {
  Fd fd;
  sockaddr_storage peer{};
  std::size_t listener = 0;  ///< index in ProxySettings
  Instant at{};
};

/// What the start of a connection needs of the whole proxy, beyond its own worker. Called on
/// workers' threads.
class ProxyLinks {
 public:
  virtual ~ProxyLinks() = default;
  /// Sends a client's cancel request to where the key's owner is connected, else to the listener's
  /// server. Returns when the request is done with, so that the end of file the client then sees
  /// means "signal sent". `cancels` and `upstream` are the calling worker's.
  virtual boost::asio::awaitable<CancelResult> forward_cancel(protocol::CancelKey key,
                                                              std::size_t listener,
                                                              CancelSender& cancels,
                                                              Upstream& upstream) = 0;
  /// Sessions and connections on their way to be one, of all workers.
  [[nodiscard]] virtual std::uint32_t total_live() const noexcept = 0;
};

/// From the accepted socket to a relayed session, or to a refusal: PROXY protocol header,
/// SSLRequest or a TLS handshake outright, GSSENCRequest, CancelRequest, startup packet, server
/// leg. Reads exact byte counts, so nothing that belongs to a later phase is ever taken early. A
/// client that says nothing costs a descriptor until login_timeout; when max_logins are under way
/// the oldest one that has not sent its startup packet makes room, so that half-sent packets keep
/// nobody out. Worker's thread. Source: "Frontend/Backend Protocol", Message Flow: Start-up, SSL
/// Session Encryption, GSSAPI Session Encryption.
class StartupPhase {
 public:
  StartupPhase(EventSet& set, const ProxySettings& settings, SessionTable& sessions,
               Upstream& upstream, CancelSender& cancels, ProxyEvents& events,
               std::vector<ListenerCounters>& listeners, unsigned workers,
               std::atomic<std::uint32_t>& live, ProxyLinks& links, LoopShare& share);

  /// Runs detached: ends within login_timeout plus the time for a refusal.
  void begin(Accepted accepted);
  void begin_refusing() noexcept { draining_ = true; }
  /// Ends all waits on clients and takes nobody in any more: the worker is about to stop.
  void stop();
  /// Ends waits whose deadline is over. True while any connection is starting.
  bool tick(Instant now);
  [[nodiscard]] std::size_t starting() const noexcept { return starting_.size(); }

 private:
  struct Starting;
  using Entry = std::list<Starting*>::iterator;

  boost::asio::awaitable<void> run(Accepted accepted);
  boost::asio::awaitable<std::optional<protocol::StartupPacket>> receive(Starting& self);
  /// Whom the balancer that connects speaks for, read before anything else. False: refused.
  boost::asio::awaitable<bool> receive_proxy_header(Starting& self);
  /// Whether its first byte is that of a TLS record. Takes nothing.
  boost::asio::awaitable<bool> begins_with_tls(Starting& self);
  /// A client that begins with TLS instead of asking for it; ALPN is a must then. False: refused.
  boost::asio::awaitable<bool> begin_direct_tls(Starting& self);
  /// The handshake with the client. False: it failed, and was counted.
  boost::asio::awaitable<bool> secure(Starting& self);
  [[nodiscard]] static bool must_be_secured(const Starting& self) noexcept;
  /// With tls = "allow": whether the first answer to a leg in clear is that it must not be so.
  /// Reads nothing off.
  boost::asio::awaitable<bool> wants_tls(int server, Duration patience);
  [[nodiscard]] static std::shared_ptr<const TlsFacts> tls_facts(const Starting& self,
                                                                 const UpstreamResult& upstream);
  /// A client whose TLS the server ends: after its SSLRequest, unanswered, or at its first record.
  boost::asio::awaitable<void> pass_through(Starting& self, bool asked);
  /// The client's SSLRequest goes on. Empty: the server said yes.
  boost::asio::awaitable<std::string> hand_on_ssl_request(Fd& server, Duration patience);
  /// Tells who asked; whoever began with TLS outright would not understand.
  boost::asio::awaitable<void> refuse_opaque(Starting& self, bool asked, AcceptResult result,
                                             ErrorNotice notice);
  [[nodiscard]] bool is_opaque(const Starting& self) const noexcept;
  /// What is known before the client has said who it is.
  [[nodiscard]] NewSession new_session(Starting& self) const;
  boost::asio::awaitable<void> forward_cancel(Starting& self, protocol::CancelKey key);
  boost::asio::awaitable<void> open_session(Starting& self, protocol::StartupPacket packet);
  /// Where the listener says so: verifies the client and logs in for it. False: refused.
  boost::asio::awaitable<bool> log_in(Starting& self, UpstreamResult& upstream,
                                      NewSession& session);
  std::optional<QuotaRefusal> over_quota(NewSession& session);
  boost::asio::awaitable<void> refuse(Starting& self, AcceptResult result, ErrorNotice notice);
  /// Says the last words, closes our half, and reads until the client has closed its own or
  /// refusal_time is over.
  boost::asio::awaitable<void> say_and_close(Starting& self, std::string bytes);
  /// Counts, and logs when there is a reason to tell.
  void count(const Starting& self, AcceptResult result, std::string_view why);
  /// Its descriptor, away from Asio; not open: the client is gone, and counted so.
  Fd take_client(Starting& self);
  /// Refuses who may not come, within bounds: such must not take the places of those who may.
  boost::asio::awaitable<void> turn_away(Starting& self, AcceptResult result, ErrorNotice notice);
  /// A place among the logins under way. False: there is none, and that was said.
  boost::asio::awaitable<bool> take_place(Starting& self);
  bool make_room();

  EventSet& set_;
  const ProxySettings& settings_;
  SessionTable& sessions_;
  Upstream& upstream_;
  ProxyEvents& events_;
  std::vector<ListenerCounters>& listeners_;
  CancelSender& cancels_;
  std::atomic<std::uint32_t>& live_;
  ProxyLinks& links_;
  LoopShare& share_;
  std::size_t max_logins_;
  std::vector<FloodGate> header_floods_;  ///< of each listener
  std::list<Starting*> starting_;         ///< oldest first
  bool draining_ = false;
  bool stopped_ = false;
};

}  // namespace pgleash::proxy
