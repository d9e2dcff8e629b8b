#pragma once

#include "protocol/session_tracker.hpp"
#include "protocol/types.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What the rest of the program may know of the proxy's sessions: values only.
namespace pgleash::proxy {

/// Unique for the life of the process; the worker's index is in the upper 16 bits.
enum class SessionId : std::uint64_t {};

[[nodiscard]] constexpr std::uint64_t number(SessionId id) noexcept {
  return static_cast<std::uint64_t>(id);
}

/// An IP address and port; for a Unix socket the address is empty and the port -1, as
/// pg_stat_activity shows it.
struct Endpoint {
  std::string address;
  std::int32_t port = -1;
  bool operator==(const Endpoint&) const = default;
};

/// How a session's legs are encrypted. The texts of versions and ciphers live for ever.
struct TlsFacts {
  std::string_view client_version;  ///< "TLSv1.3"; empty: the leg is plain
  std::string_view client_cipher;
  std::string client_dn;  ///< subject of the client's certificate, verified; empty: none was shown
  std::string_view server_version;
  std::string_view server_cipher;
  bool same_certificate = false;  ///< both legs show the same: channel binding holds end to end
  bool operator==(const TlsFacts&) const = default;
};

/// What does not change while a session lives, or so seldom that a new value is made for it.
/// Shared, immutable.
struct SessionIdentity {
  std::string listener;
  std::string server;
  Endpoint client;
  std::string via;  ///< "10.20.0.5:40312", the balancer that named the client; empty: none did
  std::string user;
  std::string database;
  std::string application_name;  ///< as the server reports it (ParameterStatus), else as the
                                 ///< startup packet had it
  std::string application;       ///< what rules and metrics call it: see [identity]
  Endpoint leg;  ///< our end of the server leg: client_addr and client_port in pg_stat_activity
  std::optional<protocol::BackendPid> pid;  ///< from BackendKeyData
  bool cancel_key = false;
  bool replication = false;
  bool client_is_local = false;  ///< Unix socket or loopback; see origin_of()
  bool pooler = false;           ///< its client is one: see client_kind of [[listener]]
  bool opaque =
      false;  ///< its TLS is end to end: who it is and what it does, the server's view tells
  std::string name_sent;  ///< application_name with the suffix that pgleash gave it; empty: none
  std::shared_ptr<const TlsFacts> tls;  ///< null: both legs are plain
  std::int32_t journal_slot = -1;       ///< in the journal; -1: not recorded
  Instant connected{};                  ///< accepted
  std::chrono::system_clock::time_point connected_at{};
};

/// One session at one moment. Taken on the session's own thread, used on any.
struct SessionView {
  SessionId id{};
  std::shared_ptr<const SessionIdentity> who;
  protocol::SessionFacts facts;
  Instant stalled_since{};  ///< since when the client takes nothing of what waits for it; the epoch
                            ///< when nothing waits
  bool ending = false;      ///< an end is under way: not judged again
};

/// What is different among a server's sessions since they were asked for last.
struct ViewChanges {
  bool all = false;  ///< `changed` are all there are: nothing that was known before counts
  std::vector<SessionView> changed;  ///< new ones too; some may be as they were
  std::vector<SessionId> gone;       ///< some may never have been told of
};

/// What a verdict's reader wants to know and a view does not carry, as it costs memory. Fetched for
/// few sessions.
struct StatementEvidence {
  std::string last_statement;  ///< first StatementTexts::max_text bytes; empty: unknown
  std::string first_of_transaction;
  bool last_truncated = false;
  bool first_truncated = false;
  protocol::SessionFacts facts;  ///< of the same moment: it may have moved on since its view
};

}  // namespace pgleash::proxy
