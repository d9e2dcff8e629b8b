#include "metrics/http_server.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <mutex>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace pgleash::metrics {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::size_t big_page = 16U << 20;

/// A blocking client on a plain socket. No read waits longer than ten seconds.
class Client {
 public:
  explicit Client(std::uint16_t port) : Client() { connect(port); }
  Client() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  Client(Client&& from) noexcept
      : socket_(std::exchange(from.socket_, -1)), pending_(std::move(from.pending_)) {}
  Client& operator=(Client&&) = delete;
  ~Client() {
    if (socket_ >= 0) {
      ::close(socket_);
    }
  }

  void connect(std::uint16_t port) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  void small_receive_buffer() const {
    const int size = 4096;
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  }
  /// False when the server has closed.
  bool send(std::string_view text) const {
    return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  /// One reply: the header, and the body that Content-Length announces unless it answers HEAD.
  std::string reply(bool head = false) {
    std::size_t end = 0;
    while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) {
        return std::exchange(pending_, {});
      }
    }
    end += 4;
    const auto field = pending_.find("Content-Length: ");
    const std::size_t body =
        head || field == std::string::npos ? 0 : std::stoul(pending_.substr(field + 16, 12));
    while (pending_.size() < end + body && receive()) {
    }
    const std::string result = pending_.substr(0, end + body);
    pending_.erase(0, result.size());
    return result;
  }
  std::string get(std::string_view path) {
    send("GET " + std::string{path} + " HTTP/1.1\r\nHost: x\r\n\r\n");
    return reply();
  }
  /// True when the server closes, false when it sends something or stays silent.
  bool closed() { return pending_.empty() && !receive(); }
  /// The same, but waits for a moment only.
  [[nodiscard]] bool closed_within(std::chrono::milliseconds patience) const {
    pollfd wait{socket_, POLLIN, 0};
    char byte = 0;
    return ::poll(&wait, 1, static_cast<int>(patience.count())) > 0 &&
           ::recv(socket_, &byte, 1, MSG_PEEK) <= 0;
  }
  /// Waits for the first byte, and leaves it there.
  [[nodiscard]] bool reply_begins() const {
    char byte = 0;
    return ::recv(socket_, &byte, 1, MSG_PEEK) == 1;
  }

 private:
  bool receive() {
    char piece[65536];
    const auto size = ::recv(socket_, piece, sizeof piece, 0);
    EXPECT_FALSE(size < 0 && errno == EAGAIN) << "the server neither answers nor closes";
    pending_.append(piece, size > 0 ? static_cast<std::size_t>(size) : 0);
    return size > 0;
  }

  int socket_;
  std::string pending_;
};

class Events final : public HttpEvents {
 public:
  void accept_failed(std::string_view address, std::string_view why) override {
    add(std::string{address} + ": " + std::string{why});
  }
  void page_failed(std::string_view why) override { add(std::string{why}); }
  [[nodiscard]] std::vector<std::string> all() const {
    const std::lock_guard lock{mutex_};
    return events_;
  }

 private:
  void add(std::string event) {
    const std::lock_guard lock{mutex_};
    events_.push_back(std::move(event));
  }
  mutable std::mutex mutex_;
  std::vector<std::string> events_;
};

Reply test_page(std::string_view target) {
  if (target == "/big") {
    return plain_reply(200, std::string(big_page, 'x'));
  }
  if (target == "/throw") {
    throw std::runtime_error{"no such luck"};
  }
  return target == "/page" ? plain_reply(200, "hello\n") : plain_reply(404, "not found\n");
}

bool wait_until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::yield();
  }
  return true;
}

class HttpServerTest : public ::testing::Test {
 protected:
  ~HttpServerTest() override { shut_down(); }

