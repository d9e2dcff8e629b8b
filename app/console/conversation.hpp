#pragma once

#include "app/console/encode.hpp"
#include "app/console/inbox.hpp"
#include "app/console/reply.hpp"
#include "app/console/socket.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::console {

template <class T>
using Task = boost::asio::awaitable<T>;

/// Who answers what the conversation itself cannot. Outlives it.
class Commander {
 public:
  virtual ~Commander() = default;
  /// `statement` outlives the call. Writes down who asked for what.
  virtual Task<Outcome<Reply>> execute(const Statement& statement, Scope scope) = 0;
  /// A text that could not be read.
  virtual Task<void> refused(std::string text, SqlError error) = 0;
};

struct Limits {
  Duration idle = std::chrono::minutes{15};   ///< without a message from the client
  Duration write = std::chrono::seconds{30};  ///< for the client to take 64 KiB
  std::size_t prepared = 64;                  ///< statements, and portals
  std::size_t result_rows = 100'000;
};

/// Speaks the protocol with one client of the console, from behind its login to its end: simple and
/// extended queries, text and binary results, transactions in name. Holds one result and 64 KiB of
/// bytes at most; a client that does not read is left after `Limits::write`. Control thread.
/// Source: "Frontend/Backend Protocol", Message Flow: Simple Query, Extended Query.
class Conversation {
 public:
  Conversation(Socket socket, Commander& commander, std::string user, std::string database,
               Limits limits = {});
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  /// Ends when the client leaves, a limit is passed, or stop() is called. `greeting` goes before
  /// the first ReadyForQuery.
  Task<void> run(std::string greeting);
  /// Says why and ends, instead of run().
  Task<void> refuse(SqlError error);
  void stop();

 private:
  struct Portal {
    std::shared_ptr<const Statement> statement;
    Scope scope;
    Formats formats;
    std::optional<Reply> reply;
    std::size_t next_row = 0;
  };
  using Prepared = std::shared_ptr<const Statement>;  ///< null: the empty statement

  Task<bool> receive();
  Task<bool> flush();
  Task<bool> flush_when_full();
  Task<bool> say_last(SqlError error);

  Task<bool> handle(const Inbox::Message& message);
  Task<bool> simple_query(std::string text);
  Task<bool> execute_portal(std::string name, std::uint32_t max_rows);
  Task<Outcome<Reply>> perform(std::shared_ptr<const Statement> statement, Scope scope);
  Task<bool> send_rows(Portal& portal, std::size_t max_rows, bool& suspended);

  Task<std::optional<SqlError>> parse_message(const Inbox::Message& message);
  std::optional<SqlError> bind_message(const Inbox::Message& message);
  std::optional<SqlError> describe_message(const Inbox::Message& message);
  std::optional<SqlError> close_message(const Inbox::Message& message);
  void failed(const SqlError& error);
  [[nodiscard]] Scope scope() const;

  Socket socket_;
  Commander& commander_;
  std::string user_;
  std::string database_;
  Limits limits_;
  Inbox inbox_;
  std::string out_;
  std::map<std::string, Prepared> statements_;
  std::map<std::string, std::vector<std::uint32_t>> parameter_oids_;  ///< by statement
  std::map<std::string, Portal> portals_;
  char transaction_ = 'I';
  bool skipping_ = false;  ///< an extended message failed: until Sync
  bool stopped_ = false;
};

}  // namespace pgleash::console
