#include "app/watch/watch.hpp"

#include "app/watch/outside_sampling.hpp"
#include "app/watch/outside_view.hpp"
#include "app/watch/rehearsal.hpp"
#include "app/watch/render.hpp"
#include "app/watch/terminal.hpp"
#include "app/watch/text.hpp"
#include "app/watch/view.hpp"
#include "config/address.hpp"
#include "config/diagnostic.hpp"
#include "metrics/http_server.hpp"
#include "metrics/metrics_source.hpp"
#include "metrics/pages.hpp"
#include "metrics/status_pages.hpp"
#include "proxy/socket.hpp"
#include "watchdog/activity_sampler.hpp"
#include "watchdog/clock.hpp"
#include "watchdog/evidence.hpp"
#include "watchdog/own_connections.hpp"
#include "watchdog/status.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unistd.h>
#include <utility>
#include <variant>
#include <vector>

namespace pgleash::app {

namespace asio = boost::asio;

namespace {

constexpr int exit_good = 0;
constexpr int exit_faults = 2;

std::uint64_t seed() {
  std::random_device random;
  return (std::uint64_t{random()} << 32U) | random();
}

/// The program: samples, judges, shows. One thread.
class Watch final : private metrics::MetricsSource, private metrics::HttpEvents {
 public:
  Watch(Outside outside, std::unique_ptr<Rehearsal> rehearsal, const WatchOptions& options)
      : options_(options),
        place_(std::move(outside.place)),
        config_(std::make_shared<const config::Config>(std::move(outside.config))),
        server_(config_->servers.front()),
        view_of_(server_.name, config_->identity),
        rehearsal_(std::move(rehearsal)),
        signals_(context_, SIGINT, SIGTERM),
        keys_(context_),
        sampler_(context_.get_executor(), server_, {},
                 {std::string{watchdog::watch_name}, true, true, [this] { look(); }}),
        pages_(*this),
        http_(
            context_,
            [this](std::string_view target) { return pages_.get(target, watchdog::now()); }, *this),
        status_pages_(*this),
        status_http_(
            context_,
            [this](std::string_view target) { return status_pages_.get(target, watchdog::now()); },
            *this, {.loopback_host_only = true}),
        started_(watchdog::wall_now()) {
    status_.server = server_.name;
    status_.mode = config::Mode::observe;
    status_.monitor_configured = true;
    status_.snapshot = std::make_shared<const watchdog::Snapshot>();
    if (const auto& metrics = config_->metrics.listen) {
      http_.listen(*metrics);
      const auto next = static_cast<std::uint16_t>(metrics->port + 1);
      if (next != 0) status_http_.listen({"127.0.0.1", next, false});
    }
  }

