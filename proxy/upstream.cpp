#include "proxy/upstream.hpp"

#include "config/words.hpp"
#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstring>
#include <optional>

namespace pgleash::proxy {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

asio::awaitable<Upstream::Resolved> Upstream::resolve(const config::Server& server,
                                                      Instant deadline) {
  Resolved result;
  const config::Address& address = server.address;
  if (address.is_unix) {
    result.endpoints.emplace_back(
        asio::local::stream_protocol::endpoint{unix_socket_path(address)});
    co_return result;
  }
  boost::system::error_code no_literal;
  const auto literal = asio::ip::make_address(address.host, no_literal);
  if (!no_literal) {
    result.endpoints.emplace_back(asio::ip::tcp::endpoint{literal, address.port});
    co_return result;
  }
  const Instant now = monotonic_now();
  if (const auto known = names_.find(server.name);
      known != names_.end() && now < known->second.until) {
    result.endpoints = known->second.endpoints;
    co_return result;
  }
  // getaddrinfo() knows no deadline, so the coroutine waits for a timer which the answer cuts
  // short; an answer that comes too late finds nobody waiting.
  struct Lookup {
    explicit Lookup(asio::io_context& context, Instant when)
        : resolver(context), timer(context, when) {}
    asio::ip::tcp::resolver resolver;
    asio::steady_timer timer;
    boost::system::error_code error;
    std::vector<StreamProtocol::endpoint> endpoints;
    bool answered = false;
  };
  const LoopShare::Flow flow{share_};
  auto lookup = std::make_shared<Lookup>(events_.context(), deadline);
  lookup->resolver.async_resolve(address.host, std::to_string(address.port),
                                 asio::ip::resolver_base::numeric_service,
                                 [lookup](const boost::system::error_code& error,
                                          const asio::ip::tcp::resolver::results_type& found) {
                                   lookup->answered = true;
                                   lookup->error = error;
                                   for (const auto& entry : found)
                                     lookup->endpoints.emplace_back(entry.endpoint());
                                   lookup->timer.cancel();
                                 });
  if (!lookup->answered) (void)co_await lookup->timer.async_wait(as_result);
  if (!lookup->answered || lookup->error) {
    result.error =
        "cannot resolve \"" + address.host +
        "\": " + (lookup->answered ? lookup->error.message() : "no answer within connect_timeout");
    co_return result;
  }
  result.endpoints = std::move(lookup->endpoints);
  names_[server.name] = {result.endpoints, now + name_ttl};
  co_return result;
}

asio::awaitable<CancelTarget> Upstream::target(std::size_t index) {
  CancelTarget result;
  const config::Server& server = settings_.servers[index];
  // In clear a server takes it as well; a key that must not be seen goes where TLS is a must.
  const auto tls = settings_.server_tls(index);
  if (tls != nullptr && tls->settings.mode >= config::SslMode::require) result.tls = tls;
  const Resolved where = co_await resolve(server, monotonic_now() + server.connect_timeout);
  if (where.endpoints.empty()) co_return result;
  const StreamProtocol::endpoint& first = where.endpoints.front();
  std::memcpy(&result.address, first.data(), first.size());
  result.size = static_cast<socklen_t>(first.size());
  co_return result;
}

asio::awaitable<UpstreamResult> Upstream::connect(std::size_t index) {
  const config::Server& server = settings_.servers[index];
  const Instant deadline = monotonic_now() + server.connect_timeout;
  auto tls = settings_.server_tls(index);
  const bool allow = tls != nullptr && tls->settings.mode == config::SslMode::allow;
  if (tls == nullptr || allow) {
    bool unused = false;
    UpstreamResult result = co_await dial(server, deadline, nullptr, unused);
    result.may_be_refused = allow;
    co_return result;
  }
  co_return co_await secured(index, deadline, std::move(tls));
}

asio::awaitable<UpstreamResult> Upstream::connect_clear(std::size_t index) {
  const config::Server& server = settings_.servers[index];
  bool unused = false;
  co_return co_await dial(server, monotonic_now() + server.connect_timeout, nullptr, unused);
}

asio::awaitable<UpstreamResult> Upstream::connect_secured(std::size_t index) {
  const Instant deadline = monotonic_now() + settings_.servers[index].connect_timeout;
  co_return co_await secured(index, deadline, settings_.server_tls(index));
}

asio::awaitable<UpstreamResult> Upstream::secured(std::size_t index, Instant deadline,
                                                  std::shared_ptr<const ServerTlsContext> tls) {
  const config::Server& server = settings_.servers[index];
  const bool may_be_clear = tls->settings.mode == config::SslMode::prefer;
  bool unwilling = may_be_clear && monotonic_now() < unwilling_until_[index];
  if (unwilling) co_return co_await dial(server, deadline, nullptr, unwilling);

  UpstreamResult result = co_await dial(server, deadline, tls, unwilling);
  if (result.fd.open() && result.tls == nullptr) {  // it said N, and goes on in clear
    if (may_be_clear) {
      unwilling_until_[index] = monotonic_now() + unwilling_ttl;
      co_return result;
    }
    result.fd.close();
    result.error = "the server does not speak TLS, and tls is \"" +
                   std::string{config::word_for(config::ssl_mode_words, tls->settings.mode)} + '"';
    co_return result;
  }
  if (!result.fd.open() && may_be_clear && result.tls_failed) {
    // As libpq does: "prefer" promises nothing, and a handshake that fails is no reason to stay
    // out.
    co_return co_await dial(server, deadline, nullptr, unwilling);
  }
  co_return result;
}

asio::awaitable<UpstreamResult> Upstream::dial(const config::Server& server, Instant deadline,
                                               std::shared_ptr<const ServerTlsContext> tls,
                                               bool& unwilling) {
  UpstreamResult result;
  Resolved where = co_await resolve(server, deadline);
  if (!where.error.empty()) {
    result.error = std::move(where.error);
    co_return result;
  }
  std::string last = "no address";
  for (const StreamProtocol::endpoint& endpoint : where.endpoints) {
    Connection connection{events_};
    std::optional<Deadline<Connection>> guard;
    boost::system::error_code failed = connection.connect(endpoint);
    const bool under_way = failed == asio::error::in_progress;
    if (under_way || tls != nullptr) guard.emplace(connection, deadline);
    if (under_way) {
      failed = co_await connection.connected();
    }
    const auto expired = [&guard] { return guard && guard->expired(); };
    if (!failed && tls != nullptr) {
      Secured made = co_await secure_server_leg(connection, tls);
      unwilling = made.unwilling;
      if (made.error.empty()) {
        result.tls = std::move(made.stream);
        if (result.tls != nullptr) result.context = tls;
      } else {
        result.tls_failed = !expired();
        if (expired()) made.error = "no answer within connect_timeout";
        result.error = "cannot connect to " + to_text(server.address) + ": " + made.error;
        co_return result;
      }
    }
    if (!failed) {
      result.fd = connection.release();
      set_leg_options(result.fd.get(), server.keepalive);
      co_return result;
    }
    last = expired() ? "no answer within connect_timeout" : failed.message();
    if (expired()) break;
  }
  names_.erase(server.name);
  result.error = "cannot connect to " + to_text(server.address) + ": " + last;
  co_return result;
}

}  // namespace pgleash::proxy
