#include "proxy/upstream.hpp"

#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstring>

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
  auto lookup = std::make_shared<Lookup>(context_, deadline);
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

asio::awaitable<CancelTarget> Upstream::target(const config::Server& server) {
  CancelTarget result;
  const Resolved where = co_await resolve(server, monotonic_now() + server.connect_timeout);
  if (where.endpoints.empty()) co_return result;
  const StreamProtocol::endpoint& first = where.endpoints.front();
  std::memcpy(&result.address, first.data(), first.size());
  result.size = static_cast<socklen_t>(first.size());
  co_return result;
}

asio::awaitable<UpstreamResult> Upstream::connect(const config::Server& server) {
  const Instant deadline = monotonic_now() + server.connect_timeout;
  Resolved where = co_await resolve(server, deadline);
  if (!where.error.empty()) co_return UpstreamResult{{}, where.error};
  std::string last = "no address";
  for (const StreamProtocol::endpoint& endpoint : where.endpoints) {
    Socket socket{context_};
    const SocketDeadline guard{socket, deadline};
    const auto [error] = co_await socket.async_connect(endpoint, as_result);
    if (!error) {
      boost::system::error_code failed;
      Fd fd{socket.release(failed)};
      if (failed) co_return UpstreamResult{{}, failed.message()};
      set_leg_options(fd.get(), server.keepalive);
      co_return UpstreamResult{std::move(fd), {}};
    }
    last = guard.expired() ? "no answer within connect_timeout" : error.message();
    if (guard.expired()) break;
  }
  names_.erase(server.name);
  co_return UpstreamResult{{}, "cannot connect to " + to_text(server.address) + ": " + last};
}

}  // namespace pgleash::proxy
