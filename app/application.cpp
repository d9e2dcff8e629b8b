#include "app/application.hpp"

#include "app/page_access.hpp"
#include "app/reload.hpp"
#include "config/address.hpp"
#include "proxy/clock.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <pwd.h>
#include <random>
#include <set>
#include <signal.h>
#include <stdexcept>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

#ifndef PGLEASH_REVISION
#define PGLEASH_REVISION "unknown"
#endif

namespace pgleash::app {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
/// Descriptors beside the sessions': listeners, monitor, pages, logs, cancel requests.
constexpr rlim_t other_descriptors = 256;
/// What the end of pgleash waits for webhooks: little, the grace period is for sessions.
constexpr Duration webhook_patience = 2s;

bool is_remote(const config::Address& address) {
  return !address.is_unix && !config::is_loopback(address.host);
}

void refuse_the_servers_own_user(const config::Config& config) {
  const passwd* user = ::getpwuid(::geteuid());
  if (user == nullptr || std::string_view{user->pw_name} != "postgres") return;
  for (const config::Listener& listener : config.listeners)
    if (std::any_of(listener.listen.begin(), listener.listen.end(), is_remote))
      throw std::runtime_error(
          "pgleash must not run as the OS user postgres with a listener that others can reach: "
          "\"local … peer\" lines of pg_hba.conf would let them in as superuser. Run it as a user "
          "of "
          "its own, or listen on 127.0.0.1 or a Unix socket only");
}

watchdog::VerdictIds fresh_ids() {
  std::random_device random;
  return watchdog::VerdictIds{(std::uint64_t{random()} << 32U) | random()};
}

std::string agent() {
  return "pgleash/" PGLEASH_VERSION;
}

std::unique_ptr<watchdog::RuleEngine> compiled(const config::Config& config,
                                               std::vector<config::Diagnostic>& faults) {
  return watchdog::RuleEngine::compile(config.rules, config.protect, faults, fresh_ids(),
                                       config.enforcement.evidence_max_age);
}

}  // namespace

Application::Application(config::Config config, std::string file)
    : file_(std::move(file)),
      started_with_(std::make_shared<const config::Config>(std::move(config))),
      config_(started_with_),
      build_{PGLEASH_VERSION, PGLEASH_REVISION},
      started_(proxy::wall_now()),
      log_(config_->process.log_format),
      events_(log_),
      webhooks_(context_, events_),
      signals_(context_, SIGTERM, SIGINT, SIGHUP),
      left_out_timer_(context_),
      wake_(context_),
      console_(context_, *this),
      proxy_((refuse_the_servers_own_user(*config_), *config_), events_, ServiceManager::sockets(),
             &console_),
      secrets_(context_, watchdogs_),
      pages_(*this),
      http_(
          context_,
          [this](std::string_view target) { return pages_.get(target, proxy::monotonic_now()); },
          events_),
      status_pages_(*this),
      status_http_(context_,
                   [this](std::string_view target) {
                     return status_pages_.get(target, proxy::monotonic_now());
                   },
                   events_,
                   {.loopback_host_only =
                        config_->http.listen && config::is_loopback(config_->http.listen->host)}),
      manager_(context_,
               [this] { return pages_.get("/healthz", proxy::monotonic_now()).status == 200; }) {
  signals_.add(SIGUSR1);
  signals_.add(SIGUSR2);
  reloads_.last_success = started_;
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // LimitFSIZE=: a file that may not grow is a full disk, not the end
  raise_descriptor_limit();
  if (config_->audit.sink != config::AuditSink::off) {
    std::string problem;
    audit_ = watchdog::AuditLog::open(config_->audit, problem);
    if (!audit_) throw std::runtime_error("audit log: " + problem);
  }
  std::vector<config::Diagnostic> secret_faults;
  auto webhooks = notify::Webhooks::prepare(*config_, agent(), secret_faults);
  if (!webhooks) throw std::runtime_error(in_one_line(secret_faults.front()));
  webhooks_.take(std::move(*webhooks));
  events_.tell(webhooks_);
  if (config_->metrics.listen) http_.listen(*config_->metrics.listen);
  serve_status_page();
  for (const config::Server& server : started_with_->servers) {
    std::vector<config::Diagnostic> faults;
    auto engine = compiled(*config_, faults);
    if (!engine)
      throw std::runtime_error(faults.empty() ? "rules cannot be compiled"
                                              : config::render(faults.front(), false));
    watchdogs_.push_back(std::make_unique<watchdog::Watchdog>(
        context_, config_, server, std::move(engine), proxy_, audit_.get(), events_,
        watchdog::InstanceMark::random()));
  }
  if (config_->process.watch_config && !file_.empty()) watch_config();
  watch_certificates();
  open_console();
}