  void serve(HttpLimits limits = {}, const std::string& token = {}) {
    server_.emplace(context_, test_page, events_, limits);
    if (!token.empty()) server_->ask_for({std::make_shared<const std::string>(token), nullptr});
    server_->listen({"127.0.0.1", 0, false});
    port_ = server_->endpoints().at(0).port();
    thread_ = std::thread{[this] { context_.run(); }};
  }
  std::size_t connections() {
    std::promise<std::size_t> count;
    asio::post(context_, [&] { count.set_value(server_->connection_count()); });
    return count.get_future().get();
  }
  std::future<void> stop() { return asio::co_spawn(context_, server_->stop(), asio::use_future); }
  void shut_down() {
    if (thread_.joinable()) {
      stop().get();
      work_.reset();
      thread_.join();
    }
  }

  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  Events events_;
  std::optional<HttpServer> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST_F(HttpServerTest, AnswersGetWithHeaderAndBody) {
  serve();
  const std::string reply = Client{port_}.get("/page");
  EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(reply, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
  EXPECT_THAT(reply, HasSubstr("Content-Length: 6\r\n"));
  EXPECT_TRUE(reply.ends_with("\r\n\r\nhello\n"));
}

TEST_F(HttpServerTest, AnswersHeadWithTheSameHeaderAndNoBody) {
  serve();
  Client client{port_};
  client.send("HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n");
  std::string get = Client{port_}.get("/page");
  get.resize(get.find("\r\n\r\n") + 4);
  EXPECT_EQ(client.reply(true), get);
  EXPECT_THAT(client.get("/page"), HasSubstr("hello")) << "nothing of a body may follow a HEAD";
}

TEST_F(HttpServerTest, KeepsTheConnectionAndAnswersPipelinedRequestsInOrder) {
  serve();
  Client client{port_};
  client.send(
      "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
      "HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /missing HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.reply(), HasSubstr("hello"));
  EXPECT_THAT(client.reply(true), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(client.reply(), HasSubstr("hello"));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, TakesARequestByteByByte) {
  serve();
  Client client{port_};
  for (const char c : std::string_view{"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"}) {
    ASSERT_TRUE(client.send({&c, 1}));
  }
  EXPECT_THAT(client.reply(), HasSubstr("hello"));
}

TEST_F(HttpServerTest, ClosesWhenTheClientAsksForIt) {
  serve();
  Client client{port_};
  client.send("GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.reply(), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, ClosesAfterAnHttp10Request) {
  serve();
  Client client{port_};
  client.send("GET /page HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.0 200"));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, AnswersHttp10KeepAliveInKind) {
  serve();
  Client client{port_};
  client.send("GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string reply = client.reply();
  EXPECT_THAT(reply, StartsWith("HTTP/1.0 200"));
  EXPECT_THAT(reply, HasSubstr("Connection: keep-alive"));
  client.send("GET /page HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.reply(), HasSubstr("hello"));
}

TEST_F(HttpServerTest, RefusesOtherMethodsAndNamesThoseAllowed) {
  serve();
  for (const std::string method : {"DELETE", "OPTIONS", "BREW"}) {
    Client client{port_};
    client.send(method + " /page HTTP/1.1\r\nHost: x\r\n\r\n");
    const std::string reply = client.reply();
    EXPECT_THAT(reply, StartsWith("HTTP/1.1 405")) << method;
    EXPECT_THAT(reply, HasSubstr("Allow: GET, HEAD\r\n"));
    EXPECT_THAT(client.get("/page"), HasSubstr("hello")) << "the connection is still good";
  }
}

TEST_F(HttpServerTest, DoesNotReadABodyAndNeverTakesItForARequest) {
  serve();
  const std::string smuggled = "GET /page HTTP/1.1\r\n\r\n";
  for (const std::string head :
       {"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n",
        "GET /page HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n",
        "GET /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    Client client{port_};
    client.send(head + smuggled);
    EXPECT_THAT(client.reply(), StartsWith(head[0] == 'P' ? "HTTP/1.1 405" : "HTTP/1.1 400"));
    EXPECT_TRUE(client.closed()) << head;
  }
}

TEST_F(HttpServerTest, RefusesWhatIsNotHttp) {
  serve();
  for (const std::string_view garbage :
       {std::string_view{"\x00\x00\x00\x08\x04\xD2\x16\x2F", 8},      // PostgreSQL's SSLRequest
        std::string_view{"\x16\x03\x01\x02\x00\x01\x00\x01\xFC", 9},  // TLS
        std::string_view{"GET\r\n\r\n"}, std::string_view{"\r\n\r\n"},
        std::string_view{"get /page HTTP/1.1\r\n\r\n"},  // in one piece or in many
        std::string_view{"GET /page HTTP/9.9\r\n\r\n"},
        std::string_view{"GET /page HTTP/1.1\r\nno colon\r\n\r\n"}}) {
    Client client{port_};
    client.send(garbage);
    EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 400"));
    EXPECT_TRUE(client.closed());
  }
}

TEST_F(HttpServerTest, RefusesAnOversizedHeaderAndTheClientGetsToReadIt) {
  serve();
  Client client{port_};
  client.send("GET /page HTTP/1.1\r\nHost: x\r\nX-Long: " + std::string(32 * 1024, 'a') +
              "\r\n\r\n");
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 431"));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, RefusesAHeaderThatGrowsFieldByField) {
  serve();
  Client client{port_};
  client.send("GET /page HTTP/1.1\r\n");
  for (int i = 0; i < 2000; ++i) {
    client.send("X: y\r\n");
  }
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 431"));
}

TEST_F(HttpServerTest, TakesAHeaderUpToTheLimit) {
  serve({.header_bytes = 1024});
  const std::string begin = "GET /page HTTP/1.1\r\nX: ";
  const std::string end = "\r\n\r\n";
  const std::string fill(1024 - begin.size() - end.size(), 'a');
  Client client{port_};
  client.send(begin + fill + end + begin + fill + end);
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 200"));
  client.send(begin + fill + "a" + end);
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 431"));
}

TEST_F(HttpServerTest, DropsAClientThatNeverFinishesItsRequest) {
  serve({.request_deadline = 100ms});
  Client silent{port_};
  Client half{port_};
  half.send("GET /page HTT");
  Client trickling{port_};
  bool closed = false;
  // A byte now and then does not extend the deadline.
  ASSERT_TRUE(wait_until([&] {
    closed = closed || !trickling.send("G") || trickling.closed_within(5ms);
    return closed;
  }));
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(half.closed());
  EXPECT_TRUE(wait_until([&] { return connections() == 0; }));
}

TEST_F(HttpServerTest, DropsAClientThatDoesNotTakeItsReply) {
  serve({.request_deadline = 100ms});
  Client client;
  client.small_receive_buffer();
  client.connect(port_);
  client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(wait_until([&] { return connections() == 1; }));
  EXPECT_TRUE(wait_until([&] { return connections() == 0; }));
}

TEST_F(HttpServerTest, ClosesAConnectionThatStaysIdleBetweenRequests) {
  serve({.request_deadline = 10s, .idle_deadline = 100ms});
  Client client{port_};
  EXPECT_THAT(client.get("/page"), HasSubstr("hello"));
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, ServesSixtyFourConnectionsAndClosesMore) {
  serve();
  std::vector<Client> clients;
  for (int i = 0; i < 64; ++i) {
    clients.emplace_back(port_);
    ASSERT_THAT(clients.back().get("/page"), HasSubstr("hello")) << i;
  }
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Client{port_}.get("/page"), "");
  }
  EXPECT_THAT(clients.front().get("/page"), HasSubstr("hello"));
  clients.pop_back();
  ASSERT_TRUE(wait_until([&] { return connections() == 63; }));
  EXPECT_THAT(Client{port_}.get("/page"), HasSubstr("hello"));
}

TEST_F(HttpServerTest, AnExceptionOfAPageIsA500AndTheConnectionStays) {
  serve();
  Client client{port_};
  EXPECT_THAT(client.get("/throw"), StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(client.get("/page"), HasSubstr("hello"));
  EXPECT_THAT(events_.all(), ::testing::ElementsAre("no such luck"));
}

TEST_F(HttpServerTest, DoesNotTellTheClientWhyAPageFailed) {
  serve();
  EXPECT_THAT(Client{port_}.get("/throw"), Not(HasSubstr("no such luck")));
}

TEST_F(HttpServerTest, GoesOnAcceptingWhenDescriptorsComeBack) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan opens a pipe to look at an object's vptr, and takes it for invalid where "
                  "that fails";
#endif
  serve();
  Client client;  // has its descriptor before they run out
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const int next = ::dup(0);
  ::close(next);
  rlimit none_left{static_cast<rlim_t>(next), limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none_left), 0);
  client.connect(port_);
  client.send("GET /page HTTP/1.1\r\nHost: x\r\n\r\n");
  const bool told = wait_until([&] { return !events_.all().empty(); });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_TRUE(told);
  EXPECT_THAT(events_.all().front(),
              StartsWith("127.0.0.1:" + std::to_string(port_) + ": Too many open files"));
  EXPECT_THAT(client.reply(), HasSubstr("hello"));
}

TEST_F(HttpServerTest, AStopClosesIdleConnectionsAtOnce) {
  serve({.stop_deadline = 60s});
  Client idle{port_};
  EXPECT_THAT(idle.get("/page"), HasSubstr("hello"));
  Client fresh{port_};
  ASSERT_TRUE(wait_until([&] { return connections() == 2; }));
  ASSERT_EQ(stop().wait_for(10s), std::future_status::ready);
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(fresh.closed());
}

TEST_F(HttpServerTest, AStopLetsAReplyUnderWayFinish) {
  serve({.stop_deadline = 60s});
  Client client;
  client.small_receive_buffer();
  client.connect(port_);
  client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.reply_begins());
  auto stopped = stop();
  EXPECT_GE(client.reply().size(), big_page);
  EXPECT_EQ(stopped.wait_for(10s), std::future_status::ready);
}

TEST_F(HttpServerTest, AStopDoesNotWaitLongerThanItsDeadline) {
  serve({.stop_deadline = 50ms});
  Client client;
  client.small_receive_buffer();
  client.connect(port_);
  client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return connections() == 1; }));
  ASSERT_EQ(stop().wait_for(5s), std::future_status::ready);
  EXPECT_EQ(connections(), 0U);
}

