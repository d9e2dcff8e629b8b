#include "app/console/conversation.hpp"

#include "tests/support/script.hpp"
#include "tests/support/wait_until.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <sys/socket.h>
#include <thread>

/// The protocol as a driver speaks it, with a desk that answers from a script.
namespace pgleash::console {
namespace {

namespace wire = protocol::wire;
using namespace std::string_literals;
using namespace std::chrono_literals;
using test::error_field;
using test::ScriptedPeer;

/// Answers each command with a row of its text, SHOW SESSIONS with as many rows as it is told to.
class EchoDesk final : public Commander {
 public:
  Task<Outcome<Reply>> execute(const Statement& statement, Scope scope) override {
    commands.push_back(statement.text);
    if (statement.text == "drain") co_return SqlError{"42501", "no"};
    Reply reply;
    reply.table.emplace();
    reply.table->columns = *columns_of(statement.action);
    Row row(reply.table->columns.size(), Cell{Null{}});
    row.front() = scope.parameters.empty() ? Cell{statement.text} : Cell{*scope.parameters[0]};
    reply.table->rows.assign(rows, row);
    reply.tag = "SELECT " + std::to_string(rows);
    co_return reply;
  }
  Task<void> refused(std::string text, SqlError error) override {
    refusals.push_back(error.sqlstate + ' ' + text);
    co_return;
  }
  std::vector<std::string> commands;
  std::vector<std::string> refusals;
  std::size_t rows = 1;
};

class ConsoleConversation : public testing::Test {
 protected:
  void begin(Limits limits = {}, std::size_t rows = 1) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    client = ScriptedPeer{ends[0]};
    desk.rows = rows;
    Socket socket{context};
    socket.assign(StreamProtocol{AF_UNIX, 0}, ends[1]);
    conversation =
        std::make_unique<Conversation>(std::move(socket), desk, "alice", "pgleash", limits);
    boost::asio::co_spawn(context, conversation->run("greeting"), [this](std::exception_ptr) {
      conversation.reset();
      over.set_value();
    });
    thread = std::thread{[this] { context.run(); }};
    client.expect("greeting" + wire::ready());
  }
  void TearDown() override {
    client.close();
    if (thread.joinable()) thread.join();
  }
  bool is_over() { return over.get_future().wait_for(10s) == std::future_status::ready; }
  /// Types of the messages up to ReadyForQuery, and its byte: "TDCZI".
  std::string types() {
    std::string all;
    for (;;) {
      const std::string message = client.read_message();
      all += message[0];
      if (message[0] == 'E') all += '(' + error_field(message, 'C') + ')';
      if (message[0] == 'Z') return all + message[5];
    }
  }
  std::string ask(std::string_view bytes) {
    client.send(bytes);
    return types();
  }

