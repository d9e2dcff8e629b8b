#include "proxy/startup_phase.hpp"

#include "protocol/encode.hpp"
#include "proxy/clock.hpp"
#include "proxy/proxy_header.hpp"
#include "proxy/starting.hpp"
#include "proxy/tls_handshake.hpp"

#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

namespace pgleash::proxy {

namespace asio = boost::asio;

namespace {

constexpr Duration refusal_time = std::chrono::seconds{2};
/// Every first message has at least this much; SSLRequest and GSSENCRequest have exactly this much.
constexpr std::size_t shortest_message = 8;
/// First byte of a TLS handshake: no length of a first message begins so.
constexpr char handshake_record = '\x16';

}  // namespace

StartupPhase::StartupPhase(EventSet& set, const ProxySettings& settings, SessionTable& sessions,
                           Upstream& upstream, CancelSender& cancels, ProxyEvents& events,
                           std::vector<ListenerCounters>& listeners, unsigned workers,
                           std::atomic<std::uint32_t>& live, ProxyLinks& links, LoopShare& share)
    : set_(set),
      settings_(settings),
      sessions_(sessions),
      upstream_(upstream),
      events_(events),
      listeners_(listeners),
      cancels_(cancels),
      live_(live),
      links_(links),
      share_(share),
      max_logins_(std::max<std::size_t>(1, settings.process.max_logins / std::max(1U, workers))),
      header_floods_(settings.listeners.size()) {}

void StartupPhase::begin(Accepted accepted) {
  if (stopped_) return;
  asio::co_spawn(set_.context(), run(std::move(accepted)),
                 [this](const std::exception_ptr& failure) {
                   if (!failure) return;
                   try {
                     std::rethrow_exception(failure);
                   } catch (const std::exception& e) {
                     events_.failure("startup", e.what());
                   }
                 });
}

bool StartupPhase::tick(Instant now) {
  for (Starting* one : starting_) {
    if (now < one->deadline) continue;
    if (!one->gave_up) {
      one->give_up(AcceptResult::login_timeout);
    } else {
      one->connection.cancel();  // it waits for something else by now
    }
  }
  return !starting_.empty();
}

void StartupPhase::stop() {
  stopped_ = true;
  for (Starting* one : starting_) one->give_up(one->gave_up.value_or(AcceptResult::draining));
}

bool StartupPhase::make_room() {
  if (starting_.size() + sessions_.logins() <= max_logins_) return true;
  const auto oldest =
      std::find_if(starting_.begin(), std::prev(starting_.end()),
                   [](const Starting* one) { return one->silent && !one->gave_up; });
  if (oldest == std::prev(starting_.end())) return false;
  (*oldest)->give_up(AcceptResult::login_limit);
  return true;
}

void StartupPhase::count(const Starting& self, AcceptResult result, std::string_view why) {
  listeners_[self.listener].connections[static_cast<std::size_t>(result)].add();
  if (result == AcceptResult::proxy_header && !header_floods_[self.listener].tell(monotonic_now()))
    return;
  if (!why.empty())
    events_.refused(settings_.listeners[self.listener].name, self.client, result, why);
}

Fd StartupPhase::take_client(Starting& self) {
  Fd client = self.connection.release();
  if (!client.open()) count(self, AcceptResult::client_gone, {});
  return client;
}

asio::awaitable<void> StartupPhase::run(Accepted accepted) {
  const config::Listener& listener = settings_.listeners[accepted.listener];
  Starting self{*this, accepted};
  // A Unix socket's clients are on this host: nobody speaks for them.
  const bool proxied =
      listener.proxy_protocol == config::ProxyProtocol::require && self.peer.ss_family != AF_UNIX;
  if (proxied) {
    const bool named = co_await receive_proxy_header(self);
    if (!named) co_return;
  }
  if (!is_allowed(self.origin.address, listener.allow)) {
    ErrorNotice notice{
        "28000",
        "connection refused: address " + self.client.address + " is not allowed on this listener",
        "", "add its network to the listener's \"allow\""};
    co_await turn_away(self, AcceptResult::not_allowed, std::move(notice));
    co_return;
  }
  if (!proxied) {
    const bool placed = co_await take_place(self);
    if (!placed) co_return;
  }
  // As PostgreSQL: there is no TLS on a Unix socket.
  if (self.peer.ss_family != AF_UNIX) self.listener_tls = settings_.listener_tls(self.listener);
  if (self.listener_tls != nullptr) {
    const bool good = co_await begin_direct_tls(self);
    if (!good) co_return;
  }
  if (is_opaque(self)) {
    const bool outright = co_await begins_with_tls(self);
    if (outright) {
      co_await pass_through(self, false);
      co_return;
    }
  }
  auto packet = co_await receive(self);
  if (!packet) co_return;
  co_await open_session(self, std::move(*packet));
}

asio::awaitable<void> StartupPhase::turn_away(Starting& self, AcceptResult result,
                                              ErrorNotice notice) {
  if (starting_.size() > max_logins_ / 2 + 1) {
    count(self, result, notice.message);
    co_return;
  }
  co_await refuse(self, result, std::move(notice));
}

asio::awaitable<bool> StartupPhase::take_place(Starting& self) {
  if (make_room()) co_return true;
  ErrorNotice notice{"53300", "too many logins are under way", "", "try again later"};
  co_await refuse(self, AcceptResult::login_limit, std::move(notice));
  co_return false;
}

asio::awaitable<bool> StartupPhase::receive_proxy_header(Starting& self) {
  if (!is_allowed(self.peer, settings_.listeners[self.listener].proxy_trusted)) {
    ErrorNotice notice{"28000",
                       "connection refused: this listener takes connections through its balancers "
                       "only, and " +
                           self.client.address + " is none of them",
                       "",
                       "connect to the balancer, or add it to the listener's \"proxy_trusted\""};
    co_await turn_away(self, AcceptResult::proxy_header, std::move(notice));
    co_return false;
  }
  const bool placed = co_await take_place(self);
  if (!placed) co_return false;

  std::string header;
  for (;;) {
    const auto missing = proxy_header_missing(std::as_bytes(std::span{header}));
    if (!missing) {
      ErrorNotice notice{missing.error().sqlstate, missing.error().message, "",
                         "the balancer has to send one to this listener (HAProxy: send-proxy-v2)"};
      co_await refuse(self, AcceptResult::proxy_header, std::move(notice));
      co_return false;
    }
    if (*missing == 0) break;
    const std::size_t had = header.size();
    header.resize(had + *missing);
    const ReadSome read =
        co_await read_exactly(self.connection, nullptr, std::span{header}.subspan(had));
    if (!read.error) continue;
    if (self.gave_up) {
      count(self, *self.gave_up, "no whole PROXY protocol header");
    } else if (had + read.size == 0) {
      count(self, AcceptResult::client_gone, {});  // a balancer's probe
    } else {
      count(self, AcceptResult::proxy_header, "the PROXY protocol header is cut short");
    }
    co_return false;
  }
  const auto parsed = parse_proxy_header(std::as_bytes(std::span{header}));
  if (!parsed) {
    ErrorNotice notice{parsed.error().sqlstate, parsed.error().message, "", ""};
    co_await refuse(self, AcceptResult::proxy_header, std::move(notice));
    co_return false;
  }
  self.via = to_text(self.client);
  self.origin = origin_of(*parsed, self.peer);
  self.client = to_endpoint(self.origin.address);
  co_return true;
}

asio::awaitable<bool> StartupPhase::begins_with_tls(Starting& self) {
  for (;;) {
    char first = '\0';
    if (::recv(self.connection.fd(), &first, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
      co_return first == handshake_record;
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) co_return false;
    const auto error = co_await self.connection.wait(Connection::Wait::input);
    if (error) co_return false;
  }
}

asio::awaitable<bool> StartupPhase::begin_direct_tls(Starting& self) {
  const bool begins = co_await begins_with_tls(self);
  if (!begins) co_return true;  // whatever it is, reading shows
  const bool secured = co_await secure(self);
  if (!secured) co_return false;
  if (self.tls->application_protocol() == postgresql_protocol) co_return true;
  // Else what is meant for another protocol could be made to arrive here (ALPACA).
  ErrorNotice notice{"08P01",
                     "received direct SSL connection request without ALPN protocol negotiation "
                     "extension",
                     "", "ask for TLS with SSLRequest, or offer the protocol \"postgresql\""};
  co_await refuse(self, AcceptResult::tls_error, std::move(notice));
  co_return false;
}

asio::awaitable<bool> StartupPhase::secure(Starting& self) {
  self.tls = self.listener_tls->accept(self.connection.fd());
  const Handshake made = co_await handshake(self.connection, *self.tls);
  if (made.error.empty()) co_return true;
  count(self, self.gave_up.value_or(AcceptResult::tls_error), "TLS: " + made.error);
  co_return false;
}

asio::awaitable<std::optional<protocol::StartupPacket>> StartupPhase::receive(Starting& self) {
  bool asked_ssl = false;
  bool asked_gss = false;
  for (;;) {
    std::string message(shortest_message, '\0');
    const ReadSome head = co_await read_exactly(self.connection, self.tls.get(), message);
    boost::system::error_code error = head.error;
    const std::size_t got = head.size;
    if (!error) {
      const auto length =
          protocol::first_message_length(std::as_bytes(std::span{message}).first<4>());
      if (!length) {
        // No server answers such a thing (an HTTP request, say).
        count(self, AcceptResult::protocol_error, length.error().message);
        co_return std::nullopt;
      }
      message.resize(*length);
      const std::span<char> behind = std::span{message}.subspan(shortest_message);
      const ReadSome rest = co_await read_exactly(self.connection, self.tls.get(), behind);
      error = rest.error;
    }
    if (error) {
      const AcceptResult why = self.gave_up.value_or(AcceptResult::client_gone);
      if (why == AcceptResult::login_timeout) {
        ErrorNotice notice{"08006", "canceling authentication due to timeout",
                           "no complete startup packet within the listener's login_timeout", ""};
        co_await refuse(self, why, std::move(notice));
      } else {
        // A probe that connects and goes without a word, as load balancers send by the second, is
        // counted only.
        const bool probe = got == 0 && why == AcceptResult::client_gone;
        count(self, why, probe ? std::string{} : error.message());
      }
      co_return std::nullopt;
    }

    auto parsed = protocol::parse_first_message(std::as_bytes(std::span{message}));
    if (!parsed) {
      count(self, AcceptResult::protocol_error, parsed.error().message);
      std::string answer =
          protocol::startup_refusal(std::as_bytes(std::span{message}), parsed.error());
      if (!answer.empty()) co_await say_and_close(self, std::move(answer));
      co_return std::nullopt;
    }
    if (auto* packet = std::get_if<protocol::StartupPacket>(&*parsed)) {
      self.silent = false;
      if (is_opaque(self)) {
        ErrorNotice notice{"28000",
                           "this listener passes TLS on to the server, and nothing in clear", "",
                           "set sslmode=require in this client, or better"};
        co_await refuse(self, AcceptResult::tls_error, std::move(notice));
        co_return std::nullopt;
      }
      if (must_be_secured(self)) {
        ErrorNotice notice{"28000", "this listener takes connections with TLS only", "",
                           "set sslmode=require in this client, or better"};
        co_await refuse(self, AcceptResult::tls_error, std::move(notice));
        co_return std::nullopt;
      }
      co_return std::move(*packet);
    }
    if (auto* request = std::get_if<protocol::CancelRequest>(&*parsed)) {
      co_await forward_cancel(self, std::move(request->key));
      co_return std::nullopt;
    }
    const bool ssl = std::holds_alternative<protocol::SslRequest>(*parsed);
    bool& asked = ssl ? asked_ssl : asked_gss;
    if (std::exchange(asked, true)) {
      ErrorNotice notice{"08P01", "encryption was already refused on this connection", "", ""};
      co_await refuse(self, AcceptResult::protocol_error, std::move(notice));
      co_return std::nullopt;
    }
    const bool opaque = ssl && is_opaque(self);
    const bool yes = opaque || (ssl && self.listener_tls != nullptr && self.tls == nullptr);
    if (yes && unread_bytes(self.connection.fd()) > 0) {
      // Whoever stands between could have put them there, to be taken for the client's own words
      // behind the handshake (CVE-2021-23214).
      ErrorNotice notice{"08P01", "received unencrypted data after SSL request",
                         "This could be either a client-software bug or evidence of an attempted "
                         "man-in-the-middle attack.",
                         ""};
      co_await refuse(self, AcceptResult::protocol_error, std::move(notice));
      co_return std::nullopt;
    }
    if (opaque) {
      co_await pass_through(self, true);
      co_return std::nullopt;
    }
    const auto unsent = co_await write_all(self.connection, self.tls.get(), yes ? "S" : "N");
    if (unsent) {
      count(self, self.gave_up.value_or(AcceptResult::client_gone), unsent.message());
      co_return std::nullopt;
    }
    if (yes) {
      const bool secured = co_await secure(self);
      if (!secured) co_return std::nullopt;
    }
  }
}

asio::awaitable<void> StartupPhase::forward_cancel(Starting& self, protocol::CancelKey key) {
  self.silent = false;
  count(self, AcceptResult::cancel_request, {});
  // Other workers answer to the io_context.
  const LoopShare::Flow flow{share_};
  // The connection stays open until the server closed its side: libpq takes that for "signal sent".
  (void)co_await links_.forward_cancel(std::move(key), self.listener, cancels_, upstream_);
  if (self.tls == nullptr || !self.connection.is_open()) co_return;
  const protocol::Bytes last = self.tls->close_notify();
  (void)!::send(self.connection.fd(), last.data(), last.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool StartupPhase::must_be_secured(const Starting& self) noexcept {
  return self.listener_tls != nullptr && self.tls == nullptr &&
         self.listener_tls->settings.mode == config::ListenerTlsMode::require;
}

asio::awaitable<void> StartupPhase::refuse(Starting& self, AcceptResult result,
                                           ErrorNotice notice) {
  count(self, result, notice.detail.empty() ? notice.message : notice.detail);
  std::string bytes = protocol::error_response({.sqlstate = notice.sqlstate,
                                                .message = notice.message,
                                                .detail = notice.detail,
                                                .hint = notice.hint});
  co_await say_and_close(self, std::move(bytes));
}

asio::awaitable<void> StartupPhase::say_and_close(Starting& self, std::string bytes) {
  // One that was refused and stays makes room for others as one that says nothing does.
  self.silent = true;
  self.gave_up.reset();
  self.deadline = monotonic_now() + refusal_time;
  const auto unsent = co_await write_all(self.connection, self.tls.get(), bytes);
  if (unsent) co_return;
  if (self.tls != nullptr) {
    const protocol::Bytes last = self.tls->close_notify();
    (void)!::send(self.connection.fd(), last.data(), last.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  ::shutdown(self.connection.fd(), SHUT_WR);
  // Reading to the end lets the client see the message: a close over unread bytes would reset it
  // away.
  std::array<char, 1024> dropped{};
  for (std::size_t total = 0; total < 64 * dropped.size();) {
    const ReadSome read = co_await read_some(self.connection, dropped);
    if (read.error) break;
    total += read.size;
  }
}

}  // namespace pgleash::proxy