Application::~Application() = default;

void Application::serve_status_page() {
  if (!config_->http.listen) return;
  std::vector<config::Diagnostic> faults;
  auto tls = proxy::make_tls(*config_, {}, faults);
  auto access = tls ? page_access(config_->http, std::move(tls->page), faults) : std::nullopt;
  if (!access) throw std::runtime_error(in_one_line(faults.back()));
  status_http_.ask_for(std::move(*access));
  try {
    status_http_.listen(*config_->http.listen);
  } catch (const std::system_error& e) {
    if (config_->http != config::Http{}) throw;
    // Nobody asked for it by name, and another pgleash of this host has it: no reason not to serve.
    log_.write(Level::warning, "status_page.off", {{"why", e.what()}});
  }
}

void Application::raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = rlim_t{2} * config_->process.max_sessions + other_descriptors;
  if (limit.rlim_max < wanted)
    log_.write(
        Level::warning, "process.descriptor_limit",
        {{"limit", static_cast<std::uint64_t>(limit.rlim_max)},
         {"wanted", static_cast<std::uint64_t>(wanted)},
         {"fits_sessions", static_cast<std::uint64_t>(limit.rlim_max > other_descriptors
                                                          ? (limit.rlim_max - other_descriptors) / 2
                                                          : 0)},
         {"max_sessions", config_->process.max_sessions},
         {"why",
          "the hard limit on open files does not hold max_sessions; raise LimitNOFILE or lower "
          "max_sessions"}});
}

// ---------------------------------------------------------------- life

int Application::run() {
  proxy_.learn_secrets_from(secrets_);
  proxy_.start();
  manager_.ready(service_status());
  manager_.start();
  for (const auto& watchdog : watchdogs_) watchdog->start();
  on_signal();
  tell_left_out();
  int status = 0;
  asio::co_spawn(context_, live(), [this, &status](const std::exception_ptr& failure) {
    if (!failure) return;
    status = 1;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      events_.failure("control", e.what());
    }
    signals_.cancel();
    over_ = true;
    left_out_timer_.cancel();
  });
  // A handler that throws must not take the sessions down: report it and go on.
  for (;;) {
    try {
      context_.run();
      break;
    } catch (const std::exception& e) {
      events_.failure("control", e.what());
    }
  }
  events_.tell_left_out(true);
  log_.write(Level::info, "process.stopped", {{"status", status}});
  return status;
}

/// For `systemctl status`.
std::string Application::service_status() const {
  std::string status = config::name(config_->enforcement.mode) == std::string_view{"enforce"}
                           ? "enforcing "
                           : "observing ";
  status += std::to_string(config_->rules.size()) + " rules";
  if (!reloads_.last_successful) status += "; the changed configuration was refused, see the log";
  return status;
}

void Application::on_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    switch (signal) {
      case SIGHUP:
        (void)reload();
        break;
      case SIGUSR2:
        set_kill_switch(!paused_, "SIGUSR2");
        break;
      case SIGUSR1:
        if (audit_)
          asio::co_spawn(context_, audit_->reopen(),
                         [this](const std::exception_ptr& failure, bool done) {
                           const bool good = !failure && done;
                           log_.write(good ? Level::info : Level::error,
                                      good ? "audit.reopened" : "audit.reopen_failed", {});
                         });
        break;
      default:
        ++stop_signals_;
        interrupted_ = signal == SIGINT;
        wake_.cancel();
        break;
    }
    on_signal();
  });
}