  boost::asio::io_context context{1};
  EchoDesk desk;
  std::unique_ptr<Conversation> conversation;
  ScriptedPeer client;
  std::promise<void> over;
  std::thread thread;
};

std::string describe(char kind, std::string_view name = {}) {
  return wire::message('D', kind + wire::zero_ended(name));
}

TEST_F(ConsoleConversation, AnswersSimpleQueries) {
  begin();
  EXPECT_EQ(ask(wire::query("show version")), "TDCZI");
  EXPECT_EQ(ask(wire::query("show version; select 1")), "TDCTDCZI");
  EXPECT_EQ(ask(wire::query("")), "IZI");
  EXPECT_EQ(ask(wire::query("drain; show version")), "E(42501)ZI") << "the rest is not done";
  EXPECT_EQ(ask(wire::query("drop table x")), "E(0A000)ZI");
  EXPECT_EQ(desk.refusals, std::vector<std::string>{"0A000 drop table x"});
}

TEST_F(ConsoleConversation, TransactionsAreThereInName) {
  begin();
  EXPECT_EQ(ask(wire::query("begin")), "CZT");
  EXPECT_EQ(ask(wire::query("drain")), "E(42501)ZE");
  EXPECT_EQ(ask(wire::query("show version")), "E(25P02)ZE");
  EXPECT_EQ(ask(wire::query("commit")), "CZI");
  EXPECT_EQ(ask(wire::query("show version")), "TDCZI");
}

TEST_F(ConsoleConversation, SpeaksTheExtendedProtocol) {
  begin();
  EXPECT_EQ(ask(wire::parse("show version") + wire::bind() + describe('P') + wire::execute() +
                wire::sync()),
            "12TDCZI");
  EXPECT_EQ(ask(wire::parse("begin", "b") + describe('S', "b") + wire::sync()), "1tnZI");
  EXPECT_EQ(ask(wire::bind("b", "p") + wire::execute("p") + wire::sync()), "2CZT");
  EXPECT_EQ(ask(wire::close('S', "b") + wire::sync()), "3ZT");
  EXPECT_EQ(ask(wire::bind("b") + wire::sync()), "E(26000)ZE");
  EXPECT_EQ(ask(wire::query("rollback")), "CZI");
  EXPECT_EQ(ask(wire::parse("") + wire::bind() + wire::execute() + wire::sync()), "12IZI");
}

TEST_F(ConsoleConversation, SkipsToSyncBehindAnError) {
  begin();
  EXPECT_EQ(ask(wire::parse("kil it") + wire::bind() + wire::execute() +
                wire::query("show version") + wire::sync()),
            "E(42601)ZI");
  EXPECT_TRUE(desk.commands.empty());
  EXPECT_EQ(ask(wire::query("show version")), "TDCZI");
}

TEST_F(ConsoleConversation, BindsParametersInBinary) {
  begin();
  const std::string bind =
      wire::message('B', "\0\0\0\1\0\1\0\1"s + wire::int32(4) + wire::int32(48) + "\0\0"s);
  EXPECT_EQ(ask(wire::parse("kill pid $1") + describe('S') + bind + wire::execute() + wire::sync()),
            "1tT2DCZI");
  EXPECT_EQ(ask(wire::parse("kill pid $1") + wire::bind() + wire::sync()), "1E(08P01)ZI")
      << "a parameter without a value";
}

TEST_F(ConsoleConversation, GivesAResultInPortions) {
  begin({}, 5);
  const std::string two = wire::message('E', wire::zero_ended("p") + wire::int32(2));
  EXPECT_EQ(ask(wire::parse("show version") + wire::bind("", "p") + two + two + two + wire::sync()),
            "12DDsDDsDCZI");
  EXPECT_EQ(desk.commands.size(), 1U) << "asked once only";
}

TEST_F(ConsoleConversation, EveryCutOfTheBytesReadsTheSame) {
  begin();
  const std::string all = wire::parse("show version") + wire::bind() + describe('P') +
                          wire::execute() + wire::sync() + wire::query("select 1");
  for (std::size_t cut = 1; cut < all.size(); ++cut) {
    client.send(all.substr(0, cut));
    client.send(all.substr(cut));
    const std::string first = types();
    EXPECT_EQ(first + types(), "12TDCZITDCZI") << cut;
  }
}

TEST_F(ConsoleConversation, ABrokenLengthEndsIt) {
  begin();
  client.send("Q\x7f\xff\xff\xff"s);
  EXPECT_EQ(error_field(client.read_message(), 'C'), "08P01");
  client.expect_end();
}

TEST_F(ConsoleConversation, AMessageThatIsNoneEndsIt) {
  begin();
  client.send(wire::message('!'));
  EXPECT_EQ(error_field(client.read_message(), 'C'), "08P01");
  client.expect_end();
}

TEST_F(ConsoleConversation, TerminateEndsIt) {
  begin();
  client.send(wire::message('X'));
  client.expect_end();
  EXPECT_TRUE(is_over());
}

TEST_F(ConsoleConversation, OneThatSaysNothingIsLeft) {
  begin({.idle = 50ms});
  EXPECT_EQ(error_field(client.read_message(), 'C'), "57P05");
  client.expect_end();
  EXPECT_TRUE(is_over());
}

TEST_F(ConsoleConversation, OneThatDoesNotReadIsLeft) {
  begin({.write = 100ms}, 10'000);
  client.send(wire::query("show sessions"));
  EXPECT_TRUE(is_over());
}

TEST_F(ConsoleConversation, AResultThatIsTooLargeIsRefused) {
  begin({.result_rows = 10}, 11);
  EXPECT_EQ(ask(wire::query("show sessions")), "E(53400)ZI");
}

TEST_F(ConsoleConversation, PreparedStatementsAreBounded) {
  begin({.prepared = 2});
  EXPECT_EQ(ask(wire::parse("select 1", "a") + wire::parse("select 1", "b") + wire::sync()),
            "11ZI");
  EXPECT_EQ(ask(wire::parse("select 1", "c") + wire::sync()), "E(53400)ZI");
  EXPECT_EQ(ask(wire::parse("select 1", "a") + wire::sync()), "E(42P05)ZI");
}

TEST_F(ConsoleConversation, SaysWhichEncodingItCannotSpeak) {
  begin();
  EXPECT_EQ(ask(wire::query("set client_encoding to 'LATIN1'")), "E(22023)ZI");
  EXPECT_EQ(ask(wire::query("set client_encoding to 'UTF8'")), "CZI");
  EXPECT_EQ(ask(wire::query("set application_name to 'x'")), "SCZI");
  EXPECT_EQ(ask(wire::query("show client_encoding")), "TDCZI");
  EXPECT_EQ(ask(wire::query("show shared_buffers")), "E(42704)ZI");
}

}  // namespace
}  // namespace pgleash::console
