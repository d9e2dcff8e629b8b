#include "metrics/http_connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/span_body.hpp>
#include <boost/beast/http/write.hpp>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

namespace pgleash::metrics {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_size = 1024;
constexpr std::size_t linger_bytes = 64 * 1024;

std::string_view text_of(const boost::beast::flat_buffer& buffer) {
  return {static_cast<const char*>(buffer.data().data()), buffer.size()};
}

/// With the empty line at its end; 0 while it is not complete.
std::size_t header_size(std::string_view text) {
  constexpr std::string_view end = "\r\n\r\n";
  const auto at = text.find(end);
  return at == std::string_view::npos ? 0 : at + end.size();
}

/// Tells a TLS or PostgreSQL client, who will never send an empty line, at once.
bool begins_like_a_request(std::string_view text) {
  return text.front() >= 'A' && text.front() <= 'Z';
}

/// One Host, and a loopback one; the absolute form of a target names a host as well.
bool names_loopback(const http::request_parser<http::empty_body>& parser) {
  const auto& request = parser.get();
  const auto host = request[http::field::host];
  return request.count(http::field::host) == 1 && request.target().starts_with('/') &&
         is_loopback_host({host.data(), host.size()});
}

std::string_view value_of(const http::request<http::empty_body>& request, http::field field) {
  const auto value = request[field];
  return {value.data(), value.size()};
}

Reply answer(const http::request_parser<http::empty_body>& parser, const GetPage& get_page,
             const HttpLimits& limits, const HttpAccess& access) {
  const auto& request = parser.get();
  if (access.token && (request.count(http::field::authorization) != 1 ||
                       !shows_token(value_of(request, http::field::authorization), *access.token)))
    return plain_reply(401, "this page wants a token: docs/status-page.md\n");
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    return plain_reply(405, "only GET and HEAD\n");
  }
  if (!parser.is_done()) {
    return plain_reply(400, "a request here has no body\n");
  }
  const auto target = request.target();
  if (limits.loopback_host_only && !names_loopback(parser))
    return plain_reply(403, "this page is for requests to 127.0.0.1 or localhost only\n");
  if (request.count(http::field::origin) != 0 &&
      is_foreign_origin(value_of(request, http::field::origin),
                        value_of(request, http::field::host)))
    return plain_reply(403, "this is not for pages of other places\n");
  return get_page({target.data(), target.size()});
}

template <class Message>
void set_header(Message& message, const Reply& reply, bool keep_alive) {
  message.set(http::field::content_type,
              boost::beast::string_view{reply.content_type.data(), reply.content_type.size()});
  message.set(http::field::cache_control, "no-store");
  message.set("X-Content-Type-Options", "nosniff");
  message.set("Referrer-Policy", "no-referrer");
  message.set("Content-Security-Policy", reply.policy.empty()
                                             ? "default-src 'none'; frame-ancestors 'none'"
                                             : reply.policy.c_str());
  if (reply.status == 405) {
    message.set(http::field::allow, "GET, HEAD");
  }
  if (reply.status == 401) {
    message.set(http::field::www_authenticate, "Basic realm=\"pgleash\", charset=\"UTF-8\"");
  }
  message.content_length(reply.body->size());
  message.keep_alive(keep_alive);
}

}  // namespace

struct HttpConnection::Tls {
  asio::ssl::stream<boost::beast::tcp_stream&> stream;
};

HttpConnection::HttpConnection(asio::ip::tcp::socket socket, const HttpLimits& limits,
                               const HttpAccess& access)
    : stream_(std::move(socket)),
      buffer_(limits.header_bytes),
      limits_(limits),
      access_(access),
      tls_(access.tls ? new Tls{{stream_, *access.tls}} : nullptr) {}

HttpConnection::~HttpConnection() = default;

void HttpConnection::finish() {
  finishing_ = true;
  if (idle_) {
    close();
  }
}

void HttpConnection::close() {
  stream_.close();
}