void Application::tell_left_out() {
  left_out_timer_.expires_after(1s);
  left_out_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || over_) return;
    events_.tell_left_out(false);
    console_.tell_left_out(false);
    tell_left_out();
  });
}

// ---------------------------------------------------------------- changes

std::string Application::reload() {
  manager_.reloading();
  std::string refused = take_changes();
  manager_.ready(service_status());
  return refused;
}

std::string Application::take_changes() {
  if (file_.empty()) {
    ++reloads_.failures;
    constexpr const char* why =
        "started without a configuration file: there is nothing to read again";
    log_.write(Level::warning, "config.reload_refused", {{"why", why}});
    return why;
  }
  Reload read = read_again(*config_, file_);
  if (!read.config) return refuse_reload(read.faults);
  // All is compiled before anything is swapped: old and new, as the old one is run beside the new
  // one for a while.
  struct Engines {
    std::unique_ptr<watchdog::RuleEngine> now;
    std::unique_ptr<watchdog::RuleEngine> before;
  };
  std::vector<Engines> engines;
  for (std::size_t i = 0; i < watchdogs_.size(); ++i) {
    engines.push_back({compiled(*read.config, read.faults), compiled(*config_, read.faults)});
    if (!engines.back().now || !engines.back().before) return refuse_reload(read.faults);
  }

  auto tls = proxy::make_tls(*read.config, {}, read.faults);
  if (!tls) return refuse_reload(read.faults);
  auto access = page_access(read.config->http, std::move(tls->page), read.faults);
  if (!access) return refuse_reload(read.faults);
  auto webhooks = notify::Webhooks::prepare(*read.config, agent(), read.faults);
  if (!webhooks) return refuse_reload(read.faults);

  config_ = std::make_shared<const config::Config>(std::move(*read.config));
  for (std::size_t i = 0; i < watchdogs_.size(); ++i)
    watchdogs_[i]->reload(config_, std::move(engines[i].now), std::move(engines[i].before));
  proxy_.reload(*config_);
  proxy_.reload(std::move(*tls));
  status_http_.ask_for(std::move(*access));
  webhooks_.take(std::move(*webhooks));
  watch_certificates();
  if (audit_) audit_->set_statement_text(config_->audit.statement_text);
  ++reloads_.successes;
  reloads_.last_successful = true;
  reloads_.last_success = proxy::wall_now();

  std::string waits;
  for (const config::ChangedKey& one : read.changed) {
    if (one.needs_restart) waits += (waits.empty() ? "" : ", ") + one.key;
    log_.write(Level::info, "config.changed",
               {{"key", one.key},
                {"before", one.before},
                {"after", one.after},
                {"taken", !one.needs_restart}});
  }
  log_.write(
      waits.empty() ? Level::info : Level::warning, "config.reloaded",
      {{"changed", static_cast<std::uint64_t>(read.changed.size())}, {"needs_restart", waits}});
  return {};
}

void Application::watch_config() {
  try {
    watch_ = std::make_unique<ConfigWatch>(context_, file_, [this] { (void)reload(); });
  } catch (const std::system_error& e) {
    // SIGHUP works all the same: no reason not to serve.
    log_.write(Level::error, "config.watch_failed", {{"why", e.what()}});
  }
}

void Application::watch_certificates() {
  if (!config_->process.watch_config) return;
  for (const auto& watch : certificate_watches_) watch->stop();
  certificate_watches_.clear();
  std::set<std::string> files;
  for (const config::Listener& one : config_->listeners)
    files.insert(
        {one.tls.cert_file, one.tls.key_file, one.tls.client_ca_file, one.tls.client_crl_file});
  for (const config::Server& one : config_->servers)
    files.insert({one.tls.ca_file, one.tls.crl_file, one.tls.cert_file, one.tls.key_file});
  if (config_->http.listen)
    files.insert(
        {config_->http.token_file, config_->http.tls_cert_file, config_->http.tls_key_file});
  for (const std::string& file : files) {
    if (file.empty() || file == "system") continue;
    try {
      certificate_watches_.push_back(
          std::make_unique<ConfigWatch>(context_, file, [this] { reload_certificates(); }));
    } catch (const std::system_error& e) {
      log_.write(Level::error, "config.watch_failed", {{"why", e.what()}});
    }
  }
}

