#include "watchdog/scram_verifiers.hpp"

#include "watchdog/clock.hpp"

#include <utility>

namespace pgleash::watchdog {
namespace {

constexpr const char* verifier_sql = "SELECT pgleash.scram_verifier($1::pg_catalog.text)";
constexpr const char* statement = "scram_verifier";

}  // namespace

ScramVerifiers::ScramVerifiers(boost::asio::any_io_executor executor, const config::Server& server)
    : server_(server),
      executor_(executor),
      turnstile_(executor),
      idle_(std::make_shared<boost::asio::steady_timer>(executor)) {}

ScramVerifiers::~ScramVerifiers() {
  close();
}

Task<PgResult<std::string>> ScramVerifiers::of(std::string role, Instant deadline) {
  const auto turn = co_await turnstile_.enter(deadline);
  if (!turn)
    co_return PgError{PgError::Kind::timeout, {}, "other logins took all the time", statement};
  idle_->expires_at(Instant::max());
  auto failed = co_await make_ready(deadline);
  if (failed) co_return *std::move(failed);
  PgParameters parameters;
  parameters.add_text(std::move(role));
  const auto rows = co_await connection_->execute(statement, std::move(parameters), deadline);
  keep_for_a_while();
  if (!rows) co_return rows.error();
  co_return rows->size() == 1 ? std::string{rows->text(0, 0)} : std::string{};
}

Task<std::optional<PgError>> ScramVerifiers::make_ready(Instant deadline) {
  if (!connection_ || !connection_->alive()) {
    prepared_ = false;
    connection_ = std::make_unique<PgConnection>(executor_);
    auto failed = co_await connection_->open(monitor_endpoint(server_), deadline);
    if (failed) co_return failed;
  }
  if (prepared_) co_return std::nullopt;
  const auto done = co_await connection_->prepare(statement, verifier_sql, deadline);
  if (!done) co_return done.error();
  prepared_ = true;
  co_return std::nullopt;
}

void ScramVerifiers::keep_for_a_while() {
  idle_->expires_after(kept);
  idle_->async_wait([this, idle = std::weak_ptr{idle_}](boost::system::error_code cancelled) {
    const auto timer = idle.lock();
    if (cancelled || !timer || timer->expiry() > watchdog::now())
      return;  // in use again, though it had expired
    connection_.reset();
  });
}

void ScramVerifiers::close() {
  idle_->cancel();
  if (connection_) connection_->close();
}

std::optional<protocol::BackendPid> ScramVerifiers::pid() const noexcept {
  if (!connection_ || !connection_->alive()) return std::nullopt;
  return connection_->pid();
}

}  // namespace pgleash::watchdog
