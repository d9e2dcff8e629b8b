#include "app/console/console.hpp"

#include "protocol/startup.hpp"
#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <pwd.h>
#include <span>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <variant>

namespace pgleash::console {

namespace asio = boost::asio;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

/// What drivers want to know before anything else; over what the server said at its login, as the
/// console has settings of its own.
std::string greeting() {
  std::string out;
  put_parameter_status(out, "client_encoding", "UTF8");
  put_parameter_status(out, "server_encoding", "UTF8");
  put_parameter_status(out, "DateStyle", "ISO, MDY");
  put_parameter_status(out, "IntervalStyle", "postgres");
  put_parameter_status(out, "TimeZone", "UTC");
  put_parameter_status(out, "integer_datetimes", "on");
  put_parameter_status(out, "standard_conforming_strings", "on");
  put_parameter_status(out, "is_superuser", "off");
  return out;
}

/// The same where no server has said anything.
std::string local_greeting() {
  std::string out;
  std::string ok(4, '\0');
  put_message(out, 'R', ok);
  put_parameter_status(out, "server_version", "15.0");
  out += greeting();
  put_message(out, 'K', std::string(8, '\0'));
  return out;
}

SqlError nobody(const std::string& user) {
  return {"28000", "user \"" + cleaned(user) + "\" may not use the console of pgleash",
          "its password was right, but no list of [console] has this name",
          "add it to viewers, operators or admins under [console], and reload"};
}

/// The name of the OS user at the other end of a Unix socket; empty: it has none.
std::string peer_name(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return {};
  std::string buffer(16 * 1024, '\0');
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(peer.uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return {};
  return found->pw_name;
}

}  // namespace

Console::Console(asio::io_context& context, Host& host)
    : context_(context), host_(host), acceptor_(context), ended_(context) {}

Console::~Console() {
  if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
}

void Console::spawn(Task<void> task) {
  ++tasks_;
  asio::co_spawn(context_, std::move(task), [this](const std::exception_ptr& failure) {
    --tasks_;
    ended_.cancel();
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      host_.commanded("", "none", "(a conversation failed)", e.what());
    }
  });
}

void Console::enter(proxy::Fd stream, proxy::ConsoleGuest guest) {
  auto handler = [this, taken = std::move(stream), who = std::move(guest)]() mutable {
    if (stopping_) return;
    Socket socket{context_};
    boost::system::error_code bad;
    socket.assign(StreamProtocol{AF_UNIX, 0}, taken.release(), bad);
    if (!bad) spawn(receive(std::move(socket), std::move(who)));
  };
  asio::post(context_, std::move(handler));
}

/// One guest, from the first byte to the last.
Task<void> Console::receive(Socket socket, proxy::ConsoleGuest guest) {
  const auto config = host_.config();
  const Role role = role_of(config->console, guest.user);
  const std::string user = guest.user;
  std::string hello = guest.server.empty() ? local_greeting() : greeting();
  Desk desk{host_, kills_, floods_, guest};
  Conversation conversation{std::move(socket), desk, user, config->console.database};
  if (role == Role::none) {
    SqlError error = nobody(user);
    co_await desk.refused("(login)", error);
    co_await conversation.refuse(std::move(error));
    co_return;
  }
  if (conversations_.size() >= most_guests) {
    SqlError error{"53300", "too many console sessions", std::to_string(most_guests) + " are open",
                   "close some, or wait"};
    co_await conversation.refuse(std::move(error));
    co_return;
  }
  const auto place = conversations_.insert(conversations_.end(), &conversation);
  std::exception_ptr failure;
  try {
    co_await conversation.run(std::move(hello));
  } catch (...) {
    failure = std::current_exception();
  }
  conversations_.erase(place);
  if (failure) std::rethrow_exception(failure);
}

// ---------------------------------------------------------------- the socket of its own

void Console::listen(const std::string& directory, std::uint16_t port) {
  const std::string path = directory + "/.s.PGSQL." + std::to_string(port);
  const auto fail = [&path](int error) {
    throw std::system_error(error, std::generic_category(), "console socket " + path);
  };
  // One that a crash left behind is taken over; one that somebody listens on is not.
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const asio::local::stream_protocol::endpoint where{path};
  const bool answered = ::connect(probe, where.data(), static_cast<socklen_t>(where.size())) == 0;
  ::close(probe);
  if (answered) fail(EADDRINUSE);
  ::unlink(path.c_str());
  boost::system::error_code bad;
  acceptor_.open(where.protocol(), bad);
  if (!bad) acceptor_.bind(where, bad);
  if (!bad) acceptor_.listen(16, bad);
  if (bad) fail(bad.value());
  socket_path_ = path;
  // Who may connect is decided by who it is.
  if (::chmod(path.c_str(), 0666) != 0) fail(errno);
  spawn(accept());
}

