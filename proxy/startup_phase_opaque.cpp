#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"
#include "proxy/starting.hpp"
#include "proxy/tls_handshake.hpp"

// Clients of a listener with tls = "opaque": SSLRequest, or a first TLS record, goes on to the
// server as it came, and so does all behind it. Who they are is inside.
namespace pgleash::proxy {

namespace asio = boost::asio;

bool StartupPhase::is_opaque(const Starting& self) const noexcept {
  // There is no TLS on a Unix socket.
  return self.peer.ss_family != AF_UNIX &&
         settings_.listeners[self.listener].tls.mode == config::ListenerTlsMode::opaque;
}

asio::awaitable<void> StartupPhase::pass_through(Starting& self, bool asked) {
  self.silent = false;
  if (draining_) {
    ErrorNotice notice{"57P03", "pgleash is shutting down", "", "connect again"};
    co_await refuse_opaque(self, asked, AcceptResult::draining, std::move(notice));
    co_return;
  }
  if (links_.total_live() > settings_.process.max_sessions) {
    ErrorNotice notice{"53300", "pgleash has no room for another session",
                       "max_sessions is " + std::to_string(settings_.process.max_sessions), ""};
    co_await refuse_opaque(self, asked, AcceptResult::session_limit, std::move(notice));
    co_return;
  }
  const std::size_t server_index = settings_.server_of[self.listener];
  const config::Server& server = settings_.servers[server_index];
  NewSession session = new_session(self);
  session.who.opaque = true;
  session.who.application = settings_.names()->resolve(
      {"", settings_.listeners[self.listener].application, self.client.address, "", ""});
  if (auto over = over_quota(session)) {
    ErrorNotice notice{over->sqlstate, over->message, over->detail, over->hint};
    co_await refuse_opaque(self, asked, AcceptResult::quota, std::move(notice));
    co_return;
  }
  UpstreamResult upstream = co_await upstream_.connect_clear(server_index);
  std::string problem = std::move(upstream.error);
  if (upstream.fd.open() && asked)
    problem = co_await hand_on_ssl_request(upstream.fd, server.connect_timeout);
  if (!problem.empty() || !upstream.fd.open()) {
    ErrorNotice notice{"08006", "pgleash could not reach server \"" + server.name + "\" by TLS",
                       std::move(problem),
                       "check that the server runs, has TLS, and accepts connections from pgleash"};
    co_await refuse_opaque(self, asked, AcceptResult::server_unreachable, std::move(notice));
    co_return;
  }
  if (asked) {
    const auto unsent = co_await write_all(self.connection, nullptr, "S");
    if (unsent) {
      count(self, self.gave_up.value_or(AcceptResult::client_gone), unsent.message());
      co_return;
    }
  }
  Fd client = take_client(self);
  if (!client.open()) co_return;
  session.client = std::move(client);
  session.who.leg = local_endpoint(upstream.fd.get());
  session.server = std::move(upstream.fd);
  (void)sessions_.adopt(std::move(session), monotonic_now());
}

asio::awaitable<std::string> StartupPhase::hand_on_ssl_request(Fd& server, Duration patience) {
  Connection connection{set_, std::move(server)};
  const Deadline guard{connection, monotonic_now() + patience};
  // The bytes behind the answer are the client's to judge.
  SslAnswer answer = co_await ask_for_tls(connection);
  if (guard.expired()) co_return "no answer to SSLRequest within connect_timeout";
  if (answer.unwilling) co_return "the server does not speak TLS";
  if (!answer.error.empty()) co_return std::move(answer.error);
  server = connection.release();
  co_return server.open() ? std::string{} : "no answer to SSLRequest within connect_timeout";
}

asio::awaitable<void> StartupPhase::refuse_opaque(Starting& self, bool asked, AcceptResult result,
                                                  ErrorNotice notice) {
  if (asked) {
    co_await refuse(self, result, std::move(notice));
  } else {
    count(self, result, notice.detail.empty() ? notice.message : notice.detail);
  }
}

}  // namespace pgleash::proxy
