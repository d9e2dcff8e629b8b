#pragma once

#include "proxy/proxy.hpp"
#include "proxy/verifier_source.hpp"
#include "tests/support/script.hpp"
#include "tests/support/wait_until.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

/// A proxy on a stage: scripted frontends on one side, a scripted backend on the other, real
/// sockets between.
namespace pgleash::proxy {

namespace wire = protocol::wire;
using test::ScriptedBackend;
using test::ScriptedPeer;
using test::StreamEnd;
using namespace std::chrono_literals;

/// The events of a proxy, as lines: "refused not_allowed", "closed client_terminate", …
class RecordedEvents final : public ProxyEvents {
 public:
  void listening(std::string_view, std::string_view) override {}
  void accept_paused(std::string_view, std::string_view why) override { add("paused", why); }
  void refused(std::string_view, const Endpoint&, AcceptResult result,
               std::string_view why) override;
  void session_opened(SessionId, const SessionIdentity&) override { add("opened", ""); }
  void session_closed(const SessionIdentity&, const SessionEnd& end) override {
    add("closed", name(end.cause));
  }
  void client_gone(SessionId, const SessionIdentity&, bool acted) override {
    add("client_gone", acted ? "cancelled" : "observed");
  }
  void failure(std::string_view where, std::string_view what) override;

  [[nodiscard]] std::size_t count(std::string_view line) const;
  [[nodiscard]] std::vector<std::string> lines() const;

 private:
  void add(std::string_view event, std::string_view detail);

  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

/// The way to the console: keeps who came.
class Door final : public ConsoleDoor {
 public:
  struct Visit {
    ScriptedPeer stream;
    ConsoleGuest guest;
  };
  void enter(Fd stream, ConsoleGuest guest) override;
  [[nodiscard]] std::size_t visits() const;
  Visit take();

 private:
  mutable std::mutex mutex_;
  std::vector<Visit> visits_;
};

/// Secrets of roles, as a server tells them to those who may ask.
class Secrets final : public VerifierSource {
 public:
  boost::asio::awaitable<VerifierAnswer> verifier(std::string server, std::string user,
                                                  Instant deadline) override;
  /// From now on somebody can be asked, and this role is known.
  void know(const std::string& user, const std::string& verifier);

 private:
  std::mutex mutex_;
  bool available_ = false;
  std::map<std::string, std::string> known_;
};

/// A logged-in session, seen from both ends.
struct Pair {
  ScriptedPeer client;
  ScriptedPeer server;
  std::int32_t pid = 0;
  std::string secret;

  /// From the client, as it arrives at the server.
  void up(std::string_view bytes) {
    client.send(bytes);
    server.expect(bytes);
  }
  void down(std::string_view bytes) {
    server.send(bytes);
    client.expect(bytes);
  }
  void echo() {
    up(wire::query("select 1"));
    down(wire::message('D') + wire::complete("SELECT 1") + wire::ready());
  }
};

[[nodiscard]] std::string startup_packet(std::string_view user = "app",
                                         std::uint32_t version = 3U << 16U,
                                         std::string_view more = {});
[[nodiscard]] std::string cancel_packet(std::int32_t pid, std::string_view secret);
[[nodiscard]] std::string ssl_request();
[[nodiscard]] std::string gss_request();
[[nodiscard]] config::Network network(std::string_view text);

class Stage {
 public:
  using Adjust = std::function<void(config::Config&)>;
  /// One listener on loopback, one server: `backend`. Two workers, so that values do cross threads.
  explicit Stage(const Adjust& adjust = {});
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  ScriptedPeer connect() const { return ScriptedPeer::connect_tcp(port_); }
  /// A login with a password, and a key of its own.
  Pair login(std::string_view secret = {});

  std::vector<SessionView> views();
  ViewChanges changes(bool all);
  /// The session of this client.
  std::optional<SessionView> view(const ScriptedPeer& client);
  SessionView session_of(const Pair& pair);
  [[nodiscard]] protocol::SessionState state_of(const Pair& pair) {
    return session_of(pair).facts.state;
  }
  /// An order for the session as it is now.
  KillOrder order_for(const Pair& pair, KillAction action = KillAction::terminate);
  std::future<KillReport> carry_out(KillOrder order);
  static KillReport result(std::future<KillReport>& report);

  [[nodiscard]] std::uint64_t cancels(CancelOrigin origin, CancelResult result) const;
  [[nodiscard]] std::uint64_t connections(AcceptResult result) const;
  void destroy_proxy() { proxy.reset(); }

  ScriptedBackend backend;
  RecordedEvents events;
  Door door;
  Secrets secrets;
  std::unique_ptr<Proxy> proxy;

 private:
  std::uint16_t port_ = 0;
  std::int32_t next_pid_ = 1000;
  boost::asio::io_context control_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

/// Waits for what the proxy does on its own threads.
template <class Condition>
[[nodiscard]] bool soon(Condition condition) {
  return test::wait_until(condition, ScriptedPeer::patience);
}

}  // namespace pgleash::proxy