Task<void> Console::accept() {
  while (!stopping_) {
    asio::local::stream_protocol::socket socket{context_};
    const auto [error] = co_await acceptor_.async_accept(socket, as_result);
    if (stopping_ || error == asio::error::operation_aborted) co_return;
    if (error) {
      // No descriptors, mostly: not in a hurry, others need them more.
      asio::steady_timer pause{context_, std::chrono::milliseconds{200}};
      (void)co_await pause.async_wait(as_result);
      continue;
    }
    boost::system::error_code bad;
    const int fd = socket.release(bad);
    Socket generic{context_};
    if (!bad) generic.assign(StreamProtocol{AF_UNIX, 0}, fd, bad);
    if (!bad && tasks_ < 2 * most_guests) spawn(welcome_local(std::move(generic)));
  }
}

Task<void> Console::welcome_local(Socket socket) {
  proxy::ConsoleGuest guest;
  guest.user = peer_name(socket.native_handle());
  std::string wanted;
  {
    const proxy::Deadline guard{socket, proxy::monotonic_now() + login_time};
    for (int tries = 0; wanted.empty(); ++tries) {
      std::string message(8, '\0');
      const auto [error, got] = co_await asio::async_read(socket, asio::buffer(message), as_result);
      if (error) co_return;
      const auto length =
          protocol::first_message_length(std::as_bytes(std::span{message}).first<4>());
      if (!length) co_return;
      message.resize(*length);
      const auto [rest_error, rest] = co_await asio::async_read(
          socket, asio::buffer(message.data() + 8, message.size() - 8), as_result);
      if (rest_error) co_return;
      const auto parsed = protocol::parse_first_message(std::as_bytes(std::span{message}));
      if (!parsed) co_return;
      if (const auto* packet = std::get_if<protocol::StartupPacket>(&*parsed)) {
        wanted = packet->user;
      } else if (std::holds_alternative<protocol::CancelRequest>(*parsed) || tries > 1) {
        co_return;
      } else {
        const char no = 'N';
        const auto [unsent, sent] =
            co_await asio::async_write(socket, asio::buffer(&no, 1), as_result);
        if (unsent) co_return;
      }
    }
  }
  if (guest.user.empty() || wanted != guest.user) {
    Desk desk{host_, kills_, floods_, guest};
    Conversation conversation{std::move(socket), desk, guest.user, {}};
    SqlError error{"28000",
                   "the console's socket knows you as OS user \"" + cleaned(guest.user) +
                       "\", not as \"" + cleaned(wanted) + '"',
                   {},
                   "leave the user name out, or give that of your OS user"};
    co_await conversation.refuse(std::move(error));
    co_return;
  }
  co_await receive(std::move(socket), std::move(guest));
}

Task<void> Console::write_left_out(std::string user, std::uint64_t count, Duration within) {
  const std::string result = fmt::format("{} commands that changed nothing within {:.1f} s", count,
                                         std::chrono::duration<double>{within}.count());
  const Role role = user.empty() ? Role::none : role_of(host_.config()->console, user);
  if (user.empty()) user = "(others)";
  host_.commanded(user, name(role), "(left out)", result);
  watchdog::AuditLog* audit = host_.audit();
  if (audit == nullptr) co_return;
  watchdog::AuditRecord line;
  line.ts = proxy::wall_now();
  line.event = watchdog::AuditEvent::command;
  line.actor = std::move(user);
  line.role = name(role);
  line.command = "(left out)";
  line.result = result;
  (void)co_await audit->write(std::move(line));
}

void Console::tell_left_out(bool all) {
  for (auto& one : floods_.left_out(proxy::monotonic_now(), all))
    spawn(write_left_out(std::move(one.kind), one.count, one.within));
}

Task<void> Console::stop() {
  stopping_ = true;
  tell_left_out(true);
  boost::system::error_code ignored;
  acceptor_.close(ignored);  // NOLINT(bugprone-unused-return-value): closed either way
  for (Conversation* one : conversations_) one->stop();
  while (tasks_ > 0) {
    ended_.expires_at(asio::steady_timer::time_point::max());
    (void)co_await ended_.async_wait(as_result);
  }
}

}  // namespace pgleash::console
