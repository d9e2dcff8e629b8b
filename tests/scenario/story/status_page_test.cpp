#include "tests/scenario/story/story.hpp"
#include "tests/support/certificates.hpp"

#include <arpa/inet.h>
#include <deque>
#include <fstream>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/// The status page as strangers and attackers meet it, by what curl gets of the real program.
namespace pgleash::test {
namespace {

using testing::Not;
using testing::StartsWith;

constexpr const char* first_token = "5c1d0e0d5f4f4b1d9b4b0a6a2f0f3c11";
constexpr const char* second_token = "ffffffff5f4f4b1d9b4b0a6a2f0f3c11";

/// A connection that says something and then waits.
class Held {
 public:
  explicit Held(std::uint16_t port, const std::string& said) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      (void)::send(socket_, said.data(), said.size(), MSG_NOSIGNAL);
  }
  ~Held() { ::close(socket_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  int socket_ = -1;
};

class StatusPage : public Story {
 protected:
  void write_token(const std::string& token) const {
    std::ofstream{certificates_.path("page.token")} << token << '\n';
    ASSERT_EQ(::chmod(certificates_.path("page.token").c_str(), 0640), 0);
  }
  /// On every address, with TLS and token.
  void serve_everywhere() {
    write_token(first_token);
    const CertificateFiles files = certificates_.issue("page");
    pgleash(
        {.monitor = false,
         .http_host = "0.0.0.0",
         .http = fmt::format("token_file = \"{}\"\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n",
                             certificates_.path("page.token"), files.cert, files.key)});
  }
  /// Status and body: "200 …"; "000" when there was no answer.
  std::string curl(const std::string& path, std::vector<std::string> more = {},
                   const std::string& scheme = "https") {
    Command command{{"curl", "-s", "-S", "--max-time", "20", "--cacert", certificates_.ca(), "-w",
                     "\n%{http_code}", "-o", "-"},
                    {},
                    {}};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    command.argv.push_back(
        fmt::format("{}://localhost:{}{}", scheme, pgleash().status_port(), path));
    const auto done = run(command);
    const auto line = done.out.rfind('\n');
    return done.out.substr(line + 1) + ' ' + done.out.substr(0, line);
  }
  static std::vector<std::string> bearer(const std::string& token) {
    return {"-H", "Authorization: Bearer " + token};
  }

  Certificates certificates_;
};

TEST_F(StatusPage, ElsewhereItIsForWhoHasTheToken) {
  serve_everywhere();
  const auto kept = login({{"application_name", "secretive"}});
  ASSERT_TRUE(wait_until(
      [&] {
        return curl("/api/sessions", bearer(first_token)).find("secretive") != std::string::npos;
      },
      10s));
  EXPECT_THAT(curl("/", {"-u", "anybody:" + std::string{first_token}}), StartsWith("200"))
      << "a browser asks its user";
  for (const auto& wrong : {std::vector<std::string>{}, bearer(second_token), bearer(""),
                            std::vector<std::string>{"-u", std::string{first_token} + ":wrong"},
                            std::vector<std::string>{"-b", "token=" + std::string{first_token}}})
    for (const auto* path : {"/", "/api/sessions", "/api/nothing"}) {
      const auto answer = curl(path, wrong);
      EXPECT_THAT(answer, StartsWith("401")) << path;
      EXPECT_THAT(answer, Not(HasSubstr("secretive")));
    }
  EXPECT_THAT(curl("/api/sessions?token=" + std::string{first_token}), StartsWith("401"));
  EXPECT_THAT(curl("/api/status", {"-X", "POST", "-d", "x=1"}), StartsWith("401"));
  auto foreign = bearer(first_token);
  foreign.insert(foreign.end(), {"-H", "Origin: https://evil.example"});
  EXPECT_THAT(curl("/api/status", foreign), StartsWith("403"));
  auto post = bearer(first_token);
  post.insert(post.end(), {"-X", "POST", "-d", "x=1"});
  EXPECT_THAT(curl("/api/status", post), StartsWith("405"));
  EXPECT_THAT(pgleash().process().err(), Not(HasSubstr(first_token)));
  EXPECT_THAT(pgleash().process().out(), Not(HasSubstr(first_token)));
}

TEST_F(StatusPage, APlainRequestToTheTlsPortLearnsNothing) {
  serve_everywhere();
  const auto answer = curl("/api/status", bearer(first_token), "http");
  EXPECT_THAT(answer, StartsWith("000"));
  EXPECT_THAT(answer, Not(HasSubstr("orders")));
  EXPECT_THAT(curl("/api/status", bearer(first_token)), StartsWith("200")) << "others go on";
}

TEST_F(StatusPage, AnotherTokenIsTakenWithoutARestart) {
  serve_everywhere();
  write_token(second_token);
  pgleash().process().signal(SIGHUP);
  EXPECT_TRUE(wait_until(
      [&] { return curl("/api/status", bearer(second_token)).starts_with("200"); }, 10s));
  EXPECT_THAT(curl("/api/status", bearer(first_token)), StartsWith("401"));
  // One that cannot be trusted is not.
  write_token("short");
  pgleash().process().signal(SIGHUP);
  EXPECT_TRUE(wait_until(
      [&] { return pgleash().metric("pgleash_config_last_reload_successful") == 0; }, 10s));
  EXPECT_THAT(curl("/api/status", bearer(second_token)), StartsWith("200"));
}

TEST_F(StatusPage, OnLoopbackItAnswersNoNameThatWasPointedThere) {
  pgleash({.monitor = false});
  EXPECT_THAT(curl("/api/status", {}, "http"), StartsWith("200"));
  for (const auto* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example"})
    EXPECT_THAT(curl("/api/status", {"-H", fmt::format("Host: {}", host)}, "http"),
                StartsWith("403"))
        << host;
}

TEST_F(StatusPage, WhoHoldsAllItsConnectionsHoldsNothingElse) {
  serve_everywhere();
  std::deque<Held> held;
  for (int i = 0; i < 64; ++i)
    held.emplace_back(pgleash().status_port(), i % 2 == 0 ? "" : std::string("\x16\x03\x01", 3));
  EXPECT_TRUE(
      wait_until([&] { return curl("/api/status", bearer(first_token)).starts_with("000"); }, 5s))
      << "all places are taken";
  EXPECT_THAT(pgleash().page("/metrics"), HasSubstr("pgleash_sessions"));
  EXPECT_EQ(pgleash().page("/healthz"), "ok\n");
  EXPECT_EQ(login().exec("SELECT 'served'"), "served");
  EXPECT_TRUE(
      wait_until([&] { return curl("/api/status", bearer(first_token)).starts_with("200"); }, 20s))
      << "who says nothing is cut off after ten seconds";
}

TEST_F(StatusPage, AnOversizedRequestIsRefusedAndOthersGoOn) {
  serve_everywhere();
  auto large = bearer(first_token);
  large.insert(large.end(), {"-H", "X: " + std::string(32'000, 'x')});
  EXPECT_THAT(curl("/api/status", large), StartsWith("431"));
  EXPECT_THAT(curl("/api/" + std::string(32'000, 'x'), bearer(first_token)), StartsWith("431"));
  EXPECT_THAT(curl("/api/status", bearer(first_token)), StartsWith("200"));
}

}  // namespace
}  // namespace pgleash::test
