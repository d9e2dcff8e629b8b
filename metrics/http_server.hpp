#pragma once

#include "config/config.hpp"
#include "metrics/http_connection.hpp"
#include "metrics/pages.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::metrics {

/// Told of what an operator should see in the log. Called on the server's thread.
class HttpEvents {
 public:
  virtual ~HttpEvents() = default;
  /// No connection could be accepted, mostly for want of descriptors; it goes on after a pause.
  virtual void accept_failed(std::string_view address, std::string_view why) = 0;
  /// A page threw; the client got a 500.
  virtual void page_failed(std::string_view why) = 0;
};

/// Serves pages over HTTP/1.0 and 1.1: GET and HEAD, keep-alive and pipelining. A request with a
/// body is refused with 400, without the token that is asked for with 401, another method with 405,
/// a header over the limit with 431. Everything runs on the thread of the io_context, this class'
/// functions too. Source: RFC 9110, RFC 9112.
class HttpServer {
 public:
  /// `context` and `events` outlive the server.
  /// `get_page` may throw: that is a 500.
  HttpServer(boost::asio::io_context& context, GetPage get_page, HttpEvents& events,
             HttpLimits limits = {});
  /// Closes what stop() has not. What is still suspended then ends in the context's next turns, or
  /// with the context.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// What is asked of who comes from now on. Without it: nothing.
  void ask_for(HttpAccess access);
  /// Listens on every address that the host stands for; resolves host names, blocking: for
  /// start-up. Throws std::system_error whose text names the address, as "… 127.0.0.1:9732: Address
  /// already in use"; then nothing of this call listens.
  void listen(const config::Address& address);
  /// Where it listens; the ports are the real ones where 0 was asked for.
  [[nodiscard]] std::vector<boost::asio::ip::tcp::endpoint> endpoints() const;
  [[nodiscard]] std::size_t connection_count() const noexcept;

  /// Stops accepting, closes idle connections, lets replies under way finish within the deadline.
  /// When it returns no connection is left.
  [[nodiscard]] Task<void> stop();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace pgleash::metrics
