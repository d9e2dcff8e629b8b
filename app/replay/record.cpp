#include "app/replay/record.hpp"

#include "app/watch/outside_sampling.hpp"
#include "app/watch/outside_view.hpp"
#include "app/watch/text.hpp"
#include "config/diagnostic.hpp"
#include "config/fault.hpp"
#include "config/measure.hpp"
#include "watchdog/activity_sampler.hpp"
#include "watchdog/clock.hpp"
#include "watchdog/own_connections.hpp"
#include "watchdog/recorder.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace pgleash::app {

namespace asio = boost::asio;

namespace {

constexpr int exit_good = 0;
constexpr int exit_faults = 2;

/// The program: samples and writes. One thread, and the recorder's.
class Record {
 public:
  Record(const Outside& outside, watchdog::RecordingFiles files)
      : place_(outside.place),
        server_(outside.config.servers.front()),
        view_of_(server_.name, outside.config.identity),
        file_(files.file),
        recorder_(std::move(files),
                  {outside.place,
                   "record",
                   {},
                   std::chrono::duration_cast<std::chrono::milliseconds>(
                       watchdog::wall_now().time_since_epoch())
                       .count(),
                   server_.monitor.poll_interval},
                  watchdog::now()),
        signals_(context_, SIGINT, SIGTERM),
        sampler_(context_.get_executor(), server_, {},
                 {std::string{watchdog::record_name}, true, true, [this] { look(); }}) {}

  int run() {
    signals_.async_wait([this](const boost::system::error_code& error, int) {
      if (!error) sampler_.stop();
    });
    asio::co_spawn(context_, sampler_.run(), [this](const std::exception_ptr& failure) {
      signals_.cancel();
      if (failure) std::rethrow_exception(failure);
    });
    context_.run();
    if (status_ == exit_good)
      std::fprintf(stderr, "%s: %llu frames, %llu lost\n", file_.c_str(),
                   static_cast<unsigned long long>(recorder_.frames()),
                   static_cast<unsigned long long>(recorder_.lost()));
    return status_;
  }

 private:
  /// After each round of the sampler.
  void look() {
    const watchdog::MonitorState& monitor = sampler_.state();
    const watchdog::ActivitySample* sample = sampler_.latest();
    const std::string problem = monitor.up ? recorder_.problem() : monitor.problem;
    if (sample == nullptr) {
      const std::string remedy = remedy_for(problem);
      std::fprintf(stderr, "pgleash record: %s: %s\n%s", place_.c_str(), safe_line(problem).c_str(),
                   remedy.empty() ? "" : ("      = " + remedy + "\n").c_str());
      status_ = exit_faults;
      sampler_.stop();
      return;
    }
    if (!monitor.up) {
      say(problem);
      return;  // a gap in the recording, and no guess
    }
    // Replayed rules may want to know who holds advisory locks, whatever these rules want.
    sampler_.want_advisory(true);
    recorder_.record(view_of_.snapshot(*sample));
    say(problem.empty() ? monitor.advice : problem);
  }

  void say(const std::string& what) {
    if (what == said_) return;
    said_ = what;
    std::fprintf(stderr, "pgleash record: %s\n",
                 what.empty() ? "all is well again" : safe_line(what).c_str());
  }

  std::string place_;
  const config::Server server_;
  OutsideView view_of_;
  std::string file_;
  watchdog::Recorder recorder_;
  asio::io_context context_{1};
  asio::signal_set signals_;
  watchdog::ActivitySampler sampler_;
  std::string said_;
  int status_ = exit_good;
};

}  // namespace

int record(const RecordOptions& options) {
  std::string why;
  std::vector<config::Diagnostic> diagnostics;
  auto outside = read_outside(options.server, options.config, options.interval, why, diagnostics);
  for (const config::Diagnostic& one : diagnostics)
    std::fprintf(stderr, "%s\n", config::render(one, false).c_str());
  watchdog::RecordingFiles files;
  files.file = options.output;
  files.keep = options.keep;
  auto size = config::parse_measure(config::MeasureUnit::bytes, options.max_size);
  if (const auto* fault = std::get_if<config::Fault>(&size)) {
    why = "--max-size: " + fault->message + ": " + fault->hint;
    outside.reset();
  } else {
    files.max_size = std::get<std::uint64_t>(size);
  }
  if (!why.empty()) std::fprintf(stderr, "pgleash record: %s\n", why.c_str());
  if (!outside) return exit_faults;
  return Record{*outside, std::move(files)}.run();
}

}  // namespace pgleash::app
