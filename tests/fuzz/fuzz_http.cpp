#include "metrics/http_connection.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
using namespace pgleash::metrics;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

constexpr HttpLimits limits(bool loopback_host_only) {
  HttpLimits some;
  some.loopback_host_only = loopback_host_only;
  some.header_bytes = 512;
  // What a stranger's bytes do is the question, and not how long the machine keeps this process
  // waiting meanwhile: no deadline passes here.
  some.request_deadline = some.idle_deadline = some.linger_deadline = std::chrono::hours{24};
  return some;
}

struct Answers {
  std::string bytes;
  std::vector<std::string> targets;
};

/// What a client gets that sends `text` in such pieces and then says that this was all.
Answers answers(std::string_view text, std::size_t piece, bool loopback_host_only,
                const HttpAccess& access) {
  int ends[2] = {-1, -1};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0,
          "a pair");
  Answers got;
  {
    asio::io_context context{1};
    asio::ip::tcp::socket socket{context};
    socket.assign(asio::ip::tcp::v4(), ends[0]);  // a stream is a stream
    HttpConnection connection{std::move(socket), limits(loopback_host_only), access};
    const GetPage get_page = [&](std::string_view target) {
      got.targets.emplace_back(target);
      return plain_reply(target == "/page" ? 200 : 404, "page\n");
    };
    struct {
      bool over = false;
    } task;
    asio::co_spawn(context, connection.serve(get_page), [&](const std::exception_ptr& failure) {
      require(!failure, "a client's bytes throw nothing");
      task.over = true;
    });
    bool told = false;
    for (int turns = 0; !task.over; ++turns) {
      require(turns < 100'000, "it comes to an end");
      const auto chunk = text.substr(0, piece);
      if (!chunk.empty()) {
        const auto sent = ::send(ends[1], chunk.data(), chunk.size(), MSG_NOSIGNAL);
        text.remove_prefix(sent > 0 ? static_cast<std::size_t>(sent) : 0);
        if (sent < 0 && errno != EAGAIN) text = {};  // it has hung up
      } else if (!std::exchange(told, true)) {
        ::shutdown(ends[1], SHUT_WR);
      }
      context.poll();
      char part[4096];
      for (ssize_t n = 0; (n = ::recv(ends[1], part, sizeof part, 0)) > 0;)
        got.bytes.append(part, static_cast<std::size_t>(n));
    }
  }
  char part[4096];
  for (ssize_t n = 0; (n = ::recv(ends[1], part, sizeof part, 0)) > 0;)
    got.bytes.append(part, static_cast<std::size_t>(n));
  ::close(ends[1]);
  return got;
}

std::size_t count(std::string_view text, std::string_view word) {
  std::size_t found = 0;
  for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1))
    ++found;
  return found;
}

bool mentions_authorization(std::string_view text) {
  const std::string_view word = "authorization";
  return std::search(text.begin(), text.end(), word.begin(), word.end(),
                     [](char a, char b) { return (a | 0x20) == b; }) != text.end();
}

}  // namespace

/// Any bytes as HTTP requests. However they are cut the same is answered; a page is asked for only
/// by a whole header, where only this machine may ask only under its own name, and where a token
/// is asked for only with one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 1024) return 0;  // the limit of a header is 512 here
  const std::string_view text{reinterpret_cast<const char*>(data + 1), size - 1};
  const bool loopback_host_only = (data[0] & 1U) != 0;
  const bool asks_for_token = (data[0] & 2U) != 0;
  const std::size_t piece = 1 + (data[0] >> 2U);
  HttpAccess access;
  if (asks_for_token) access.token = std::make_shared<const std::string>("key");
  const Answers whole = answers(text, text.size(), loopback_host_only, access);
  const Answers pieces = answers(text, piece, loopback_host_only, access);
  require(whole.bytes == pieces.bytes, "the same answers in pieces");
  require(whole.targets == pieces.targets, "to the same questions");
  require(whole.bytes.empty() || whole.bytes.starts_with("HTTP/1."), "an answer is one of HTTP");
  require(whole.targets.size() <= count(text, "\r\n\r\n"), "a page for each whole header at most");
  require(!asks_for_token || whole.targets.empty() || mentions_authorization(text),
          "no page without the token");
  for (const std::string& target : whole.targets) {
    require(text.find(target) != std::string_view::npos, "what was asked for was said");
    require(std::none_of(target.begin(), target.end(),
                         [](unsigned char c) { return c <= ' ' || c == 0x7F; }),
            "no blank or control character is in a target");
    require(!loopback_host_only || target.starts_with('/'), "no other host by the target");
  }
  return 0;
}
