#include "proxy/startup_phase.hpp"

#include "protocol/encode.hpp"
#include "proxy/clock.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <cstring>

namespace pgleash::proxy {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

namespace {

constexpr Duration refusal_time = std::chrono::seconds{2};
/// Every first message has at least this much; SSLRequest and GSSENCRequest have exactly this much.
constexpr std::size_t shortest_message = 8;
/// A client that said nothing for so long is in no hurry: established sessions go first again.
constexpr Duration hurry = std::chrono::milliseconds{100};

}  // namespace

/// One connection in this phase. Lives in its coroutine's frame; the list knows it for deadlines
/// and for making room.
struct StartupPhase::Starting {
  Starting(StartupPhase& phase, Accepted& accepted)
      : owner(phase),
        flow(std::in_place, phase.share_),
        socket(phase.context_),
        listener(accepted.listener),
        client(to_endpoint(accepted.peer)),
        peer(accepted.peer),
        accepted_at(accepted.at),
        deadline(accepted.at + phase.settings_.listeners[accepted.listener].login_timeout) {
    socket.assign(StreamProtocol{accepted.peer.ss_family, 0}, accepted.fd.release());
    place = owner.starting_.insert(owner.starting_.end(), this);
  }
  ~Starting() {
    owner.starting_.erase(place);
    owner.live_.fetch_sub(1, std::memory_order_relaxed);
  }
  Starting(const Starting&) = delete;
  Starting& operator=(const Starting&) = delete;

  void give_up(AcceptResult why) {
    gave_up = why;
    boost::system::error_code ignored;
    socket.cancel(ignored);  // NOLINT(bugprone-unused-return-value): the wait ends or has ended
  }

