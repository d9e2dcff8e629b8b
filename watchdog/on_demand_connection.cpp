#include "watchdog/on_demand_connection.hpp"

#include "watchdog/clock.hpp"

#include <utility>

namespace pgleash::watchdog {

OnDemandConnection::OnDemandConnection(boost::asio::any_io_executor executor,
                                       const config::Server& server, std::string application_name)
    : server_(server),
      application_name_(std::move(application_name)),
      executor_(executor),
      turnstile_(executor),
      idle_(std::make_shared<boost::asio::steady_timer>(executor)) {}

OnDemandConnection::~OnDemandConnection() {
  close();
}

Task<PgResult<PgRows>> OnDemandConnection::run(std::string name,
                                               std::variant<std::string, SqlOfVersion> sql,
                                               PgParameters parameters, Instant deadline) {
  const auto turn = co_await turnstile_.enter(deadline);
  if (!turn)
    co_return PgError{PgError::Kind::timeout, {}, "other statements took all the time", name};
  idle_->expires_at(Instant::max());
  if (!connection_ || !connection_->alive()) {
    prepared_.clear();
    connection_ = std::make_unique<PgConnection>(executor_);
    if (auto error =
            co_await connection_->open(monitor_endpoint(server_, application_name_), deadline))
      co_return std::move(*error);
  }
  if (!prepared_.contains(name)) {
    const auto* by_version = std::get_if<SqlOfVersion>(&sql);
    std::string text = by_version != nullptr ? (*by_version)(connection_->server_version())
                                             : std::get<std::string>(std::move(sql));
    if (auto done = co_await connection_->prepare(name, std::move(text), deadline); !done)
      co_return done.error();
    prepared_.insert(name);
  }
  auto rows = co_await connection_->execute(std::move(name), std::move(parameters), deadline);
  keep_for_a_while();
  co_return rows;
}

void OnDemandConnection::keep_for_a_while() {
  idle_->expires_after(kept);
  idle_->async_wait([this, idle = std::weak_ptr{idle_}](boost::system::error_code cancelled) {
    const auto timer = idle.lock();
    if (cancelled || !timer || timer->expiry() > watchdog::now())
      return;  // in use again, though it had expired
    connection_.reset();
  });
}

void OnDemandConnection::close() {
  idle_->cancel();
  if (connection_) connection_->close();
}

std::optional<protocol::BackendPid> OnDemandConnection::pid() const noexcept {
  if (!connection_ || !connection_->alive()) return std::nullopt;
  return connection_->pid();
}

}  // namespace pgleash::watchdog
