#pragma once

#include "app/console/conversation.hpp"
#include "app/console/desk.hpp"
#include "app/console/host.hpp"
#include "app/console/pending_kills.hpp"
#include "proxy/console_door.hpp"
#include "proxy/flood_count.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>

namespace pgleash::console {

/// The console: takes guests from the proxy, and from a Unix socket of its own, and lets each one
/// talk to a desk. All on the control thread, but for enter().
class Console final : public proxy::ConsoleDoor {
 public:
  static constexpr std::size_t most_guests = 32;
  static constexpr Duration login_time = std::chrono::seconds{10};

  /// References outlive the console.
  Console(boost::asio::io_context& context, Host& host);
  ~Console() override;
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// On any thread.
  void enter(proxy::Fd stream, proxy::ConsoleGuest guest) override;
  /// Listens in `directory` as a server with that port would: whoever connects is the OS user that
  /// the kernel says. Throws std::system_error that names the path.
  void listen(const std::string& directory, std::uint16_t port);
  /// For log and audit log, how many commands of a flood were left out, in windows that are over by
  /// now or, with `all`, so far. To be called every now and then.
  void tell_left_out(bool all);
  /// Takes nobody in any more and ends the conversations; returns when none is left. Acts under way
  /// come to their outcome first.
  Task<void> stop();

 private:
  Task<void> receive(Socket socket, proxy::ConsoleGuest guest);
  Task<void> accept();
  Task<void> welcome_local(Socket socket);
  Task<void> write_left_out(std::string user, std::uint64_t count, Duration within);
  void spawn(Task<void> task);

  boost::asio::io_context& context_;
  Host& host_;
  PendingKills kills_;
  proxy::FloodCount floods_;
  std::list<Conversation*> conversations_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
  std::string socket_path_;
  boost::asio::steady_timer ended_;
  std::size_t tasks_ = 0;
  bool stopping_ = false;
};

}  // namespace pgleash::console
