#include "proxy/tls_handshake.hpp"

#include "protocol/encode.hpp"
#include "proxy/socket.hpp"

#include <boost/asio/error.hpp>

#include <cerrno>
#include <string_view>
#include <sys/socket.h>

namespace pgleash::proxy {

namespace asio = boost::asio;
namespace {

/// The outbox is the thread's: by the time a write is over it may be somebody else's.
std::string copied(protocol::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

boost::system::error_code broken(int error) {
  return {error, boost::system::system_category()};
}

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

/// Waits for something to read. A deadline may have closed the connection since that became known:
/// its number may be somebody else's by now.
asio::awaitable<boost::system::error_code> wait_for_input(Connection& connection,
                                                          TlsStream& stream) {
  boost::system::error_code error = co_await connection.wait(Connection::Wait::input);
  stream.wake(true);
  if (!error && !connection.is_open()) error = asio::error::operation_aborted;
  co_return error;
}

asio::awaitable<boost::system::error_code> send_output(Connection& connection, std::string bytes) {
  std::string_view rest{bytes};
  while (!rest.empty()) {
    if (!connection.is_open()) co_return asio::error::operation_aborted;
    const ssize_t sent =
        ::send(connection.fd(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    const int error = errno;
    if (sent >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(sent));
    } else if (would_block(error)) {
      const auto ended = co_await connection.wait(Connection::Wait::room);
      if (ended) co_return ended;
    } else if (error != EINTR) {
      co_return broken(error);
    }
  }
  co_return boost::system::error_code{};
}

}  // namespace

asio::awaitable<Handshake> handshake(Connection& connection, TlsStream& stream) {
  Handshake result;
  for (;;) {
    const TlsStream::Result made = stream.handshake();
    std::string output = copied(TlsStream::output());
    if (made.step == TlsStream::Step::failed) {
      result.error = stream.reason();
      result.hung_up = stream.hung_up();
    }
    result.socket = co_await send_output(connection, std::move(output));
    if (!result.error.empty() || (!result.socket && made.step == TlsStream::Step::done))
      co_return result;
    if (!result.socket && made.step == TlsStream::Step::want_read) {
      result.socket = co_await wait_for_input(connection, stream);
    }
    if (result.socket) {
      result.error = result.socket.message();
      result.hung_up = connection.is_open();  // else a deadline has closed it
      co_return result;
    }
  }
}

asio::awaitable<ReadSome> read_some(Connection& connection, std::span<char> into) {
  ReadSome result;
  while (result.size == 0 && !result.error) {
    if (!connection.is_open()) {
      result.error = asio::error::operation_aborted;
      co_return result;
    }
    const ssize_t got = ::recv(connection.fd(), into.data(), into.size(), MSG_DONTWAIT);
    const int error = errno;
    if (got > 0) {
      result.size = static_cast<std::size_t>(got);
    } else if (got == 0) {
      result.error = asio::error::eof;
    } else if (would_block(error)) {
      result.error = co_await connection.wait(Connection::Wait::input);
    } else if (error != EINTR) {
      result.error = broken(error);
    }
  }
  co_return result;
}

asio::awaitable<ReadSome> read_exactly(Connection& connection, TlsStream* stream,
                                       std::span<char> into) {
  ReadSome result;
  while (stream == nullptr && result.size < into.size() && !result.error) {
    const ReadSome some = co_await read_some(connection, into.subspan(result.size));
    result.size += some.size;
    result.error = some.error;
  }
  while (result.size < into.size() && !result.error) {
    const TlsStream::Result got = stream->read(
        reinterpret_cast<std::byte*>(into.data()) + result.size, into.size() - result.size);
    std::string output = copied(TlsStream::output());
    result.size += got.size;
    if (got.step == TlsStream::Step::ended) result.error = asio::error::eof;
    if (got.step == TlsStream::Step::failed)
      result.error = {stream->error(), boost::system::generic_category()};
    if (!output.empty()) {
      const auto unsent = co_await send_output(connection, std::move(output));
      if (unsent) result.error = unsent;
    }
    if (got.step == TlsStream::Step::want_read && result.size < into.size() && !result.error) {
      result.error = co_await wait_for_input(connection, *stream);
    }
  }
  co_return result;
}

asio::awaitable<boost::system::error_code> write_all(Connection& connection, TlsStream* stream,
                                                     std::string_view bytes) {
  std::string wire{bytes};
  if (stream != nullptr) {
    wire = copied(stream->seal(std::as_bytes(std::span{bytes})));
    if (wire.empty() && !bytes.empty()) {
      const boost::system::error_code failed{stream->error(), boost::system::generic_category()};
      co_return failed;
    }
  }
  co_return co_await send_output(connection, std::move(wire));
}

asio::awaitable<SslAnswer> ask_for_tls(Connection& connection) {
  SslAnswer result;
  const auto unsent = co_await write_all(connection, nullptr, protocol::ssl_request());
  if (unsent) {
    result.error = unsent.message();
    co_return result;
  }
  char answer = '\0';
  const ReadSome got = co_await read_exactly(connection, nullptr, {&answer, 1});
  if (got.error) {
    result.error = "no answer to SSLRequest: " + got.error.message();
  } else if (answer == 'N') {
    result.unwilling = true;
  } else if (answer != 'S') {
    // Whatever text follows, nobody vouches for it (CVE-2024-10977).
    result.error = answer == 'E' ? "the server answered SSLRequest with an error"
                                 : "the server's answer to SSLRequest is neither S nor N";
  }
  co_return result;
}

asio::awaitable<Secured> secure_server_leg(Connection& connection,
                                           std::shared_ptr<const ServerTlsContext> tls) {
  Secured result;
  const bool outright = tls->settings.negotiation == config::TlsNegotiation::direct;
  if (!outright) {
    SslAnswer answer = co_await ask_for_tls(connection);
    result.unwilling = answer.unwilling;
    result.error = std::move(answer.error);
    if (result.unwilling || !result.error.empty()) co_return result;
    if (!connection.is_open() || unread_bytes(connection.fd()) > 0) {
      result.error = "received unencrypted data after SSL response";
      co_return result;
    }
  }
  auto stream = tls->connect(connection.fd());
  const Handshake made = co_await handshake(connection, *stream);
  if (!made.error.empty()) {
    result.error = "TLS: " + made.error;
    if (outright && made.hung_up)
      result.error +=
          "; so does a server before PostgreSQL 17, or without ssl = on, when TLS is begun "
          "outright: tls_negotiation = \"postgres\" asks first";
  } else if (outright && stream->application_protocol() != postgresql_protocol) {
    // Else what speaks TLS there could be anything (ALPACA).
    result.error =
        "TLS: the server did not name the protocol \"postgresql\" (ALPN), which tls_negotiation = "
        "\"direct\" demands";
  } else {
    result.stream = std::move(stream);
  }
  co_return result;
}

}  // namespace pgleash::proxy
