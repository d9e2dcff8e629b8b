#include "tests/script/proxy/stage.hpp"

#include "config/network.hpp"
#include "protocol/encode.hpp"
#include "tests/support/engine.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <variant>

namespace pgleash::proxy {

namespace asio = boost::asio;

void RecordedEvents::add(std::string_view event, std::string_view detail) {
  const std::lock_guard lock{mutex_};
  lines_.push_back(std::string{event} + (detail.empty() ? "" : " ") + std::string{detail});
}

void RecordedEvents::refused(std::string_view, const Endpoint&, AcceptResult result,
                             std::string_view) {
  add("refused", name(result));
}

void RecordedEvents::failure(std::string_view where, std::string_view what) {
  add("failure", std::string{where} + ": " + std::string{what});
}

std::size_t RecordedEvents::count(std::string_view line) const {
  const std::lock_guard lock{mutex_};
  return static_cast<std::size_t>(std::count(lines_.begin(), lines_.end(), line));
}

std::vector<std::string> RecordedEvents::lines() const {
  const std::lock_guard lock{mutex_};
  return lines_;
}

void Door::enter(Fd stream, ConsoleGuest guest) {
  const std::lock_guard lock{mutex_};
  visits_.push_back({ScriptedPeer{stream.release()}, std::move(guest)});
}

std::size_t Door::visits() const {
  const std::lock_guard lock{mutex_};
  return visits_.size();
}

Door::Visit Door::take() {
  const std::lock_guard lock{mutex_};
  Visit last = std::move(visits_.back());
  visits_.pop_back();
  return last;
}

std::string startup_packet(std::string_view user, std::uint32_t version, std::string_view more) {
  std::string body = wire::int32(version);
  if (!user.empty()) body += wire::zero_ended("user") + wire::zero_ended(user);
  return wire::untyped(body + wire::zero_ended("application_name") + wire::zero_ended("script") +
                       std::string{more} + '\0');
}

std::string cancel_packet(std::int32_t pid, std::string_view secret) {
  return wire::untyped(wire::int32(80877102) + wire::int32(static_cast<std::uint32_t>(pid)) +
                       std::string{secret});
}

std::string ssl_request() {
  return wire::untyped(wire::int32(80877103));
}
std::string gss_request() {
  return wire::untyped(wire::int32(80877104));
}

config::Network network(std::string_view text) {
  auto parsed = config::parse_network(text);
  return std::get<config::Network>(std::move(parsed));  // throws on a slip of the test's author
}

Stage::Stage(const Adjust& adjust)
    : work_(asio::make_work_guard(control_)), thread_([this] { control_.run(); }) {
  config::Config config;
  config.process.workers = 2;
  config.process.engine = test::engine();
  config::Server server;
  server.name = "scripted";
  server.address = {"127.0.0.1", backend.port(), false};
  server.tls.mode = config::SslMode::disable;
  config.servers.push_back(server);
  config::Listener listener;
  listener.name = "main";
  listener.listen = {{"127.0.0.1", 0, false}};
  listener.server = "scripted";
  listener.allow = {network("0.0.0.0/0"), network("::/0")};
  config.listeners.push_back(listener);
  if (adjust) adjust(config);
  proxy = std::make_unique<Proxy>(config, events, InheritedSockets{}, &door);
  proxy->learn_secrets_from(secrets);
  port_ = proxy->ports().front();
  proxy->start();
}

Stage::~Stage() {
  proxy.reset();
  work_.reset();
  thread_.join();
}

asio::awaitable<VerifierAnswer> Secrets::verifier(std::string /*server*/, std::string user,
                                                  Instant /*deadline*/) {
  const std::lock_guard lock{mutex_};
  VerifierAnswer answer;
  if (!available_) co_return answer;
  const auto found = known_.find(user);
  answer.kind = found == known_.end() ? VerifierAnswer::Kind::none : VerifierAnswer::Kind::found;
  if (found != known_.end()) answer.verifier = found->second;
  co_return answer;
}

void Secrets::know(const std::string& user, const std::string& verifier) {
  const std::lock_guard lock{mutex_};
  available_ = true;
  known_[user] = verifier;
}

Pair Stage::login(std::string_view secret) {
  Pair pair;
  pair.pid = ++next_pid_;
  pair.secret =
      secret.empty() ? wire::int32(static_cast<std::uint32_t>(pair.pid * 7)) : std::string{secret};
  pair.client = connect();
  pair.client.send(startup_packet());
  pair.server = backend.accept();
  pair.server.expect(startup_packet());
  pair.down(wire::authentication(3));
  pair.up(wire::message('p', wire::zero_ended("secret")));
  pair.down(wire::authentication(0) + wire::parameter("is_superuser", "off") +
            wire::message('K', wire::int32(static_cast<std::uint32_t>(pair.pid)) + pair.secret) +
            wire::ready());
  return pair;
}

std::vector<SessionView> Stage::views() {
  auto asked = asio::co_spawn(control_, proxy->views("scripted"), asio::use_future);
  if (asked.wait_for(ScriptedPeer::patience) != std::future_status::ready)
    throw test::ScriptFailure{"no views in time"};
  return asked.get();
}

ViewChanges Stage::changes(bool all) {
  auto asked = asio::co_spawn(control_, proxy->changes("scripted", all), asio::use_future);
  if (asked.wait_for(ScriptedPeer::patience) != std::future_status::ready)
    throw test::ScriptFailure{"no changes in time"};
  return asked.get();
}

std::optional<SessionView> Stage::view(const ScriptedPeer& client) {
  const std::int32_t port = client.local_port();
  for (SessionView& one : views())
    if (one.who->client.port == port) return one;
  return std::nullopt;
}

SessionView Stage::session_of(const Pair& pair) {
  auto found = view(pair.client);
  if (!found) throw test::ScriptFailure{"the session is gone"};
  return *found;
}

KillOrder Stage::order_for(const Pair& pair, KillAction action) {
  const SessionView now = session_of(pair);
  KillOrder order;
  order.session = now.id;
  order.mark = now.facts.mark;
  order.counter = action == KillAction::cancel ? JudgedCounter::request : JudgedCounter::state;
  order.action = action;
  order.notice = {"57P05", "ended by the test", "the detail", "the hint"};
  order.deadline = 5s;
  return order;
}

std::future<KillReport> Stage::carry_out(KillOrder order) {
  return asio::co_spawn(control_, proxy->carry_out(std::move(order)), asio::use_future);
}

KillReport Stage::result(std::future<KillReport>& report) {
  if (report.wait_for(ScriptedPeer::patience) != std::future_status::ready)
    throw test::ScriptFailure{"no report in time"};
  return report.get();
}

std::uint64_t Stage::cancels(CancelOrigin origin, CancelResult result) const {
  std::uint64_t sum = 0;
  for (const auto& worker : proxy->workers())
    for (const ServerCounters& server : worker->server_counters())
      sum +=
          server.cancels[static_cast<std::size_t>(origin)][static_cast<std::size_t>(result)].get();
  return sum;
}

std::uint64_t Stage::connections(AcceptResult result) const {
  std::uint64_t sum = 0;
  for (const auto& worker : proxy->workers())
    for (const ListenerCounters& listener : worker->listener_counters())
      sum += listener.connections[static_cast<std::size_t>(result)].get();
  return sum;
}

}  // namespace pgleash::proxy