TEST_F(HttpServerTest, MayBeDestroyedWithConnectionsOpen) {
  serve();
  Client client{port_};
  EXPECT_THAT(client.get("/page"), HasSubstr("hello"));
  std::promise<void> destroyed;
  asio::post(context_, [&] {
    server_.reset();
    destroyed.set_value();
  });
  destroyed.get_future().get();
  EXPECT_TRUE(client.closed());
  work_.reset();
  thread_.join();  // the context runs out of work: no coroutine is left behind
}

TEST(HttpServerListen, SaysWhichAddressIsTaken) {
  asio::io_context context{1};
  Events events;
  HttpServer first{context, test_page, events};
  first.listen({"127.0.0.1", 0, false});
  const auto port = first.endpoints().at(0).port();
  HttpServer second{context, test_page, events};
  try {
    second.listen({"127.0.0.1", port, false});
    FAIL() << "listens twice";
  } catch (const std::system_error& error) {
    EXPECT_EQ(std::string{error.what()}, "cannot listen for HTTP on 127.0.0.1:" +
                                             std::to_string(port) + ": Address already in use");
    EXPECT_EQ(error.code(), std::errc::address_in_use);
  }
  EXPECT_TRUE(second.endpoints().empty());
}

TEST(HttpServerListen, SaysWhichHostDoesNotExist) {
  asio::io_context context{1};
  Events events;
  HttpServer server{context, test_page, events};
  try {
    server.listen({"no-such-host.invalid", 1, false});
    FAIL() << "listens nowhere";
  } catch (const std::system_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no-such-host.invalid:1"));
  }
}

