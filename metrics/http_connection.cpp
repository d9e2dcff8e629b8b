#include "metrics/http_connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/span_body.hpp>
#include <boost/beast/http/write.hpp>

#include <algorithm>
#include <utility>

namespace pgleash::metrics {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_size = 4096;
constexpr std::size_t linger_bytes = 64 * 1024;

bool is_protocol_error(const error_code& error) {
  return error.category() == http::make_error_code(http::error::bad_method).category();
}

Reply answer(const http::request_parser<http::empty_body>& parser, const GetPage& get_page) {
  const auto& request = parser.get();
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    return plain_reply(405, "only GET and HEAD\n");
  }
  if (!parser.is_done()) {
    return plain_reply(400, "a request here has no body\n");
  }
  const auto target = request.target();
  return get_page(std::string_view{target.data(), target.size()});
}

template <class Message>
void set_header(Message& message, const Reply& reply, bool keep_alive) {
  message.set(http::field::content_type,
              boost::beast::string_view{reply.content_type.data(), reply.content_type.size()});
  message.set(http::field::cache_control, "no-store");
  message.set("X-Content-Type-Options", "nosniff");
  if (reply.status == 405) {
    message.set(http::field::allow, "GET, HEAD");
  }
  message.content_length(reply.body->size());
  message.keep_alive(keep_alive);
}

}  // namespace

HttpConnection::HttpConnection(asio::ip::tcp::socket socket, const HttpLimits& limits)
    : stream_(std::move(socket)),
      buffer_(limits.header_bytes + read_size),  // room for what is pipelined behind a header
      limits_(limits) {}

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
      reply = answer(parser, get_page);
    }
    open = co_await send(std::move(reply), version, head, keep_alive) && keep_alive && !finishing_;
  }
  co_await linger();
}

/// A deadline that passes closes the socket, and with it the attempt to answer.
Task<HttpConnection::Received> HttpConnection::receive(Parser& parser) {
  parser.header_limit(limits_.header_bytes);
  stream_.expires_after(first_ ? limits_.request_deadline : limits_.idle_deadline);
  if (buffer_.size() == 0 && !co_await wait_for_bytes()) {
    co_return Received::nothing;
  }
  if (!std::exchange(first_, false)) {
    stream_.expires_after(limits_.request_deadline);
  }
  const auto [error, size] = co_await http::async_read_header(stream_, buffer_, parser, as_result);
  if (!error) {
    co_return Received::request;
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    co_return Received::too_large;
  }
  const bool client_left =
      error == http::error::end_of_stream || error == http::error::partial_message;
  co_return is_protocol_error(error) && !client_left ? Received::malformed : Received::nothing;
}

Task<bool> HttpConnection::wait_for_bytes() {
  idle_ = true;
  const auto [error, size] =
      co_await stream_.async_read_some(buffer_.prepare(read_size), as_result);
  idle_ = false;
  buffer_.commit(size);
  co_return !error && !finishing_;
}

Task<bool> HttpConnection::send(Reply reply, unsigned version, bool head, bool keep_alive) {
  stream_.expires_after(limits_.request_deadline);
  const auto status = static_cast<http::status>(reply.status);
  if (head) {
    http::response<http::empty_body> message{status, version};
    set_header(message, reply, keep_alive);
    const auto [error, size] = co_await http::async_write(stream_, message, as_result);
    co_return !error;
  }
  http::response<http::span_body<const char>> message{status, version};
  message.body() = {reply.body->data(), reply.body->size()};
  set_header(message, reply, keep_alive);
  const auto [error, size] = co_await http::async_write(stream_, message, as_result);
  co_return !error;
}

Task<void> HttpConnection::linger() {
  error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.expires_after(limits_.linger_deadline);
  idle_ = true;
  buffer_.clear();
  for (std::size_t taken = 0; taken < linger_bytes && !finishing_;) {
    const auto [error, size] =
        co_await stream_.async_read_some(buffer_.prepare(read_size), as_result);
    if (error) {
      break;
    }
    taken += size;
  }
  close();
}

}  // namespace pgleash::metrics
