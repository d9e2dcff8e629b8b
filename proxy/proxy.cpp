#include "proxy/proxy.hpp"

#include "proxy/clock.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace pgleash::proxy {

namespace asio = boost::asio;

namespace {

constexpr Duration cancel_time = std::chrono::seconds{10};

TlsContexts tls_of(const config::Config& config) {
  std::vector<config::Diagnostic> faults;
  auto made = make_tls(config, {}, faults);
  if (made) return std::move(*made);
  for (const config::Diagnostic& one : faults)
    if (one.severity == config::Severity::error) throw std::runtime_error(one.message);
  throw std::runtime_error("TLS cannot be set up");
}

unsigned worker_count(const config::Process& process) {
  if (process.workers != 0) return process.workers;
  // The kernel's share of the work, and whatever else runs here, needs the other half: on a machine
  // that is busy a worker more only makes every batch smaller and every wake dearer.
  return std::max(1U, std::thread::hardware_concurrency() / 2);
}

// Free functions, since a capturing lambda inside a co_await expression is destroyed twice by this
// compiler.
Task<std::vector<SessionView>> views_of(Worker& worker, std::string server) {
  co_return worker.sessions().views(server, monotonic_now());
}
Task<ViewChanges> changes_of(Worker& worker, std::string server, bool all) {
  co_return worker.sessions().changes(server, all, monotonic_now());
}
Task<std::optional<StatementEvidence>> evidence_of(Worker& worker, SessionId session) {
  co_return worker.sessions().evidence(session);
}

/// Runs it on the worker's thread, and rings once it was handed over.
template <class T>
Task<T> on_worker(Worker& worker, Task<T> task) {
  const auto start = [&worker](auto handler, Task<T> what) {
    asio::co_spawn(worker.executor(), std::move(what), std::move(handler));
    worker.ring();
  };
  auto done = asio::async_initiate<const asio::use_awaitable_t<>&, void(std::exception_ptr, T)>(
      start, asio::use_awaitable, std::move(task));
  co_return co_await std::move(done);
}

}  // namespace

Proxy::Proxy(const config::Config& config, ProxyEvents& events, InheritedSockets inherited,
             ConsoleDoor* door)
    : settings_(config, tls_of(config)), events_(events) {
  settings_.console_door = door;
  const unsigned count = worker_count(settings_.process);
  if (const std::string path = journal_path(settings_.process); !path.empty()) {
    journal_ =
        Journal::open(path, count, settings_.process.max_sessions, wall_now(), journal_problem_);
    settings_.journal = journal_.get();
    events_.journal(path, journal_ ? journal_->inherited().size() : 0, journal_problem_);
  }
  for (unsigned i = 0; i < count; ++i)
    workers_.push_back(std::make_unique<Worker>(static_cast<std::uint16_t>(i), count, settings_,
                                                events_, static_cast<ProxyLinks&>(*this)));
  for (std::size_t i = 0; i < settings_.listeners.size(); ++i)
    for (const config::Address& address : settings_.listeners[i].listen)
      listeners_.push_back(std::make_unique<Listener>(
          workers_.front()->set(), settings_.listeners[i], i, address, inherited.take(address),
          events_, [this](Accepted accepted) { place(std::move(accepted)); }));
  std::string unused;
  for (const std::string& one : inherited.left()) unused += (unused.empty() ? "" : ", ") + one;
  if (!unused.empty())
    throw std::runtime_error("no [[listener]] listens on the inherited socket " + unused +
                             ": write the address that the socket unit has");
}

void Proxy::reload(const config::Config& config) {
  settings_.reload(config);
  if (!settings_.quotas.configure(config.quotas)) return;
  // The first quota: who is in already counts too.
  for (const auto& worker : workers_) worker->count_sessions();
}

Proxy::~Proxy() {
  finish();
}

void Proxy::start() {
  for (const auto& worker : workers_) worker->start();
  asio::post(workers_.front()->executor(), [this] {
    for (const auto& listener : listeners_) listener->start();
  });
  accepting_ = true;
}

