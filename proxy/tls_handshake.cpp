#include "proxy/tls_handshake.hpp"

#include "protocol/encode.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace pgleash::proxy {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

namespace {

/// The outbox is the thread's: by the time a write is over it may be somebody else's.
std::string copied(protocol::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Waits for something to read. A deadline may have closed the socket since that became known: its
/// number may be somebody else's by now.
asio::awaitable<boost::system::error_code> wait_for_input(Socket& socket, TlsStream& stream) {
  const auto [error] = co_await socket.async_wait(Socket::wait_read, as_result);
  stream.wake(true);
  boost::system::error_code result = error;
  if (!result && !socket.is_open()) result = asio::error::operation_aborted;
  co_return result;
}

asio::awaitable<boost::system::error_code> send_output(Socket& socket, std::string bytes) {
  if (bytes.empty()) co_return boost::system::error_code{};
  const auto [error, sent] = co_await asio::async_write(socket, asio::buffer(bytes), as_result);
  boost::system::error_code result = error;
  if (!result && !socket.is_open()) result = asio::error::operation_aborted;
  co_return result;
}

}  // namespace

asio::awaitable<Handshake> handshake(Socket& socket, TlsStream& stream) {
  Handshake result;
  for (;;) {
    const TlsStream::Result made = stream.handshake();
    std::string output = copied(TlsStream::output());
    if (made.step == TlsStream::Step::failed) {
      result.error = stream.reason();
      result.hung_up = stream.hung_up();
    }
    result.socket = co_await send_output(socket, std::move(output));
    if (!result.error.empty() || (!result.socket && made.step == TlsStream::Step::done))
      co_return result;
    if (!result.socket && made.step == TlsStream::Step::want_read) {
      result.socket = co_await wait_for_input(socket, stream);
    }
    if (result.socket) {
      result.error = result.socket.message();
      result.hung_up = socket.is_open();  // else a deadline has closed it
      co_return result;
    }
  }
}

asio::awaitable<ReadSome> read_exactly(Socket& socket, TlsStream* stream, std::span<char> into) {
  ReadSome result;
  if (stream == nullptr) {
    const auto [error, got] =
        co_await asio::async_read(socket, asio::buffer(into.data(), into.size()), as_result);
    result.error = error;
    result.size = got;
    co_return result;
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
      const auto unsent = co_await send_output(socket, std::move(output));
      if (unsent) result.error = unsent;
    }
    if (got.step == TlsStream::Step::want_read && result.size < into.size() && !result.error) {
      result.error = co_await wait_for_input(socket, *stream);
    }
  }
  co_return result;
}

asio::awaitable<boost::system::error_code> write_all(Socket& socket, TlsStream* stream,
                                                     std::string_view bytes) {
  std::string wire{bytes};
  if (stream != nullptr) {
    wire = copied(stream->seal(std::as_bytes(std::span{bytes})));
    if (wire.empty() && !bytes.empty()) {
      const boost::system::error_code failed{stream->error(), boost::system::generic_category()};
      co_return failed;
    }
  }
  co_return co_await send_output(socket, std::move(wire));
}

asio::awaitable<SslAnswer> ask_for_tls(Socket& socket) {
  SslAnswer result;
  const auto unsent = co_await write_all(socket, nullptr, protocol::ssl_request());
  if (unsent) {
    result.error = unsent.message();
    co_return result;
  }
  char answer = '\0';
  const ReadSome got = co_await read_exactly(socket, nullptr, {&answer, 1});
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

asio::awaitable<Secured> secure_server_leg(Socket& socket,
                                           std::shared_ptr<const ServerTlsContext> tls) {
  Secured result;
  const bool outright = tls->settings.negotiation == config::TlsNegotiation::direct;
  if (!outright) {
    SslAnswer answer = co_await ask_for_tls(socket);
    result.unwilling = answer.unwilling;
    result.error = std::move(answer.error);
    if (result.unwilling || !result.error.empty()) co_return result;
    if (!socket.is_open() || unread_bytes(socket.native_handle()) > 0) {
      result.error = "received unencrypted data after SSL response";
      co_return result;
    }
  }
  auto stream = tls->connect(socket.native_handle());
  const Handshake made = co_await handshake(socket, *stream);
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