void Application::reload_certificates() {
  std::vector<config::Diagnostic> faults;
  auto tls = proxy::make_tls(*config_, {}, faults);
  auto access = tls ? page_access(config_->http, std::move(tls->page), faults) : std::nullopt;
  if (!access) tls.reset();
  for (const config::Diagnostic& fault : faults)
    log_.write(tls ? Level::warning : Level::error, tls ? "tls.warning" : "tls.reload_refused",
               {{"why", in_one_line(fault)}});
  if (!tls) return;  // the other half of a pair may be on its way: those before stay in force
  proxy_.reload(std::move(*tls));
  status_http_.ask_for(std::move(*access));
  log_.write(Level::info, "tls.reloaded", {});
}

std::string Application::refuse_reload(const std::vector<config::Diagnostic>& faults) {
  ++reloads_.failures;
  reloads_.last_successful = false;
  std::string first;
  for (const config::Diagnostic& fault : faults) {
    if (fault.severity != config::Severity::error) continue;
    if (first.empty()) first = in_one_line(fault);
    log_.write(Level::error, "config.reload_refused",
               {{"why", in_one_line(fault)}, {"in_force", "the configuration before it"}});
  }
  return first.empty() ? "it could not be read" : first;
}

void Application::set_kill_switch(bool paused, std::string_view who) {
  paused_ = paused;
  for (const auto& watchdog : watchdogs_) paused_ ? watchdog->pause() : watchdog->resume();
  const std::string by{who};
  if (paused_) {
    log_.write(Level::error, "enforcement.paused",
               {{"why", by + ": no rule ends anybody until enforcement is resumed"}});
  } else {
    log_.write(Level::warning, "enforcement.resumed",
               {{"why", by + ": rules act again, open fuses are reset"}});
  }
}

// ---------------------------------------------------------------- the console

void Application::open_console() {
  if (config_->console.socket.empty()) return;
  const auto& listen = config_->listeners.front().listen;
  console_.listen(config_->console.socket, listen.empty() ? 6432 : listen.front().port);
}

std::vector<watchdog::Watchdog*> Application::watchdogs() {
  std::vector<watchdog::Watchdog*> all;
  for (const auto& watchdog : watchdogs_) all.push_back(watchdog.get());
  return all;
}

std::string Application::reload_for(std::string_view who) {
  log_.write(Level::info, "config.reload_asked", {{"actor", who}});
  return reload();
}

void Application::drain_for(std::string_view who) {
  log_.write(Level::warning, "process.drain_asked", {{"actor", who}});
  ++stop_signals_;
  wake_.cancel();
}

void Application::commanded(std::string_view actor, std::string_view role, std::string_view command,
                            std::string_view result) {
  log_.write(result == "ok" ? Level::info : Level::warning, "console.command",
             {{"actor", actor}, {"role", role}, {"command", command}, {"result", result}});
}

watchdog::Task<void> Application::live() {
  log_.write(Level::info, "process.started",
             {{"version", build_.version},
              {"revision", build_.revision},
              {"mode", config::name(config_->enforcement.mode)},
              {"workers", static_cast<std::uint64_t>(proxy_.workers().size())}});
  while (stop_signals_ == 0) {
    wake_.expires_at(asio::steady_timer::time_point::max());
    (void)co_await wake_.async_wait(as_result);
  }
  co_await wind_down(!interrupted_);
}