void Proxy::place(Accepted accepted) {
  const auto least =
      std::min_element(workers_.begin(), workers_.end(),
                       [](const auto& a, const auto& b) { return a->live() < b->live(); });
  // The first worker is who accepts.
  if (*least == workers_.front()) {
    (*least)->take(std::move(accepted));
  } else {
    (*least)->hand_over(std::move(accepted));
  }
}

std::uint32_t Proxy::total_live() const noexcept {
  std::uint32_t total = 0;
  for (const auto& worker : workers_) total += worker->live();
  return total;
}

std::vector<std::uint16_t> Proxy::ports() const {
  std::vector<std::uint16_t> all;
  for (const auto& listener : listeners_) all.push_back(listener->port());
  return all;
}

void Proxy::drain(Duration patience) {
  accepting_ = false;
  asio::post(workers_.front()->executor(), [this] {
    for (const auto& listener : listeners_) listener->stop();
  });
  workers_.front()->ring();
  const Instant deadline = monotonic_now() + patience;
  for (const auto& worker : workers_) worker->drain(deadline);
}

bool Proxy::drained() const noexcept {
  return std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->drained(); });
}

void Proxy::finish() {
  if (accepting_) drain(Duration::zero());
  for (const auto& worker : workers_) worker->finish();
  for (const auto& worker : workers_) worker->join();
}

JournalState Proxy::journal_state() const {
  if (journal_) return {true, {}, journal_->unrecorded()};
  return {false, journal_problem_, 0};
}

Worker* Proxy::owner(SessionId session) noexcept {
  const std::size_t index = number(session) >> 48U;
  return index < workers_.size() ? workers_[index].get() : nullptr;
}

Task<std::vector<SessionView>> Proxy::views(std::string server) {
  std::vector<SessionView> all;
  for (const auto& worker : workers_) {
    auto some = co_await on_worker(*worker, views_of(*worker, server));
    all.insert(all.end(), std::make_move_iterator(some.begin()),
               std::make_move_iterator(some.end()));
  }
  co_return all;
}

Task<ViewChanges> Proxy::changes(std::string server, bool all) {
  for (;;) {
    ViewChanges merged;
    merged.all = all;
    bool lost = false;
    for (const auto& worker : workers_) {
      ViewChanges some = co_await on_worker(*worker, changes_of(*worker, server, all));
      lost = lost || some.all != all;
      merged.changed.insert(merged.changed.end(), std::make_move_iterator(some.changed.begin()),
                            std::make_move_iterator(some.changed.end()));
      merged.gone.insert(merged.gone.end(), some.gone.begin(), some.gone.end());
    }
    if (!lost) co_return merged;
    all = true;  // a worker that lost count told all of its own: the others have to do so too
  }
}

Task<std::optional<StatementEvidence>> Proxy::evidence(SessionId session) {
  Worker* worker = owner(session);
  if (worker == nullptr) co_return std::nullopt;
  co_return co_await on_worker(*worker, evidence_of(*worker, session));
}

std::string Proxy::application_of(const SessionIdentity& who) const {
  std::string_view otherwise;
  for (const config::Listener& listener : settings_.listeners)
    if (listener.name == who.listener) otherwise = listener.application;
  return settings_.names()->resolve(
      {who.application_name, otherwise, who.client.address, who.user, who.database});
}

Task<KillReport> Proxy::carry_out(KillOrder order) {
  Worker* worker = owner(order.session);
  if (worker == nullptr) co_return KillReport{};
  co_return co_await on_worker(*worker, worker->killer().carry_out(std::move(order)));
}

asio::awaitable<CancelResult> Proxy::forward_cancel(protocol::CancelKey key, std::size_t listener,
                                                    CancelSender& cancels, Upstream& upstream) {
  const Instant deadline = monotonic_now() + cancel_time;
  for (const auto& worker : workers_) {
    const auto done = co_await on_worker(*worker, worker->cancel_for_client(key, deadline));
    if (done) co_return *done;
  }
  // Another instance may own the session, and the server checks the key anyway.
  const CancelTarget target = co_await upstream.target(settings_.server_of[listener]);
  const std::function<bool()> always = [] { return true; };
  const CancelResult result = co_await cancels.send(target, std::move(key), deadline, always);
  co_return result;
}

}  // namespace pgleash::proxy
