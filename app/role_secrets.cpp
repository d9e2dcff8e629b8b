#include "app/role_secrets.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <utility>

namespace pgleash::app {

namespace asio = boost::asio;
using proxy::VerifierAnswer;

namespace {

/// On the control thread.
asio::awaitable<VerifierAnswer> ask(
    const std::vector<std::unique_ptr<watchdog::Watchdog>>& watchdogs, std::string server,
    std::string user, Instant deadline) {
  VerifierAnswer answer;
  for (const auto& watchdog : watchdogs) {
    if (watchdog->server().name != server) continue;
    const auto secret = co_await watchdog->scram_verifier(std::move(user), deadline);
    if (!secret) co_return answer;
    answer.kind = secret->empty() ? VerifierAnswer::Kind::none : VerifierAnswer::Kind::found;
    answer.verifier = *secret;
    co_return answer;
  }
  co_return answer;
}

}  // namespace

asio::awaitable<VerifierAnswer> RoleSecrets::verifier(std::string server, std::string user,
                                                      Instant deadline) {
  const auto start = [this](auto handler, asio::awaitable<VerifierAnswer> what) {
    asio::co_spawn(control_, std::move(what), std::move(handler));
  };
  auto asked = asio::async_initiate<const asio::use_awaitable_t<>&,
                                    void(std::exception_ptr, VerifierAnswer)>(
      start, asio::use_awaitable, ask(watchdogs_, std::move(server), std::move(user), deadline));
  co_return co_await std::move(asked);
}

}  // namespace pgleash::app