watchdog::Task<void> Application::wind_down(bool patient) {
  manager_.stopping();
  log_.write(Level::info, "process.draining", {{"sessions", proxy_.total_live()}});
  if (patient) {
    // Unready, but still accepting: load balancers notice before anybody is turned away.
    wake_.expires_after(config_->process.drain_delay);
    (void)co_await wake_.async_wait(as_result);
  }
  bool hurried = stop_signals_ > 1;
  proxy_.drain(hurried ? Duration::zero() : Duration{config_->process.drain_timeout});
  while (!proxy_.drained()) {
    wake_.expires_after(20ms);
    (void)co_await wake_.async_wait(as_result);
    if (stop_signals_ > 1 && !std::exchange(hurried, true)) proxy_.drain(Duration::zero());
  }
  co_await console_.stop();
  if (watch_) watch_->stop();
  manager_.stop();
  for (const auto& watch : certificate_watches_) watch->stop();
  for (const auto& watchdog : watchdogs_) co_await watchdog->stop();
  co_await status_http_.stop();
  co_await webhooks_.stop(webhook_patience);
  co_await http_.stop();
  proxy_.finish();
  signals_.cancel();
  over_ = true;  // its handler may be on its way already
  left_out_timer_.cancel();
}

// ---------------------------------------------------------------- what the pages show

std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> Application::statuses() const {
  std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> all;
  for (const auto& watchdog : watchdogs_) all.push_back(watchdog->status());
  return all;
}

std::vector<metrics::WorkerCounters<proxy::ListenerCounters>> Application::listeners() const {
  std::vector<metrics::WorkerCounters<proxy::ListenerCounters>> all;
  for (std::size_t i = 0; i < config_->listeners.size(); ++i) {
    auto& one = all.emplace_back();
    one.name = config_->listeners[i].name;
    for (const auto& worker : proxy_.workers())
      one.workers.push_back(&worker->listener_counters()[i]);
  }
  return all;
}

std::vector<metrics::WorkerCounters<proxy::ServerCounters>> Application::servers() const {
  std::vector<metrics::WorkerCounters<proxy::ServerCounters>> all;
  for (std::size_t i = 0; i < config_->servers.size(); ++i) {
    auto& one = all.emplace_back();
    one.name = config_->servers[i].name;
    for (const auto& worker : proxy_.workers())
      one.workers.push_back(&worker->server_counters()[i]);
  }
  return all;
}

std::vector<metrics::Heartbeat> Application::heartbeats() const {
  std::vector<metrics::Heartbeat> all;
  for (std::size_t i = 0; i < proxy_.workers().size(); ++i)
    all.push_back({"worker " + std::to_string(i), proxy_.workers()[i]->heartbeat()});
  return all;
}

std::vector<const proxy::LagCounts*> Application::loop_lags() const {
  std::vector<const proxy::LagCounts*> all;
  for (const auto& worker : proxy_.workers()) all.push_back(&worker->lag());
  return all;
}

metrics::Readiness Application::readiness() const {
  metrics::Readiness ready;
  ready.accepting = stop_signals_ == 0 && proxy_.accepting();
  if (!ready.accepting) ready.why_not = "draining";
  if (const auto journal = proxy_.journal_state(); !journal.problem.empty())
    ready.degraded.push_back("journal: " + journal.problem);
  if (audit_ && audit_->failing())
    ready.degraded.push_back(
        "audit log: the last line could not be written, and nobody is ended without one");
  return ready;
}

std::optional<watchdog::SessionExplanation> Application::explain(proxy::SessionId session) const {
  for (const auto& watchdog : watchdogs_)
    if (auto found = watchdog->explain(session)) return found;
  return std::nullopt;
}

std::map<std::string, proxy::QuotaUse> Application::quotas() const {
  return proxy_.quotas();
}

std::vector<metrics::NotificationFacts> Application::notifications() const {
  std::vector<metrics::NotificationFacts> all;
  for (const auto& one : webhooks_.facts())
    all.push_back({one.name,
                   {one.counts.delivered, one.counts.retried, one.counts.rejected,
                    one.counts.given_up, one.counts.dropped},
                   one.queued});
  return all;
}

std::optional<metrics::JournalFacts> Application::journal() const {
  const proxy::JournalState state = proxy_.journal_state();
  if (!state.up && state.problem.empty()) return std::nullopt;
  return metrics::JournalFacts{state.up, state.unrecorded};
}

std::vector<const watchdog::RecentActions*> Application::recent_actions() const {
  std::vector<const watchdog::RecentActions*> all;
  for (const auto& watchdog : watchdogs_) all.push_back(&watchdog->recent_actions());
  return all;
}

}  // namespace pgleash::app
