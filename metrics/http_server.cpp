#include "metrics/http_server.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <list>
#include <system_error>
#include <utility>

namespace pgleash::metrics {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
/// After a failed accept: descriptors come back only when sessions end.
constexpr std::chrono::milliseconds accept_pause{100};

std::string text_of(std::string_view host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string_view::npos;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

std::string text_of(const tcp::endpoint& endpoint) {
  return text_of(endpoint.address().to_string(), endpoint.port());
}

[[noreturn]] void cannot_listen(const error_code& error, const config::Address& address) {
  throw std::system_error{
      error, fmt::format("cannot listen for HTTP on {}", text_of(address.host, address.port))};
}

std::vector<tcp::endpoint> resolve(asio::io_context& context, const config::Address& address) {
  if (address.is_unix) {
    cannot_listen(asio::error::address_family_not_supported, address);
  }
  error_code error;
  const auto literal = asio::ip::make_address(address.host, error);
  if (!error) {
    return {{literal, address.port}};
  }
  tcp::resolver resolver{context};
  const auto results =
      resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
  if (error) {
    cannot_listen(error, address);
  }
  std::vector<tcp::endpoint> endpoints;
  for (const auto& result : results) {
    if (std::find(endpoints.begin(), endpoints.end(), result.endpoint()) == endpoints.end()) {
      endpoints.push_back(result.endpoint());
    }
  }
  return endpoints;
}

tcp::acceptor open(asio::io_context& context, const tcp::endpoint& endpoint, error_code& error) {
  tcp::acceptor acceptor{context};
  acceptor.open(endpoint.protocol(), error);
  if (!error) {
    acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
  }
  if (!error) {
    acceptor.bind(endpoint, error);
  }
  if (!error) {
    acceptor.listen(asio::socket_base::max_listen_connections, error);
  }
  return acceptor;
}

/// A host without IPv6 still has "localhost" name ::1: no reason not to start.
bool family_missing(const error_code& error) {
  return error == asio::error::address_family_not_supported ||
         error == boost::system::errc::address_not_available;
}

}  // namespace

/// Shared by the server and its coroutines, each of which may be the last to go.
struct HttpServer::State {
  State(asio::io_context& io, GetPage page, HttpEvents& listener, HttpLimits bounds)
      : context(io), get_page(std::move(page)), events(&listener), limits(bounds) {}

  [[nodiscard]] Reply page(std::string_view target) noexcept;
  void close_acceptors();
  void one_less();
  [[nodiscard]] bool all_gone() const { return connections.empty() && accepting == 0; }

  asio::io_context& context;
  GetPage get_page;    ///< empty once the server is destroyed
  HttpEvents* events;  ///< null then
  HttpLimits limits;
  HttpAccess access;
  const Reply failed_page = plain_reply(500, "this page failed\n");  ///< made while there is memory
  std::list<tcp::acceptor> acceptors;
  std::list<HttpConnection> connections;
  std::size_t accepting = 0;           ///< accept loops
  asio::steady_timer* gone = nullptr;  ///< stop() waits on it for the last coroutine

  /// stop() may die with the context while it waits.
  struct ForgetGone {
    State& state;
    ~ForgetGone() { state.gone = nullptr; }
  };
  class Accepting;
  static Task<void> accept(Accepting accepting, tcp::acceptor& acceptor);
  static void admit(const std::shared_ptr<State>& state, tcp::socket socket);
  class Place;
  static Task<void> serve(Place place);
  static void spawn(const std::shared_ptr<State>& state, Task<void> task);
};

/// Counts an accept loop for as long as its coroutine lives.
class HttpServer::State::Accepting {
 public:
  explicit Accepting(std::shared_ptr<State> state) : state_(std::move(state)) {
    ++state_->accepting;
  }
  Accepting(Accepting&&) noexcept = default;
  Accepting& operator=(Accepting&&) = delete;
  ~Accepting() {
    if (state_) {
      --state_->accepting;
      state_->one_less();
    }
  }
  [[nodiscard]] const std::shared_ptr<State>& state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

/// A connection's place in the list, for as long as its coroutine lives.
class HttpServer::State::Place {
 public:
  Place(std::shared_ptr<State> state, tcp::socket socket) : state_(std::move(state)) {
    at_ = state_->connections.emplace(state_->connections.end(), std::move(socket), state_->limits,
                                      state_->access);
  }
  Place(Place&& from) noexcept : state_(std::move(from.state_)), at_(from.at_) {}
  Place& operator=(Place&&) = delete;
  ~Place() {
    if (state_) {
      state_->connections.erase(at_);
      state_->one_less();
    }
  }
  [[nodiscard]] HttpConnection& connection() const { return *at_; }
  [[nodiscard]] State& state() const { return *state_; }

