#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/fault.hpp"
#include "config/loader.hpp"
#include "proxy/tls_stream.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct ssl_ctx_st;
struct x509_st;

namespace pgleash::proxy {

struct FreeSslContext {
  void operator()(ssl_ctx_st* context) const noexcept;
};
using SslContext = std::unique_ptr<ssl_ctx_st, FreeSslContext>;

/// ALPN's name of the protocol.
inline constexpr std::string_view postgresql_protocol = "postgresql";

/// What is wrong with one key's file.
struct TlsFault {
  std::string key;  ///< "tls_cert_file"
  config::Severity severity = config::Severity::error;
  config::Fault fault;
};

/// How a listener speaks TLS: its files as they were when it was made. Immutable, shared: streams
/// keep what they need of it, so that a reload ends nobody.
struct ListenerTlsContext {
  config::ListenerTls settings;
  SslContext context;
  [[nodiscard]] std::unique_ptr<TlsStream> accept(int socket) const;
  /// Its certificate is the very one that the server has shown: then SCRAM's channel binding holds
  /// from end to end.
  [[nodiscard]] bool same_certificate(const TlsStream& server) const noexcept;
  /// What SCRAM binds a client to: tls-server-end-point of its certificate (RFC 5929). Empty: there
  /// is none, as the signature has no one hash.
  [[nodiscard]] std::string channel() const;
};
/// The same of the certificate that the peer has shown.
[[nodiscard]] std::string channel_of_peer(const TlsStream& stream);

/// How a server is spoken to.
struct ServerTlsContext {
  config::ServerTls settings;
  std::string host;  ///< for SNI and verify-full
  SslContext context;
  [[nodiscard]] std::unique_ptr<TlsStream> connect(int socket) const;
};

/// Null when there is an error among the faults; warnings (an expired certificate) make it all the
/// same. Reads the files. No tickets, no session cache, no renegotiation, no compression, no early
/// data; a read takes what the socket has, and no buffer belongs to an idle stream.
[[nodiscard]] std::shared_ptr<const ListenerTlsContext> make_listener_tls(
    const config::ListenerTls& settings, std::chrono::system_clock::time_point now,
    std::vector<TlsFault>& faults);
[[nodiscard]] std::shared_ptr<const ServerTlsContext> make_server_tls(
    const config::Server& server, std::chrono::system_clock::time_point now,
    std::vector<TlsFault>& faults);

/// All of a configuration, in its order; null where TLS is off.
struct TlsContexts {
  std::vector<std::shared_ptr<const ListenerTlsContext>> listeners;
  std::vector<std::shared_ptr<const ServerTlsContext>> servers;
  std::shared_ptr<ssl_ctx_st> page;  ///< of the status page, for a TLS stream of Asio's
};
/// Nothing when there is an error among the diagnostics. With a provenance they carry positions.
[[nodiscard]] std::optional<TlsContexts> make_tls(const config::Config& config,
                                                  const config::Provenance& provenance,
                                                  std::vector<config::Diagnostic>& diagnostics);

}  // namespace pgleash::proxy