  StartupPhase& owner;
  std::optional<LoopShare::Flow> flow;  ///< while it waits for us rather than we for the client
  Socket socket;
  std::size_t listener;
  Endpoint client;
  sockaddr_storage peer;
  Instant accepted_at;
  Instant deadline;
  bool silent = true;  ///< no whole startup packet yet, or refused already: makes room for others
  std::optional<AcceptResult> gave_up;
  Entry place;
};

StartupPhase::StartupPhase(asio::io_context& context, const ProxySettings& settings,
                           SessionTable& sessions, Upstream& upstream, CancelSender& cancels,
                           ProxyEvents& events, std::vector<ListenerCounters>& listeners,
                           unsigned workers, std::atomic<std::uint32_t>& live, ProxyLinks& links,
                           LoopShare& share)
    : context_(context),
      settings_(settings),
      sessions_(sessions),
      upstream_(upstream),
      events_(events),
      listeners_(listeners),
      cancels_(cancels),
      live_(live),
      links_(links),
      share_(share),
      max_logins_(std::max<std::size_t>(1, settings.process.max_logins / std::max(1U, workers))) {}

void StartupPhase::begin(Accepted accepted) {
  if (stopped_) return;
  asio::co_spawn(context_, run(std::move(accepted)), [this](const std::exception_ptr& failure) {
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
    if (one->silent && now - one->accepted_at > hurry) one->flow.reset();
    if (now >= one->deadline && !one->gave_up) one->give_up(AcceptResult::login_timeout);
  }
  return !starting_.empty();
}

void StartupPhase::stop() {
  stopped_ = true;
  for (Starting* one : starting_)
    if (!one->gave_up) one->give_up(AcceptResult::draining);
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
  if (!why.empty())
    events_.refused(settings_.listeners[self.listener].name, self.client, result, why);
}

asio::awaitable<void> StartupPhase::run(Accepted accepted) {
  const config::Listener& listener = settings_.listeners[accepted.listener];
  set_leg_options(accepted.fd.get(), listener.keepalive);
  Starting self{*this, accepted};
  if (!is_allowed(self.peer, listener.allow)) {
    // Those that may not come must not take the places of those that may.
    if (starting_.size() > max_logins_ / 2 + 1) {
      count(self, AcceptResult::not_allowed, "not allowed on this listener");
      co_return;
    }
    ErrorNotice notice{
        "28000",
        "connection refused: address " + self.client.address + " is not allowed on this listener",
        "", "add its network to the listener's \"allow\""};
    co_await refuse(self, AcceptResult::not_allowed, std::move(notice));
    co_return;
  }
  if (!make_room()) {
    ErrorNotice notice{"53300", "too many logins are under way", "", "try again later"};
    co_await refuse(self, AcceptResult::login_limit, std::move(notice));
    co_return;
  }
  auto packet = co_await receive(self);
  if (!packet) co_return;
  co_await open_session(self, std::move(*packet));
}

asio::awaitable<std::optional<protocol::StartupPacket>> StartupPhase::receive(Starting& self) {
  bool asked_ssl = false;
  bool asked_gss = false;
  for (;;) {
    std::string message(shortest_message, '\0');
    auto [error, got] = co_await asio::async_read(self.socket, asio::buffer(message), as_result);
    if (!error) {
      const auto length =
          protocol::first_message_length(std::as_bytes(std::span{message}).first<4>());
      if (!length) {
        // No server answers such a thing (an HTTP request, say).
        count(self, AcceptResult::protocol_error, length.error().message);
        co_return std::nullopt;
      }
      message.resize(*length);
      auto [rest_error, rest] = co_await asio::async_read(
          self.socket,
          asio::buffer(message.data() + shortest_message, message.size() - shortest_message),
          as_result);
      error = rest_error;
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
    const char no = 'N';
    const auto [unsent, sent] =
        co_await asio::async_write(self.socket, asio::buffer(&no, 1), as_result);
    if (unsent) {
      count(self, self.gave_up.value_or(AcceptResult::client_gone), unsent.message());
      co_return std::nullopt;
    }
  }
}

asio::awaitable<void> StartupPhase::forward_cancel(Starting& self, protocol::CancelKey key) {
  self.silent = false;
  count(self, AcceptResult::cancel_request, {});
  // The connection stays open until the server closed its side: libpq takes that for "signal sent".
  (void)co_await links_.forward_cancel(std::move(key), self.listener, cancels_, upstream_);
}

asio::awaitable<void> StartupPhase::open_session(Starting& self, protocol::StartupPacket packet) {
  if (draining_) {
    ErrorNotice notice{"57P03", "pgleash is shutting down", "", "connect again"};
    co_await refuse(self, AcceptResult::draining, std::move(notice));
    co_return;
  }
  if (links_.total_live() > settings_.process.max_sessions) {
    ErrorNotice notice{"53300", "pgleash has no room for another session",
                       "max_sessions is " + std::to_string(settings_.process.max_sessions), ""};
    co_await refuse(self, AcceptResult::session_limit, std::move(notice));
    co_return;
  }
  const config::Listener& listener = settings_.listeners[self.listener];
  const config::Server& server = settings_.servers[settings_.server_of[self.listener]];
  NewSession session;
  session.who.listener = listener.name;
  session.who.server = server.name;
  session.who.client = self.client;
  session.who.application =
      settings_.names()->resolve({packet.application_name, listener.application,
                                  self.client.address, packet.user, packet.database});
  session.who.replication = packet.is_replication();
  session.who.user = std::move(packet.user);
  session.who.database = std::move(packet.database);
  session.who.application_name = std::move(packet.application_name);
  session.who.client_is_local = is_local(self.peer);
  session.who.pooler = listener.client_kind == config::ClientKind::pooler;
  session.who.connected = self.accepted_at;
  session.who.connected_at = wall_now();
  session.listener = self.listener;
  if (auto over = over_quota(session)) {
    ErrorNotice notice{over->sqlstate, over->message, over->detail, over->hint};
    co_await refuse(self, AcceptResult::quota, std::move(notice));
    co_return;
  }
  if (!self.flow) self.flow.emplace(share_);
  UpstreamResult upstream = co_await upstream_.connect(server);
  if (!upstream.fd.open()) {
    ErrorNotice notice{"08006", "pgleash could not reach server \"" + server.name + "\"",
                       upstream.error,
                       "check that the server runs and accepts connections from pgleash"};
    co_await refuse(self, AcceptResult::server_unreachable, std::move(notice));
    co_return;
  }
  // A fresh socket takes a startup packet whole; anything else is a broken connection.
  const ssize_t sent =
      ::send(upstream.fd.get(), packet.raw.data(), packet.raw.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(packet.raw.size())) {
    ErrorNotice notice{"08006", "pgleash lost the connection to server \"" + server.name + "\"",
                       std::strerror(errno), ""};
    co_await refuse(self, AcceptResult::server_unreachable, std::move(notice));
    co_return;
  }
  boost::system::error_code failed;
  Fd client{self.socket.release(failed)};
  if (failed || !client.open()) {
    count(self, AcceptResult::client_gone, failed.message());
    co_return;
  }

  session.client = std::move(client);
  session.who.leg = local_endpoint(upstream.fd.get());
  session.server = std::move(upstream.fd);
  (void)sessions_.adopt(std::move(session), monotonic_now());
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
  const auto [unsent, sent] =
      co_await asio::async_write(self.socket, asio::buffer(bytes), as_result);
  if (unsent) co_return;
  boost::system::error_code ignored;
  self.socket.shutdown(Socket::shutdown_send,
                       ignored);  // NOLINT(bugprone-unused-return-value): closed next anyway
  // Reading to the end lets the client see the message: a close over unread bytes would reset it
  // away.
  std::array<char, 1024> dropped{};
  for (std::size_t total = 0; total < 64 * dropped.size();) {
    const auto [error, got] =
        co_await self.socket.async_read_some(asio::buffer(dropped), as_result);
    if (error) break;
    total += got;
  }
}

}  // namespace pgleash::proxy