 private:
  std::shared_ptr<State> state_;
  std::list<HttpConnection>::iterator at_;
};

Reply HttpServer::State::page(std::string_view target) noexcept {
  const auto failed = [this](std::string_view why) {
    if (events != nullptr) {
      events->page_failed(why);
    }
    return failed_page;
  };
  try {
    return get_page(target);
  } catch (const std::exception& error) {
    return failed(error.what());
  } catch (...) {
    return failed("unknown exception");
  }
}

void HttpServer::State::close_acceptors() {
  for (auto& acceptor : acceptors) {
    error_code ignored;
    acceptor.close(ignored);
  }
}

void HttpServer::State::one_less() {
  if (gone != nullptr && all_gone()) {
    gone->cancel();
  }
}

Task<void> HttpServer::State::accept(Accepting accepting, tcp::acceptor& acceptor) {
  State& state = *accepting.state();
  error_code unnamed;
  const std::string address = text_of(acceptor.local_endpoint(unnamed));
  bool failing = false;
  while (acceptor.is_open()) {
    auto [error, socket] = co_await acceptor.async_accept(as_result);
    if (!error) {
      failing = false;
      admit(accepting.state(), std::move(socket));
      continue;
    }
    if (!acceptor.is_open() || error == asio::error::connection_aborted) {
      continue;
    }
    if (!std::exchange(failing, true) && state.events != nullptr) {
      state.events->accept_failed(address, error.message());
    }
    asio::steady_timer pause{state.context, accept_pause};
    co_await pause.async_wait(as_result);
  }
}

/// Never throws: for want of memory one connection is lost, not the accept loop.
void HttpServer::State::admit(const std::shared_ptr<State>& state, tcp::socket socket) {
  if (state->connections.size() >= state->limits.connections) {
    return;
  }
  try {
    spawn(state, serve(Place{state, std::move(socket)}));
  } catch (const std::exception& error) {
    if (state->events != nullptr) {
      state->events->page_failed(error.what());
    }
  }
}

Task<void> HttpServer::State::serve(Place place) {
  State& state = place.state();
  const GetPage get_page = [&state](std::string_view target) { return state.page(target); };
  co_await place.connection().serve(get_page);
}

void HttpServer::State::spawn(const std::shared_ptr<State>& state, Task<void> task) {
  asio::co_spawn(state->context, std::move(task), [state](const std::exception_ptr& failure) {
    if (!failure || state->events == nullptr) {
      return;
    }
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      state->events->page_failed(error.what());
    } catch (...) {
      state->events->page_failed("unknown exception");
    }
  });
}

HttpServer::HttpServer(asio::io_context& context, GetPage get_page, HttpEvents& events,
                       HttpLimits limits)
    : state_(std::make_shared<State>(context, std::move(get_page), events, limits)) {}

HttpServer::~HttpServer() {
  state_->close_acceptors();
  for (auto& connection : state_->connections) {
    connection.close();
  }
  state_->get_page = [](std::string_view) { return plain_reply(503, "stopped\n"); };
  state_->events = nullptr;
}

void HttpServer::ask_for(HttpAccess access) {
  state_->access = std::move(access);
}

void HttpServer::listen(const config::Address& address) {
  std::list<tcp::acceptor> opened;
  error_code missing;
  for (const tcp::endpoint& endpoint : resolve(state_->context, address)) {
    error_code error;
    auto acceptor = open(state_->context, endpoint, error);
    if (!error) {
      opened.push_back(std::move(acceptor));
    } else if (family_missing(error)) {
      missing = error;
    } else {
      cannot_listen(error, address);
    }
  }
  if (opened.empty()) {
    cannot_listen(missing ? missing : error_code{asio::error::host_not_found}, address);
  }
  const auto first = opened.begin();
  state_->acceptors.splice(state_->acceptors.end(), opened);
  for (auto acceptor = first; acceptor != state_->acceptors.end(); ++acceptor) {
    State::spawn(state_, State::accept(State::Accepting{state_}, *acceptor));
  }
}

std::vector<tcp::endpoint> HttpServer::endpoints() const {
  std::vector<tcp::endpoint> endpoints;
  for (const auto& acceptor : state_->acceptors) {
    error_code closed;
    const auto endpoint = acceptor.local_endpoint(closed);
    if (!closed) {
      endpoints.push_back(endpoint);
    }
  }
  return endpoints;
}

std::size_t HttpServer::connection_count() const noexcept {
  return state_->connections.size();
}

Task<void> HttpServer::stop() {
  const auto state = state_;
  state->close_acceptors();
  for (auto& connection : state->connections) {
    connection.finish();
  }
  asio::steady_timer gone{state->context};
  state->gone = &gone;
  const State::ForgetGone forget{*state};
  if (!state->all_gone()) {
    gone.expires_after(state->limits.stop_deadline);
    co_await gone.async_wait(as_result);
  }
  for (auto& connection : state->connections) {
    connection.close();
  }
  while (!state->all_gone()) {  // what was closed ends within the next turns
    gone.expires_after(state->limits.stop_deadline);
    co_await gone.async_wait(as_result);
  }
}

}  // namespace pgleash::metrics
