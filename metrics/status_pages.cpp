#include "metrics/status_pages.hpp"

#include "metrics/explain_json.hpp"
#include "metrics/json_text.hpp"
#include "metrics/sessions_json.hpp"
#include "metrics/status_html.hpp"
#include "metrics/status_json.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <random>
#include <utility>

namespace pgleash::metrics {
namespace {

constexpr std::string_view json = "application/json";
constexpr std::string_view html = "text/html; charset=utf-8";

Reply json_reply(std::string text) {
  return {200, json, std::make_shared<const std::string>(std::move(text))};
}

/// The page, whose own style and script carry a number that is another one at each request: what
/// somebody else brings into it has none, and is not run.
Reply page() {
  std::random_device random;
  std::string nonce;
  for (int i = 0; i < 4; ++i) nonce += fmt::format("{:08x}", random());
  std::string text{status_html};
  constexpr std::string_view place = "NONCE";
  const std::string mark = fmt::format("nonce=\"{}\"", place);
  for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at + nonce.size()))
    text.replace(at, mark.size(), fmt::format("nonce=\"{}\"", nonce));
  return {200, html, std::make_shared<const std::string>(std::move(text)),
          fmt::format("default-src 'none'; style-src 'nonce-{0}'; script-src 'nonce-{0}'; "
                      "connect-src 'self'; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'",
                      nonce)};
}

/// One object a server.
template <class Make>
Reply for_each_server(const MetricsSource& source, Make make) {
  std::string all;
  for (const auto& status : source.statuses()) {
    if (!all.empty()) all += ",\n";
    all += make(*status);
  }
  return json_reply("[" + all + "]\n");
}

/// The value of `session` in `/x?session=42`.
std::optional<proxy::SessionId> session_of(std::string_view target) {
  constexpr std::string_view key = "session=";
  const auto query = target.find('?');
  if (query == std::string_view::npos) return std::nullopt;
  std::string_view value = target.substr(query + 1);
  if (!value.starts_with(key)) return std::nullopt;
  value.remove_prefix(key.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size()) return std::nullopt;
  return proxy::SessionId{number};
}

}  // namespace

Reply StatusPages::get(std::string_view target, Instant now) const {
  constexpr std::string_view incidents = "/api/incidents/";
  const std::string_view path = path_of(target);
  const auto config = source_.config();
  using Status = watchdog::WatchdogStatus;
  if (path == "/") return page();
  if (path == "/api/status")
    return for_each_server(
        source_, [&](const Status& status) { return overview_json(status, *config, now); });
  if (path == "/api/sessions")
    return for_each_server(source_,
                           [](const Status& status) { return sessions_json(*status.snapshot); });
  if (path == "/api/leaks")
    return for_each_server(source_, [&](const Status& status) { return leaks_json(status, now); });
  if (path == "/api/rules")
    return for_each_server(source_,
                           [&](const Status& status) { return rules_json(status, *config); });
  if (path == "/api/blocking")
    return for_each_server(source_, [](const Status& status) { return blocking_json(status); });
  if (path == "/api/actions") return actions();
  if (path == "/api/explain") return explain(target);
  if (path.starts_with(incidents)) return incident(path.substr(incidents.size()));
  return plain_reply(404,
                     "not found: there are / and /api/status, sessions, leaks, rules, blocking, "
                     "actions, incidents/ID and explain?session=ID\n");
}

Reply StatusPages::actions() const {
  const auto statuses = source_.statuses();
  const auto recent = source_.recent_actions();
  std::string all;
  for (std::size_t i = 0; i < recent.size() && i < statuses.size(); ++i) {
    if (!all.empty()) all += ",\n";
    all += actions_json(statuses[i]->server, *recent[i]);
  }
  return json_reply("[" + all + "]\n");
}

Reply StatusPages::incident(std::string_view id) const {
  const auto statuses = source_.statuses();
  const auto recent = source_.recent_actions();
  for (std::size_t i = 0; i < recent.size() && i < statuses.size(); ++i)
    if (const auto* action = recent[i]->find(id))
      return json_reply(action_json(statuses[i]->server, *action) + "\n");
  return plain_reply(
      404, "no such incident, or not any more: the log and the audit log have them all\n");
}

Reply StatusPages::explain(std::string_view target) const {
  const auto id = session_of(target);
  if (!id) return plain_reply(400, "give the number of a session: /api/explain?session=ID\n");
  const auto explanation = source_.explain(*id);
  if (!explanation) return plain_reply(404, "there is no session of this number now\n");
  return json_reply(to_json(*explanation));
}

}  // namespace pgleash::metrics