  int run() {
    if (!options_.json && !options_.once && Terminal::available()) {
      signals_.add(SIGWINCH);
      signals_.add(SIGTSTP);
      terminal_.emplace();
      open_keys();
    }
    on_signal();
    asio::co_spawn(context_, sampler_.run(), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
    context_.run();
    terminal_.reset();
    if (!complaint_.empty()) std::fprintf(stderr, "%s\n", complaint_.c_str());
    return exit_status_;
  }

 private:
  // ------------------------------------------------------------------ looking

  /// After each round of the sampler.
  void look() {
    const watchdog::MonitorState& monitor = sampler_.state();
    const watchdog::ActivitySample* sample = sampler_.latest();
    view_.place = place_;
    view_.when = watchdog::wall_now();
    view_.problem = monitor.up ? std::string{} : monitor.problem;
    view_.advice = monitor.advice;
    if (sample == nullptr || (!monitor.up && options_.once)) return give_up(monitor.problem);
    if (monitor.up) judge(*sample);
    publish(monitor);
    if (!frozen_) show();
    if (options_.once) stop();
  }

  void judge(const watchdog::ActivitySample& sample) {
    auto snapshot = std::make_shared<const watchdog::Snapshot>(
        view_of_.snapshot(sample, rehearsal_->engine().needs().fingerprint));
    const Rehearsal::Tick tick = rehearsal_->tick(*snapshot);
    for (const watchdog::Verdict& verdict : tick.verdicts)
      ++status_.actions_total[{verdict.rule, std::string{config::name(verdict.action)}, "observe",
                               std::string{watchdog::name(watchdog::Outcome::observed)}}];
    sampler_.want_advisory(rehearsal_->wants_advisory_locks());
    view_.snapshot = snapshot;
    view_.server_version = sample.server_version;
    view_.leaks = rehearsal_->leaks(*snapshot);
    view_.forecast = rehearsal_->leak_status().forecast;
    view_.quotas = rehearsal_->leak_status().quota_forecasts;
    view_.would_act = rehearsal_->would_act();
    view_.unjudged = rehearsal_->unjudged();
    view_.nameless = watchdog::nameless_sessions(sample.rows);
    view_.veiled = 0;
    view_.sessions = sorted_lines(*snapshot, *rehearsal_, view_.leaks);
    for (SessionLine& line : view_.sessions) {
      if (line.state == "?") ++view_.veiled;
      if (!line.entry->row) continue;
      const std::string& query = line.entry->row->query;
      line.query =
          options_.literals || query.empty()
              ? query
              : fingerprints_.of(query, query.size() + 4 > watchdog::shown_last_statement).text;
    }
  }

  void publish(const watchdog::MonitorState& monitor) {
    status_.monitor_up = monitor.up;
    status_.monitor_problem = view_.problem;
    status_.monitor_last_success = monitor.last_success;
    if (view_.snapshot) {
      auto snapshot = std::make_shared<watchdog::Snapshot>(*view_.snapshot);
      snapshot->monitor_up = monitor.up;
      status_.snapshot = std::move(snapshot);
    }
    status_.rules = rehearsal_->engine().status();
    status_.leaks = rehearsal_->leak_status();
    published_ = std::make_shared<const watchdog::WatchdogStatus>(status_);
  }

  /// Before it could look even once. Later it goes on trying, and says so.
  void give_up(const std::string& problem) {
    const std::string remedy = remedy_for(problem);
    complaint_ = "pgleash watch: " + place_ + ": " + safe_line(problem);
    if (!remedy.empty()) complaint_ += "\n      = " + remedy;
    exit_status_ = exit_faults;
    stop();
  }

  void stop() {
    sampler_.stop();
    signals_.cancel();
    keys_.close();
    asio::co_spawn(context_, http_.stop(), asio::detached);
    asio::co_spawn(context_, status_http_.stop(), asio::detached);
  }

  // ------------------------------------------------------------------ showing

  void show() {
    if (options_.json) {
      std::puts(render_json(view_).c_str());
    } else if (terminal_) {
      const Terminal::Size size = Terminal::size();
      const bool colour = std::getenv("NO_COLOR") == nullptr;
      terminal_->draw(render(view_, {size.columns, size.lines, colour}));
    } else {
      if (shown_) std::puts("");
      for (const std::string& line : render(view_, {})) std::puts(line.c_str());
    }
    shown_ = true;
    std::fflush(stdout);
  }

  void on_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      if (signal == SIGINT || signal == SIGTERM) return stop();
      if (signal == SIGTSTP) {
        terminal_.reset();
        ::raise(SIGSTOP);
        terminal_.emplace();
      }
      if (shown_) show();
      on_signal();
    });
  }

