#include "app/notify/delivery.hpp"

#include "app/notify/signature.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <openssl/ssl.h>

#include <optional>
#include <utility>
#include <variant>

namespace pgleash::notify {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::uint32_t longest_header = 16 * 1024;
using Request = http::request<http::string_body>;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

bool is_literal(const std::string& host) {
  error_code no;
  (void)asio::ip::make_address(host, no);
  return !no;
}

Request make_request(const Destination& to, const Notice& notice,
                     std::chrono::system_clock::time_point now) {
  Request request{http::verb::post, to.url.target, 11};
  const bool v6 = to.url.host.find(':') != std::string::npos;
  std::string host = v6 ? '[' + to.url.host + ']' : to.url.host;
  if (to.url.port != (to.url.tls ? 443 : 80)) host += ':' + std::to_string(to.url.port);
  request.set(http::field::host, host);
  request.set(http::field::user_agent, to.agent);
  request.set(http::field::content_type, "application/json");
  request.set(http::field::connection, "close");
  request.set("Pgleash-Delivery", notice.id);
  request.set("Pgleash-Signature",
              sign(to.key.text(),
                   std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count(),
                   notice.body));
  request.body() = notice.body;
  request.prepare_payload();
  return request;
}

/// 400, 413, 415 and 422 are about what was sent, and would be said again; all else about the
/// receiver, or the way to it, and may be over next time.
Attempt judge(unsigned status) {
  if (status >= 200 && status < 300) return {Answer::accepted, {}};
  const std::string said = "it answered " + std::to_string(status);
  if (status >= 300 && status < 400)
    return {Answer::failed, said + ", a redirect, which is not followed"};
  const bool never = status == 400 || status == 413 || status == 415 || status == 422;
  return {never ? Answer::refused : Answer::failed, said};
}

std::string text(std::string_view doing, const error_code& error) {
  const bool late = error == beast::error::timeout;
  return std::string(doing) + ": " + (late ? "no answer within the timeout" : error.message());
}

/// Both outlive the task.
template <typename Stream>
Task<Attempt> exchange(Stream& stream, Request& request) {
  const auto [write_error, written] = co_await http::async_write(stream, request, as_result);
  if (write_error) co_return Attempt{Answer::failed, text("sending", write_error)};
  beast::flat_buffer buffer;
  http::response_parser<http::empty_body> parser;
  parser.header_limit(longest_header);
  const auto [read_error, got] =
      co_await http::async_read_header(stream, buffer, parser, as_result);
  if (read_error) co_return Attempt{Answer::failed, text("reading the answer", read_error)};
  co_return judge(parser.get().result_int());
}

}  // namespace

/// Outlives the task that asked: the system's look-up cannot be called back.
struct Delivery::Lookup {
  Lookup(asio::io_context& context, Instant deadline)
      : resolver(context), timer(context, deadline) {}
  tcp::resolver resolver;
  asio::steady_timer timer;
  error_code error = beast::error::timeout;
  std::vector<tcp::endpoint> endpoints;
};