TEST(HttpServerListen, ListensOnANameOnEveryAddressItHas) {
  asio::io_context context{1};
  Events events;
  HttpServer server{context, test_page, events};
  server.listen({"localhost", 0, false});
  EXPECT_GE(server.endpoints().size(), 1U);
  for (const auto& endpoint : server.endpoints()) {
    EXPECT_TRUE(endpoint.address().is_loopback());
  }
}

TEST_F(HttpServerTest, AnswersOnlyRequestsForALoopbackHostWhereItShould) {
  serve({.loopback_host_only = true});
  const auto status_of = [&](const std::string& request) {
    Client client{port_};
    client.send(request);
    return client.reply().substr(9, 3);
  };
  for (const auto* host : {"127.0.0.1", "localhost:9733", "[::1]:1"})
    EXPECT_EQ(status_of(std::string{"GET /page HTTP/1.1\r\nHost: "} + host + "\r\n\r\n"), "200")
        << host;
  for (const auto* host : {"evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", ""})
    EXPECT_EQ(status_of(std::string{"GET /page HTTP/1.1\r\nHost: "} + host + "\r\n\r\n"), "403")
        << host;
  EXPECT_EQ(status_of("GET /page HTTP/1.0\r\n\r\n"), "403");
  EXPECT_EQ(status_of("GET /page HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
            "403");
  EXPECT_EQ(status_of("GET http://evil.example/page HTTP/1.1\r\nHost: localhost\r\n\r\n"), "403");
}

TEST_F(HttpServerTest, WhoDoesNotShowTheTokenLearnsNothing) {
  serve({}, "0123456789abcdef");
  const auto reply_to = [&](const std::string& request) {
    Client client{port_};
    client.send(request + "\r\n\r\n");
    return client.reply();
  };
  const std::string host = " HTTP/1.1\r\nHost: db1";
  const std::string shown = "\r\nAuthorization: Bearer 0123456789abcdef";
  EXPECT_THAT(reply_to("GET /page" + host + shown), HasSubstr("hello"));
  for (const std::string& wrong :
       {std::string{}, std::string{"\r\nAuthorization: Bearer 0123456789abcdee"},
        std::string{"\r\nX-Authorization: Bearer 0123456789abcdef"},
        std::string{"\r\nCookie: token=0123456789abcdef"}, shown + shown,
        shown + "\r\nAuthorization: Basic x"}) {
    const std::string reply = reply_to("GET /page?token=0123456789abcdef" + host + wrong);
    EXPECT_THAT(reply, StartsWith("HTTP/1.1 401")) << wrong;
    EXPECT_THAT(reply, HasSubstr("WWW-Authenticate: Basic realm=\"pgleash\"")) << wrong;
    EXPECT_THAT(reply, Not(HasSubstr("hello"))) << wrong;
  }
  for (const auto* other : {"/nothing", "/throw"})
    EXPECT_THAT(reply_to(std::string{"GET "} + other + host), StartsWith("HTTP/1.1 401"))
        << "what there is, is said to who shows it";
  EXPECT_THAT(reply_to("POST /page" + host + "\r\nContent-Length: 0"), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(reply_to("POST /page" + host + shown + "\r\nContent-Length: 0"),
              StartsWith("HTTP/1.1 405"));
}

TEST_F(HttpServerTest, ATokenThatIsReplacedDoesNotEvenServeAnOpenConnection) {
  serve({}, "0123456789abcdef");
  Client client{port_};
  const std::string request =
      "GET /page HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n";
  client.send(request);
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 200"));
  std::promise<void> replaced;
  asio::post(context_, [&] {
    server_->ask_for({std::make_shared<const std::string>("fedcba9876543210"), nullptr});
    replaced.set_value();
  });
  replaced.get_future().get();
  client.send(request);
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 401"));
}

TEST_F(HttpServerTest, APageOfAnotherPlaceGetsNothing) {
  serve({.loopback_host_only = true});
  const auto status_for = [&](const std::string& origin) {
    Client client{port_};
    client.send("GET /page HTTP/1.1\r\nHost: localhost:1\r\nOrigin: " + origin + "\r\n\r\n");
    return client.reply().substr(9, 3);
  };
  EXPECT_EQ(status_for("http://localhost:1"), "200");
  for (const auto* origin : {"http://evil.example", "http://localhost:2", "null"})
    EXPECT_EQ(status_for(origin), "403") << origin;
}

TEST_F(HttpServerTest, AMegabyteOfHeaderIsRefusedAfterTheFirstKilobytes) {
  serve({.loopback_host_only = true});
  Client client{port_};
  client.send("GET /page HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(8 * 1024, 'a'));
  EXPECT_THAT(client.reply(), StartsWith("HTTP/1.1 431"));
  Client greedy{port_};
  (void)greedy.send("GET /page HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(1U << 20, 'a'));
  EXPECT_TRUE(wait_until([&] { return connections() == 0; }))
      << "it is not listened to until it tires";
}

TEST_F(HttpServerTest, WhoSendsAByteNowAndThenIsCutOffAtTheDeadline) {
  serve({.loopback_host_only = true, .request_deadline = 300ms});
  Client slow{port_};
  const auto began = std::chrono::steady_clock::now();
  std::string_view request = "GET /page HTTP/1.1\r\nHost: localhost\r\nX: aaaaaaaaaaaaaaaaaaaaaaaa";
  EXPECT_TRUE(wait_until([&] {
    if (!request.empty()) {
      (void)slow.send(request.substr(0, 1));
      request.remove_prefix(1);
    }
    return slow.closed_within(20ms);
  }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, 300ms);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s) << "each byte must not buy more time";
}

TEST_F(HttpServerTest, NothingMayBeLoadedOrRunByWhatIsNoPage) {
  serve();
  EXPECT_THAT(Client{port_}.get("/page"),
              HasSubstr("Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"));
}

}  // namespace
}  // namespace pgleash::metrics