Task<void> HttpConnection::serve(const GetPage& get_page) {
  bool open = true;
  if (tls_) {
    open = co_await shake_hands();
    if (!open) {
      close();
      co_return;
    }
  }
  while (open) {
    Parser parser;
    const Received received = co_await receive(parser);
    if (received == Received::nothing) {
      close();
      co_return;
    }
    Reply reply;
    unsigned version = 11;
    bool head = false;
    bool keep_alive = false;
    if (received == Received::too_large) {
      reply = plain_reply(431, "the request header is too large\n");
    } else if (received == Received::malformed) {
      reply = plain_reply(400, "not an HTTP/1 request\n");
    } else {
      const auto& request = parser.get();
      version = std::min(request.version(), 11U);
      head = request.method() == http::verb::head;
      // A body is not read, so that nothing can follow it.
      keep_alive = request.keep_alive() && parser.is_done() && !finishing_;
      reply = answer(parser, get_page, limits_, access_);
    }
    open = co_await send(std::move(reply), version, head, keep_alive) && keep_alive && !finishing_;
  }
  co_await linger();
}

Task<bool> HttpConnection::shake_hands() {
  stream_.expires_after(limits_.request_deadline);
  const auto [error] =
      co_await tls_->stream.async_handshake(asio::ssl::stream_base::server, as_result);
  co_return !error;
}

/// Collects the whole header before it is parsed. The header limit of Beast's own asynchronous read
/// counts only what is not yet parsed, so that it never stops a client who goes on sending small
/// fields: here the size of the buffer is the limit.
Task<HttpConnection::Received> HttpConnection::receive(Parser& parser) {
  const auto between = first_ ? limits_.request_deadline : limits_.idle_deadline;
  stream_.expires_after(buffer_.size() == 0 ? between : limits_.request_deadline);
  std::size_t size = 0;
  for (;;) {
    // Looked at first, so that it is refused alike however it was cut.
    if (buffer_.size() > 0 && !begins_like_a_request(text_of(buffer_))) {
      co_return Received::malformed;
    }
    size = header_size(text_of(buffer_));
    if (size > 0) {
      break;
    }
    if (buffer_.size() == limits_.header_bytes) {
      co_return Received::too_large;
    }
    const bool more = co_await read_some();  // named: g++ 12 miscompiles it inside the condition
    if (!more) {
      co_return Received::nothing;
    }
  }
  first_ = false;
  error_code error;
  parser.put(boost::asio::buffer(buffer_.data(), size), error);
  buffer_.consume(size);
  co_return error || !parser.is_header_done() ? Received::malformed : Received::request;
}

/// False when there is nothing more to come. A deadline that passes has closed the socket.
Task<bool> HttpConnection::read_some() {
  idle_ = buffer_.size() == 0;
  const std::size_t room = limits_.header_bytes - buffer_.size();
  const auto into = buffer_.prepare(std::min(read_size, room));
  error_code error;
  std::size_t size = 0;
  if (tls_) {
    std::tie(error, size) = co_await tls_->stream.async_read_some(into, as_result);
  } else {
    std::tie(error, size) = co_await stream_.async_read_some(into, as_result);
  }
  if (error || (idle_ && finishing_)) {
    co_return false;
  }
  if (std::exchange(idle_, false) && !first_) {
    stream_.expires_after(limits_.request_deadline);
  }
  buffer_.commit(size);
  co_return true;
}

template <class Message>
Task<bool> HttpConnection::write(Message& message) {
  error_code error;
  if (tls_) {
    std::tie(error, std::ignore) = co_await http::async_write(tls_->stream, message, as_result);
  } else {
    std::tie(error, std::ignore) = co_await http::async_write(stream_, message, as_result);
  }
  co_return !error;
}

Task<bool> HttpConnection::send(Reply reply, unsigned version, bool head, bool keep_alive) {
  stream_.expires_after(limits_.request_deadline);
  const auto status = static_cast<http::status>(reply.status);
  if (head) {
    http::response<http::empty_body> message{status, version};
    set_header(message, reply, keep_alive);
    const bool written = co_await write(message);
    co_return written;
  }
  http::response<http::span_body<const char>> message{status, version};
  message.body() = {reply.body->data(), reply.body->size()};
  set_header(message, reply, keep_alive);
  const bool written = co_await write(message);
  co_return written;
}

Task<void> HttpConnection::linger() {
  error_code ignored;
  stream_.expires_after(limits_.linger_deadline);
  idle_ = true;
  if (tls_) {
    (void)co_await tls_->stream.async_shutdown(as_result);
  }
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  std::array<char, read_size> scratch;
  for (std::size_t taken = 0; taken < linger_bytes && !finishing_;) {
    const auto [error, size] = co_await stream_.async_read_some(asio::buffer(scratch), as_result);
    if (error) {
      break;
    }
    taken += size;
  }
  close();
}

}  // namespace pgleash::metrics
