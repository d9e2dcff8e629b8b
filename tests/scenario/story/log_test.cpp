#include "tests/scenario/story/story.hpp"

#include <arpa/inet.h>
#include <deque>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/// What the log of the real program says of sessions that end, and of floods.
namespace pgleash::test {
namespace {

class Log : public Story {
 protected:
  /// Connects and waits for the other side to close.
  static void knock(std::uint16_t port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{10, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ASSERT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    // 196608 is version 3.0; a refusal is said to who has spoken.
    const std::string startup{"\0\0\0\x10\0\x03\0\0user\0a\0\0", 16};
    (void)::send(socket, startup.data(), startup.size(), MSG_NOSIGNAL);
    char byte[256];
    while (::recv(socket, byte, sizeof byte, 0) > 0) {
    }
    ::close(socket);
  }
  std::string refusal(std::map<std::string, std::string> more) {
    try {
      login(std::move(more));
    } catch (const std::runtime_error& refused) {
      return refused.what();
    }
    return "";
  }
  /// Lines of the event, by the application or result that they name.
  std::multimap<std::string, std::string> lines(const std::string& event, const std::string& key,
                                                const std::string& value) {
    std::multimap<std::string, std::string> all;
    for (const auto& line : pgleash().log(event)) all.emplace(text(line, key), text(line, value));
    return all;
  }
};

TEST_F(Log, HasExactlyOneLineOfEachEndWithItsCauseAndDurations) {
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "300ms", "terminate",
                         for_application("forgetful")) +
                    "[[quota]]\nname = \"few\"\nkey = \"application\"\nsessions = 8\n"});
  {
    auto normal = login({{"application_name", "normal"}});
    normal.exec("SELECT 1");
  }
  {
    auto vanishes = login({{"application_name", "vanishes"}});
    vanishes.exec("SELECT 1");
    const linger reset{1, 0};
    ::setsockopt(vanishes.socket(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    // The socket goes before libpq can say goodbye.
    const int nothing = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::dup2(nothing, vanishes.socket());
    ::close(nothing);
  }
  auto forgetful = login({{"application_name", "forgetful"}});
  forgetful.exec("BEGIN");
  EXPECT_TRUE(forgetful.ended(10s));
  auto fatal = login({{"application_name", "fatal"}});
  postgres().sql(fmt::format("SELECT pg_terminate_backend({})", fatal.pid()));
  EXPECT_TRUE(fatal.ended(10s));
  EXPECT_THAT(refusal({{"application_name", "stranger"}, {"password", "wrong"}}),
              HasSubstr("password authentication failed"));
  std::deque<Application> many;
  for (int i = 0; i < 8; ++i) many.push_back(login({{"application_name", "many"}}));
  EXPECT_THAT(refusal({{"application_name", "many"}}), HasSubstr("too many sessions"));
  many.clear();
  auto stays = login({{"application_name", "stays"}});
  stays.exec("BEGIN");
  const auto closed = [&] { return pgleash().log("session.closed").size(); };
  EXPECT_TRUE(wait_until([&] { return closed() == 12; }, 10s)) << closed();
  EXPECT_EQ(pgleash().terminate(), 0);

  const auto ends = lines("session.closed", "application", "cause");
  EXPECT_EQ(ends.count("normal"), 1U);
  EXPECT_EQ(ends.find("normal")->second, "client_terminate");
  EXPECT_EQ(ends.count("vanishes"), 1U);
  EXPECT_EQ(ends.find("vanishes")->second, "client_abort");
  EXPECT_EQ(ends.count("forgetful"), 1U);
  EXPECT_EQ(ends.find("forgetful")->second, "rule");
  EXPECT_EQ(ends.count("fatal"), 1U);
  EXPECT_EQ(ends.find("fatal")->second, "server_error");
  EXPECT_EQ(ends.count("many"), 8U);
  EXPECT_EQ(ends.count("stays"), 1U);
  EXPECT_EQ(ends.find("stays")->second, "drain");
  EXPECT_EQ(ends.size(), 13U) << "nobody else had a session";

  std::map<std::string, int> opened;
  for (const auto& line : pgleash().log("session.opened")) ++opened[text(line, "session")];
  std::map<std::string, int> ended;
  for (const auto& line : pgleash().log("session.closed")) {
    ++ended[text(line, "session")];
    EXPECT_GE(number(line, "state_seconds"), 0);
    EXPECT_GE(number(line, "lasted_seconds"), number(line, "state_seconds"));
    if (text(line, "application") == "forgetful") {
      EXPECT_GE(number(line, "state_seconds"), 0.3);
    }
  }
  EXPECT_EQ(ended, opened) << "one line for each";
  const auto refused = lines("connection.refused", "result", "why");
  EXPECT_EQ(refused.size(), 2U);
  EXPECT_EQ(refused.count("quota"), 1U);
  ASSERT_EQ(refused.count("server_refused"), 1U);
  EXPECT_EQ(refused.find("server_refused")->second,
            "the server refused it with SQLSTATE 28P01: user app, database orders");
}

TEST_F(Log, TenThousandRefusedConnectionsAreAFewLinesAndACount) {
  pgleash({.listener = "allow = [\"10.0.0.0/8\"]\n", .monitor = false});
  constexpr int knocks = 10'000;
  for (int i = 0; i < knocks && !HasFailure(); ++i) knock(pgleash().port());
  EXPECT_EQ(pgleash().terminate(), 0);
  const auto refused = pgleash().log("connection.refused").size();
  double left_out = 0;
  for (const auto& line : pgleash().log("connection.refused_more")) {
    EXPECT_EQ(text(line, "result"), "not_allowed");
    EXPECT_EQ(text(line, "listener"), "main");
    left_out += number(line, "left_out");
  }
  EXPECT_EQ(static_cast<double>(refused) + left_out, knocks) << "each is written or counted";
  EXPECT_LT(refused + pgleash().log("connection.refused_more").size(), 500U);
  EXPECT_THAT(pgleash().log("log.lines_lost"), IsEmpty());
}

TEST_F(Log, AFloodOfFailingLoginsIsAFewLinesAndACount) {
  pgleash({.monitor = false});
  constexpr int attempts = 200;
  for (int i = 0; i < attempts; ++i) EXPECT_NE(refusal({{"password", "guess"}}), "");
  EXPECT_EQ(pgleash().terminate(), 0);
  const auto refused = pgleash().log("connection.refused").size();
  double left_out = 0;
  for (const auto& line : pgleash().log("connection.refused_more"))
    left_out += number(line, "left_out");
  EXPECT_EQ(static_cast<double>(refused) + left_out, attempts);
  EXPECT_LT(refused, 150U);
}

}  // namespace
}  // namespace pgleash::test
