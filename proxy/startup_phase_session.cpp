#include "protocol/messages.hpp"
#include "proxy/application_name.hpp"
#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"
#include "proxy/scram_login.hpp"
#include "proxy/starting.hpp"
#include "proxy/tls_handshake.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <unistd.h>

// From a startup packet that was read to a session: whether there is room for it, its server leg,
// and the login where pgleash is a party to it.
namespace pgleash::proxy {

namespace asio = boost::asio;

namespace {

/// A fresh socket takes a startup packet whole; anything else is a broken connection.
bool send_packet(const UpstreamResult& upstream, const protocol::StartupPacket& packet) {
  protocol::Bytes bytes = std::as_bytes(std::span{packet.raw});
  if (upstream.tls != nullptr) bytes = upstream.tls->seal(bytes);
  return !bytes.empty() &&
         ::send(upstream.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
             static_cast<ssize_t>(bytes.size());
}

}  // namespace

std::shared_ptr<const TlsFacts> StartupPhase::tls_facts(const Starting& self,
                                                        const UpstreamResult& upstream) {
  if (self.tls == nullptr && upstream.tls == nullptr) return nullptr;
  auto facts = std::make_shared<TlsFacts>();
  if (self.tls != nullptr) {
    facts->client_version = self.tls->version();
    facts->client_cipher = self.tls->cipher();
    facts->client_dn = self.tls->peer_name();
  }
  if (upstream.tls != nullptr) {
    facts->server_version = upstream.tls->version();
    facts->server_cipher = upstream.tls->cipher();
  }
  facts->same_certificate = self.tls != nullptr && upstream.tls != nullptr &&
                            self.listener_tls->same_certificate(*upstream.tls);
  return facts;
}

asio::awaitable<void> StartupPhase::open_session(Starting& self, protocol::StartupPacket packet) {
  if (draining_) {
    ErrorNotice notice{"57P03", "pgleash is shutting down", "", "connect again"};
    co_await refuse(self, AcceptResult::draining, std::move(notice));
    co_return;
  }
  const bool console = settings_.is_console(packet.database, packet.is_replication());
  // Whoever has to find out why the house is full gets in.
  if (links_.total_live() > settings_.process.max_sessions && !console) {
    ErrorNotice notice{"53300", "pgleash has no room for another session",
                       "max_sessions is " + std::to_string(settings_.process.max_sessions), ""};
    co_await refuse(self, AcceptResult::session_limit, std::move(notice));
    co_return;
  }
  const std::size_t server_index = settings_.server_of[self.listener];
  const config::Server& server = settings_.servers[server_index];
  NewSession session = new_session(self);
  session.who.application = settings_.names()->resolve(
      {packet.application_name, settings_.listeners[self.listener].application, self.client.address,
       packet.user, packet.database});
  session.who.replication = packet.is_replication();
  session.who.user = std::move(packet.user);
  session.who.database = std::move(packet.database);
  if (server.application_name_suffix != config::ApplicationNameSuffix::off && !console) {
    session.who.name_sent =
        name_with_suffix(packet.application_name, self.client, server.application_name_suffix);
    packet.raw = protocol::with_parameter(packet.raw, "application_name", session.who.name_sent);
  }
  session.who.application_name = std::move(packet.application_name);
  if (auto over = console ? std::nullopt : over_quota(session)) {
    ErrorNotice notice{over->sqlstate, over->message, over->detail, over->hint};
    co_await refuse(self, AcceptResult::quota, std::move(notice));
    co_return;
  }
  UpstreamResult upstream = co_await upstream_.connect(server_index);
  if (!upstream.fd.open()) {
    ErrorNotice notice{"08006", "pgleash could not reach server \"" + server.name + "\"",
                       upstream.error,
                       "check that the server runs and accepts connections from pgleash"};
    co_await refuse(self, AcceptResult::server_unreachable, std::move(notice));
    co_return;
  }
  if (console)
    packet.raw = protocol::with_parameter(packet.raw, "database", server.monitor.database);
  bool sent = send_packet(upstream, packet);
  if (sent && upstream.may_be_refused) {
    const bool turned_away = co_await wants_tls(upstream.fd.get(), server.connect_timeout);
    if (turned_away) {
      upstream = co_await upstream_.connect_secured(server_index);
      sent = upstream.fd.open() && send_packet(upstream, packet);
    }
  }
  if (!sent) {
    ErrorNotice notice{"08006", "pgleash lost the connection to server \"" + server.name + "\"",
                       upstream.error.empty() ? std::strerror(errno) : upstream.error, ""};
    co_await refuse(self, AcceptResult::server_unreachable, std::move(notice));
    co_return;
  }
  const bool own_login = settings_.listeners[self.listener].scram == config::Scram::reoriginate &&
                         settings_.verifiers != nullptr && !console && !session.who.replication;
  if (own_login) {
    const bool goes_on = co_await log_in(self, upstream, session);
    if (!goes_on) co_return;
  }
  Fd client = take_client(self);
  if (!client.open()) co_return;

  session.client = std::move(client);
  session.who.leg = local_endpoint(upstream.fd.get());
  session.who.tls = tls_facts(self, upstream);
  const bool differ =
      session.who.tls != nullptr && upstream.tls != nullptr && !session.who.tls->same_certificate;
  if (differ)
    session.login_edit = std::make_unique<LoginEdit>(
        self.tls == nullptr ? LoginEditFor::clear_client : LoginEditFor::two_certificates);
  session.client_tls = std::move(self.tls);
  session.server_tls = std::move(upstream.tls);
  session.server_context = std::move(upstream.context);
  session.server = std::move(upstream.fd);
  session.console = console;
  (void)sessions_.adopt(std::move(session), monotonic_now());
}

asio::awaitable<bool> StartupPhase::log_in(Starting& self, UpstreamResult& upstream,
                                           NewSession& session) {
  Connection connection{set_, std::move(upstream.fd)};
  const Deadline guard{connection, self.deadline};
  // Who knows the secrets answers from another thread.
  const LoopShare::Flow flow{share_};
  ScramLeg client{self.connection, self.tls.get(),
                  self.tls == nullptr ? std::string{} : self.listener_tls->channel()};
  ScramLeg server{connection, upstream.tls.get(),
                  upstream.tls == nullptr ? std::string{} : channel_of_peer(*upstream.tls)};
  ScramOutcome outcome = co_await originate_scram(
      std::move(client), std::move(server), *settings_.verifiers, session.who.server,
      session.who.user, settings_.scram_seed, self.deadline);
  switch (outcome.kind) {
    case ScramOutcome::Kind::passed_on:
      session.heard = std::move(outcome.from_server);
      break;
    case ScramOutcome::Kind::proved:
      session.said_to_client = std::move(outcome.from_server);
      session.said_by_client = std::move(outcome.from_client);
      break;
    case ScramOutcome::Kind::refused:
      connection.close();  // who reads the refusal slowly must not keep a backend for it
      co_await refuse(self, AcceptResult::server_refused, std::move(outcome.notice));
      co_return false;
    case ScramOutcome::Kind::client_lost:
      if (self.gave_up == AcceptResult::login_timeout) {
        ErrorNotice notice{"08006", "canceling authentication due to timeout",
                           "the login did not finish within the listener's login_timeout", ""};
        co_await refuse(self, AcceptResult::login_timeout, std::move(notice));
      } else {
        // As psql goes, to ask for the password and come back.
        count(self, self.gave_up.value_or(AcceptResult::client_gone), {});
      }
      co_return false;
    case ScramOutcome::Kind::server_lost: {
      ErrorNotice notice{"08006", "pgleash lost the connection to its server during the login",
                         guard.expired() ? "no answer within login_timeout" : "", ""};
      co_await refuse(self, AcceptResult::server_unreachable, std::move(notice));
      co_return false;
    }
  }
  upstream.fd = connection.release();
  if (upstream.fd.open()) co_return true;
  count(self, AcceptResult::server_unreachable, "no end of the login within login_timeout");
  co_return false;
}

NewSession StartupPhase::new_session(Starting& self) const {
  const config::Listener& listener = settings_.listeners[self.listener];
  NewSession session;
  session.listener = self.listener;
  session.who.listener = listener.name;
  session.who.server = settings_.servers[settings_.server_of[self.listener]].name;
  session.who.client = self.client;
  session.who.via = std::move(self.via);
  session.who.client_is_local = self.origin.local;
  session.who.pooler = listener.client_kind == config::ClientKind::pooler;
  session.who.connected = self.accepted_at;
  session.who.connected_at = wall_now();
  return session;
}

/// Takes the session's place under the quotas. Whom [protect] names, and replication, has one
/// always.
std::optional<QuotaRefusal> StartupPhase::over_quota(NewSession& session) {
  if (!settings_.quotas.active()) return std::nullopt;
  if (session.who.replication || settings_.protect()->spares(session.who, false)) {
    session.place = settings_.quotas.count(session.who);
    return std::nullopt;
  }
  return settings_.quotas.admit(session.who, monotonic_now(), session.place);
}

asio::awaitable<bool> StartupPhase::wants_tls(int server, Duration patience) {
  // A descriptor of its own: the socket itself must come out of this as it went in.
  Connection watch{set_, Fd{::dup(server)}};
  const Deadline enough{watch, monotonic_now() + patience};
  const auto failed = co_await watch.wait(Connection::Wait::input);
  if (failed) co_return false;
  std::array<std::byte, 512> seen{};
  const ssize_t got = ::recv(server, seen.data(), seen.size(), MSG_PEEK | MSG_DONTWAIT);
  constexpr std::size_t header_size = 5;
  if (got <= static_cast<ssize_t>(header_size) || static_cast<char>(seen[0]) != 'E')
    co_return false;
  const auto body = std::span{seen}.first(static_cast<std::size_t>(got)).subspan(header_size);
  // No line of pg_hba.conf lets it in so.
  co_return protocol::decode_error(body).sqlstate == "28000";
}

}  // namespace pgleash::proxy
