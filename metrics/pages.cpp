#include "metrics/pages.hpp"

#include "metrics/labels.hpp"

#include <fmt/format.h>

#include <utility>

namespace pgleash::metrics {
namespace {

constexpr std::string_view exposition = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::size_t max_detail_bytes = 512;

/// Text of a server or of the system on one line of ours.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, max_detail_bytes)) {
    const bool control = (c >= 0 && c < 0x20) || c == 0x7F;
    line.push_back(control ? ' ' : c);
  }
  return line;
}

}  // namespace

Pages::Pages(const MetricsSource& source) : source_(source), collector_(source) {}

Reply Pages::get(std::string_view target, Instant now) {
  const std::string_view path = path_of(target);
  if (path == "/metrics") {
    return {200, exposition, collector_.text(now)};
  }
  if (path == "/healthz") {
    return health(now);
  }
  if (path == "/readyz") {
    return readiness();
  }
  if (path == "/") {
    return index();
  }
  return plain_reply(404, "not found: there are /metrics, /healthz and /readyz\n");
}

/// Says only whether the program runs. It never depends on the server, the monitor or the audit
/// log: a supervisor restarts what is not healthy, and a restart ends every session.
Reply Pages::health(Instant now) const {
  const auto heartbeats = source_.heartbeats();
  std::string faults;
  for (const Heartbeat& heartbeat : heartbeats) {
    const Duration silent = now - heartbeat.last_turn;
    if (silent > heartbeat_limit) {
      faults += fmt::format("{} has not turned for {:.1f} s\n", heartbeat.worker,
                            std::chrono::duration<double>{silent}.count());
    }
  }
  if (heartbeats.empty()) {
    faults = "no worker runs\n";
  }
  return faults.empty() ? plain_reply(200, "ok\n") : plain_reply(503, std::move(faults));
}

Reply Pages::readiness() const {
  const Readiness readiness = source_.readiness();
  std::string text = readiness.accepting
                         ? "ready\n"
                         : fmt::format("not accepting: {}\n", one_line(readiness.why_not));
  for (const auto& detail : readiness.degraded) {
    text += fmt::format("degraded: {}\n", one_line(detail));
  }
  for (const auto& status : source_.statuses()) {
    if (status->monitor_configured && !status->monitor_up) {
      text += fmt::format("degraded: server {}: monitor down: {}\n", status->server,
                          one_line(status->monitor_problem));
    }
    for (const auto& advice : status->advice) {
      if (advice.gravity == watchdog::Gravity::note) continue;
      text += fmt::format("degraded: server {}: {}: {}\n", status->server, advice.about,
                          one_line(advice.message));
    }
  }
  return plain_reply(readiness.accepting ? 200 : 503, std::move(text));
}

Reply Pages::index() const {
  return plain_reply(200,
                     fmt::format("pgleash {}\n\n"
                                 "/metrics  for Prometheus\n"
                                 "/healthz  whether the program runs\n"
                                 "/readyz   whether it takes sessions, and what is degraded\n\n"
                                 "The status page has an address of its own: [http] listen\n",
                                 source_.build().version));
}

}  // namespace pgleash::metrics