  /// A description of our own: Asio makes it non-blocking, which a shell's must not be.
  void open_keys() {
    const int tty = ::open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) return;
    keys_.assign(tty);
    read_keys();
  }

  void read_keys() {
    keys_.async_read_some(asio::buffer(pressed_),
                          [this](const boost::system::error_code& error, std::size_t length) {
                            if (error) return;
                            for (std::size_t i = 0; i < length; ++i) {
                              if (pressed_[i] == 'q' || pressed_[i] == 'Q') return stop();
                              if (pressed_[i] == ' ') {
                                frozen_ = !frozen_;
                                if (!frozen_ && shown_) show();
                              }
                            }
                            read_keys();
                          });
  }

  // ------------------------------------------------------------------ what the pages show

  const metrics::BuildInfo& build() const override { return build_; }
  std::chrono::system_clock::time_point started() const override { return started_; }
  std::shared_ptr<const config::Config> config() const override { return config_; }
  metrics::ReloadFacts reloads() const override {
    metrics::ReloadFacts facts;
    facts.last_success = started_;
    return facts;
  }
  std::vector<std::shared_ptr<const watchdog::WatchdogStatus>> statuses() const override {
    return {published_};
  }
  std::vector<metrics::WorkerCounters<proxy::ListenerCounters>> listeners() const override {
    return {};
  }
  std::vector<metrics::WorkerCounters<proxy::ServerCounters>> servers() const override {
    return {};
  }
  std::vector<metrics::Heartbeat> heartbeats() const override {
    return {{"watch", watchdog::now()}};
  }
  std::vector<const proxy::LagCounts*> loop_lags() const override { return {}; }
  metrics::Readiness readiness() const override {
    metrics::Readiness ready;
    ready.accepting = true;  // it looks; there is nothing to accept
    return ready;
  }
  std::optional<watchdog::SessionExplanation> explain(proxy::SessionId session) const override {
    if (!view_.snapshot) return std::nullopt;
    for (const watchdog::SessionEntry& entry : view_.snapshot->sessions) {
      if (entry.view.id != session) continue;
      watchdog::SessionExplanation found;
      found.session = entry;
      found.rules = rehearsal_->engine().explain(entry, *view_.snapshot);
      watchdog::FingerprintCache once{1};
      found.evidence = watchdog::session_evidence(
          entry, watchdog::statements_of(entry, watchdog::shown_last_statement),
          view_.snapshot->now, once);
      return found;
    }
    return std::nullopt;
  }
  void accept_failed(std::string_view /*address*/, std::string_view /*why*/) override {}
  void page_failed(std::string_view /*why*/) override {}

  WatchOptions options_;
  std::string place_;
  std::shared_ptr<const config::Config> config_;
  const config::Server& server_;
  OutsideView view_of_;
  std::unique_ptr<Rehearsal> rehearsal_;
  watchdog::FingerprintCache fingerprints_;
  WatchView view_;
  watchdog::WatchdogStatus status_;
  std::shared_ptr<const watchdog::WatchdogStatus> published_ =
      std::make_shared<const watchdog::WatchdogStatus>();
  asio::io_context context_{1};
  asio::signal_set signals_;
  asio::posix::stream_descriptor keys_;
  std::array<char, 16> pressed_{};
  std::optional<Terminal> terminal_;
  watchdog::ActivitySampler sampler_;
  metrics::BuildInfo build_{PGLEASH_VERSION, PGLEASH_REVISION};
  metrics::Pages pages_;
  metrics::HttpServer http_;
  metrics::StatusPages status_pages_;
  metrics::HttpServer status_http_;
  std::chrono::system_clock::time_point started_;
  std::string complaint_;
  int exit_status_ = exit_good;
  bool frozen_ = false;
  bool shown_ = false;
};

}  // namespace

int watch(const WatchOptions& options) {
  std::string why;
  std::vector<config::Diagnostic> diagnostics;
  auto outside = read_outside(options.server, options.config, options.interval, why, diagnostics);
  std::unique_ptr<Rehearsal> rehearsal;
  if (outside) {
    outside->config.metrics.listen.reset();
    if (!options.http.empty()) {
      auto address = config::parse_http_address(options.http);
      if (const auto* fault = std::get_if<config::Fault>(&address)) {
        why = "--http: " + fault->message + ": " + fault->hint;
        outside.reset();
      } else {
        outside->config.metrics.listen = std::get<std::optional<config::Address>>(address);
      }
    }
  }
  if (outside)
    rehearsal =
        Rehearsal::compile(outside->config, Rehearsal::Source::outside, seed(), diagnostics);
  for (const config::Diagnostic& one : diagnostics)
    std::fprintf(stderr, "%s\n", config::render(one, false).c_str());
  if (!why.empty()) std::fprintf(stderr, "pgleash watch: %s\n", why.c_str());
  if (!rehearsal) return exit_faults;
  return Watch{std::move(*outside), std::move(rehearsal), options}.run();
}

}  // namespace pgleash::app
