#pragma once

#include "metrics/http_access.hpp"
#include "metrics/reply.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace pgleash::metrics {

template <class T>
using Task = boost::asio::awaitable<T>;

/// Gives the page of a target.
using GetPage = std::function<Reply(std::string_view target)>;

/// What a stranger can take of us at most.
struct HttpLimits {
  /// Only requests whose Host is loopback: a page of elsewhere whose name was made to point here
  /// (DNS rebinding) gets nothing.
  bool loopback_host_only = false;
  std::uint32_t header_bytes = 8 * 1024;
  std::size_t connections = 64;  ///< more are closed at once
  /// For one request to arrive, from its first byte (of a new connection: from the accept) to the
  /// end of its header, and once more for its reply to be taken.
  std::chrono::milliseconds request_deadline = std::chrono::seconds{10};
  /// Between two requests: longer than the usual scrape intervals.
  std::chrono::milliseconds idle_deadline = std::chrono::seconds{75};
  /// For the client to close after our last reply; a close with its bytes unread would be a reset,
  /// which can take the reply away again.
  std::chrono::milliseconds linger_deadline = std::chrono::seconds{1};
  /// For replies under way when the server is stopped.
  std::chrono::milliseconds stop_deadline = std::chrono::seconds{1};
};

/// One client: reads requests, writes replies, one after the other, each within its deadline.
class HttpConnection {
 public:
  /// `access` outlives the connection.
  HttpConnection(boost::asio::ip::tcp::socket socket, const HttpLimits& limits,
                 const HttpAccess& access);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  /// Ends when either side has closed. `get_page` does not throw here; it and the connection
  /// outlive the task.
  Task<void> serve(const GetPage& get_page);
  /// The reply under way is the last one; without any, closes now.
  void finish();
  void close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::empty_body>;
  enum class Received : std::uint8_t { request, malformed, too_large, nothing };

  struct Tls;

  /// False when the client does not speak TLS, or not ours.
  Task<bool> shake_hands();
  Task<Received> receive(Parser& parser);
  Task<bool> read_some();
  /// Both: false when it could not be written.
  template <class Message>
  Task<bool> write(Message& message);
  Task<bool> send(Reply reply, unsigned version, bool head, bool keep_alive);
  Task<void> linger();

  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  HttpLimits limits_;
  const HttpAccess& access_;
  std::unique_ptr<Tls> tls_;  ///< null: plain
  bool first_ = true;
  bool idle_ = true;  ///< no request under way
  bool finishing_ = false;
};

}  // namespace pgleash::metrics