std::shared_ptr<const Destination> make_destination(const config::Webhook& webhook,
                                                    std::string agent,
                                                    std::vector<config::Diagnostic>& faults) {
  const auto refuse = [&](config::Fault fault) {
    faults.push_back({config::Severity::error,
                      {},
                      "webhook " + config::in_quotes(webhook.name) + ": " + fault.message,
                      std::move(fault.hint),
                      {}});
    return nullptr;
  };
  auto url_text = config::read_secret(webhook.url);
  if (auto* fault = std::get_if<config::Fault>(&url_text)) return refuse(std::move(*fault));
  auto url = config::parse_webhook_url(std::get<config::Secret>(url_text).text());
  if (auto* fault = std::get_if<config::Fault>(&url)) return refuse(std::move(*fault));
  auto key = config::read_secret(webhook.hmac_key);
  if (auto* fault = std::get_if<config::Fault>(&key)) return refuse(std::move(*fault));
  if (std::get<config::Secret>(key).text().size() < config::Webhook::shortest_key)
    return refuse({"hmac_key is shorter than 16 bytes", {}});
  auto to = std::make_shared<Destination>();
  to->url = std::move(std::get<config::Url>(url));
  to->key = std::move(std::get<config::Secret>(key));
  to->timeout = webhook.timeout;
  to->agent = std::move(agent);
  if (!to->url.tls) return to;
  to->tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
  ::SSL_CTX_set_min_proto_version(to->tls->native_handle(), TLS1_2_VERSION);
  error_code error;
  to->tls->set_verify_mode(asio::ssl::verify_peer, error);
  if (!error) to->tls->set_default_verify_paths(error);
  if (error) return refuse({"the CAs of this machine cannot be read: " + error.message(), {}});
  if (!webhook.ca_file.empty()) to->tls->load_verify_file(webhook.ca_file, error);
  if (error)
    return refuse({"ca_file " + config::in_quotes(webhook.ca_file) +
                       " holds no certificate: " + error.message(),
                   "PEM"});
  return to;
}

void Delivery::abort() {
  if (abort_) abort_();
}

Task<Attempt> Delivery::post(std::shared_ptr<const Destination> to, Notice notice,
                             std::chrono::system_clock::time_point now) {
  struct Reset {
    std::function<void()>& abort;
    ~Reset() { abort = nullptr; }
  };
  const Reset reset{abort_};
  const Instant deadline = std::chrono::steady_clock::now() + to->timeout;

  auto lookup = std::make_shared<Lookup>(context_, deadline);
  abort_ = [lookup] { lookup->timer.cancel(); };
  lookup->resolver.async_resolve(
      to->url.host, std::to_string(to->url.port), tcp::resolver::numeric_service,
      [lookup](const error_code& error, const tcp::resolver::results_type& found) {
        lookup->error = error;
        for (const auto& entry : found) lookup->endpoints.push_back(entry.endpoint());
        lookup->timer.cancel();
      });
  (void)co_await lookup->timer.async_wait(as_result);
  if (lookup->endpoints.empty())
    co_return Attempt{Answer::failed, text("looking its host up", lookup->error)};
  const std::vector<tcp::endpoint> endpoints = std::move(lookup->endpoints);
  // A name is what the machine says it is; without TLS nothing may leave it.
  for (const tcp::endpoint& one : endpoints)
    if (!to->tls && !one.address().is_loopback())
      co_return Attempt{Answer::failed, "http is for loopback only, and its host is elsewhere"};

  Request request = make_request(*to, notice, now);
  // A context that was made for plain http is never used.
  static asio::ssl::context no_tls{asio::ssl::context::tls_client};
  TlsStream stream{context_, to->tls ? const_cast<asio::ssl::context&>(*to->tls) : no_tls};
  beast::tcp_stream& socket = beast::get_lowest_layer(stream);
  abort_ = [&socket] { socket.close(); };
  socket.expires_at(deadline);
  const auto [connect_error, endpoint] = co_await socket.async_connect(endpoints, as_result);
  if (connect_error) co_return Attempt{Answer::failed, text("connecting", connect_error)};
  if (!to->tls) {
    Attempt plain = co_await exchange(socket, request);
    co_return plain;
  }
  if (!is_literal(to->url.host) &&
      ::SSL_set_tlsext_host_name(stream.native_handle(), to->url.host.c_str()) != 1)
    co_return Attempt{Answer::failed, "its host name cannot be sent"};
  stream.set_verify_callback(asio::ssl::host_name_verification(to->url.host));
  const auto [tls_error] =
      co_await stream.async_handshake(asio::ssl::stream_base::client, as_result);
  if (tls_error) co_return Attempt{Answer::failed, text("TLS", tls_error)};
  Attempt secured = co_await exchange(stream, request);
  co_return secured;
}

}  // namespace pgleash::notify
