#include "app/console/conversation.hpp"

#include "app/console/parser.hpp"
#include "protocol/wire_reader.hpp"
#include "proxy/clock.hpp"
#include "proxy/deadline.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace pgleash::console {

namespace asio = boost::asio;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t full = std::size_t{64} * 1024;

protocol::Bytes bytes_of(const std::string& body) {
  return std::as_bytes(std::span{body});
}

std::optional<std::uint16_t> uint16(protocol::WireReader& reader) {
  const auto high = reader.byte();
  const auto low = reader.byte();
  if (!high || !low) return std::nullopt;
  return static_cast<std::uint16_t>(static_cast<unsigned char>(*high) << 8U |
                                    static_cast<unsigned char>(*low));
}

std::optional<Formats> formats(protocol::WireReader& reader) {
  const auto count = uint16(reader);
  if (!count) return std::nullopt;
  Formats all;
  for (std::uint16_t i = 0; i < *count; ++i) {
    const auto code = uint16(reader);
    if (!code || *code > 1) return std::nullopt;
    all.push_back(*code == 1 ? Format::binary : Format::text);
  }
  return all;
}

SqlError malformed(char type) {
  return {"08P01", std::string{"invalid message of type '"} + type + '\''};
}

SqlError aborted() {
  return {"25P02",
          "current transaction is aborted, commands ignored until end of transaction block"};
}

bool ends_transaction(const Statement& statement) noexcept {
  const auto* said = std::get_if<Courtesy>(&statement.action);
  return said != nullptr && (said->transaction == Courtesy::Transaction::commits ||
                             said->transaction == Courtesy::Transaction::rolls_back);
}

}  // namespace

Conversation::Conversation(Socket socket, Commander& commander, std::string user,
                           std::string database, Limits limits)
    : socket_(std::move(socket)),
      commander_(commander),
      user_(std::move(user)),
      database_(std::move(database)),
      limits_(limits) {}

Conversation::~Conversation() = default;

void Conversation::stop() {
  stopped_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);  // NOLINT(bugprone-unused-return-value): whoever waits on it ends
}

Scope Conversation::scope() const {
  Scope all;
  all.user = user_;
  all.database = database_;
  constexpr std::chrono::sys_days epoch{std::chrono::year{2000} / 1 / 1};
  all.now = {
      std::chrono::duration_cast<std::chrono::microseconds>(proxy::wall_now() - epoch).count()};
  return all;
}

// ---------------------------------------------------------------- bytes

Task<bool> Conversation::receive() {
  std::array<char, 8192> buffer;
  struct Wait {
    bool going_on = true;
    bool too_long = false;
  };
  // Not a Deadline: the client is to be told, so the socket stays open.
  const auto wait = std::make_shared<Wait>();
  asio::steady_timer timer{socket_.get_executor(), limits_.idle};
  timer.async_wait([this, wait](const boost::system::error_code& cancelled) {
    if (cancelled || !wait->going_on) return;
    wait->too_long = true;
    boost::system::error_code ignored;
    socket_.cancel(ignored);  // NOLINT(bugprone-unused-return-value): the read has ended or ends
  });
  const auto [error, got] = co_await socket_.async_read_some(asio::buffer(buffer), as_result);
  wait->going_on = false;
  timer.cancel();
  if (wait->too_long) {
    SqlError idle{"57P05", "terminating connection: the console session was idle for too long"};
    co_return co_await say_last(std::move(idle));
  }
  if (error) co_return false;
  inbox_.add({buffer.data(), got});
  co_return true;
}

Task<bool> Conversation::flush() {
  if (out_.empty()) co_return !stopped_;
  const std::string bytes = std::exchange(out_, {});
  if (!socket_.is_open()) co_return false;
  const proxy::Deadline guard{socket_, proxy::monotonic_now() + limits_.write};
  const auto [error, sent] = co_await asio::async_write(socket_, asio::buffer(bytes), as_result);
  co_return !error && !stopped_;
}

Task<bool> Conversation::flush_when_full() {
  if (out_.size() < full) co_return true;
  const bool good = co_await flush();
  co_return good;
}

Task<bool> Conversation::say_last(SqlError error) {
  put_error(out_, error, "FATAL");
  (void)co_await flush();
  co_return false;
}

// ---------------------------------------------------------------- life

Task<void> Conversation::refuse(SqlError error) {
  (void)co_await say_last(std::move(error));
}

Task<void> Conversation::run(std::string greeting) {
  out_ += greeting;
  put_ready(out_, transaction_);
  bool alive = co_await flush();
  while (alive && !stopped_) {
    if (const auto message = inbox_.next()) {
      alive = co_await handle(*message);
      continue;
    }
    if (inbox_.broken()) {
      SqlError error{
          "08P01", "a message is too long, or has no length",
          "the console reads messages of at most " + std::to_string(Inbox::max_message) + " bytes"};
      (void)co_await say_last(std::move(error));
      co_return;
    }
    // What was answered goes out before anything is waited for.
    alive = co_await flush();
    if (alive) alive = co_await receive();
  }
}

void Conversation::failed(const SqlError& error) {
  put_error(out_, error);
  if (transaction_ == 'T') transaction_ = 'E';
}

Task<bool> Conversation::handle(const Inbox::Message& message) {
  std::optional<SqlError> error;
  switch (message.type) {
    case 'X':
      co_return false;
    case 'S':
      skipping_ = false;
      if (transaction_ == 'I') portals_.clear();
      put_ready(out_, transaction_);
      co_return co_await flush();
    case 'Q': {
      if (skipping_) co_return true;
      protocol::WireReader reader{bytes_of(message.body)};
      const auto text = reader.string();
      if (!text) {
        SqlError bad = malformed('Q');
        co_return co_await say_last(std::move(bad));
      }
      std::string copy{*text};
      co_return co_await simple_query(std::move(copy));
    }
    case 'H':
      co_return co_await flush();
    case 'd':
    case 'c':
    case 'f':
      co_return true;  // of a COPY that the console never began: ignored, as a server does
    case 'P':
    case 'B':
    case 'D':
    case 'C':
    case 'E':
      break;
    default: {
      SqlError unknown = malformed(message.type);
      co_return co_await say_last(std::move(unknown));
    }
  }
  if (skipping_) co_return true;
  if (message.type == 'E') {
    protocol::WireReader reader{bytes_of(message.body)};
    const auto name = reader.string();
    const auto rows = reader.uint32();
    if (name && rows) {
      std::string copy{*name};
      co_return co_await execute_portal(std::move(copy), *rows);
    }
    error = malformed('E');
  } else if (message.type == 'P') {
    error = co_await parse_message(message);
  } else if (message.type == 'B') {
    error = bind_message(message);
  } else if (message.type == 'D') {
    error = describe_message(message);
  } else {
    error = close_message(message);
  }
  if (error) {
    failed(*error);
    skipping_ = true;
  }
  co_return co_await flush_when_full();
}

// ---------------------------------------------------------------- simple query

Task<bool> Conversation::simple_query(std::string text) {
  auto parsed = parse(text);
  if (!parsed) {
    SqlError error = parsed.error();
    co_await commander_.refused(text, error);
    failed(parsed.error());
    put_ready(out_, transaction_);
    co_return co_await flush();
  }
  if (parsed->empty()) put_message(out_, 'I', {});
  for (Statement& one : *parsed) {
    Portal portal;
    portal.statement = std::make_shared<const Statement>(std::move(one));
    if (!portal.statement->parameters.empty()) {
      failed({"42P02", "a simple query has no parameters"});
      break;
    }
    Scope where = scope();
    auto reply = co_await perform(portal.statement, std::move(where));
    if (!reply) {
      failed(reply.error());
      break;
    }
    portal.reply = std::move(*reply);
    if (portal.reply->table) put_row_description(out_, portal.reply->table->columns, {});
    bool suspended = false;
    const bool sent = co_await send_rows(portal, 0, suspended);
    if (!sent) co_return false;
    put_complete(out_, portal.reply->tag);
  }
  put_ready(out_, transaction_);
  co_return co_await flush();
}

Task<Outcome<Reply>> Conversation::perform(std::shared_ptr<const Statement> statement,
                                           Scope where) {
  if (transaction_ == 'E' && !ends_transaction(*statement)) co_return aborted();
  if (auto alone = answer_alone(statement->action, where)) {
    if (!*alone) co_return std::move(alone->error());
    if (const auto* said = std::get_if<Courtesy>(&statement->action)) {
      using Transaction = Courtesy::Transaction;
      if (said->transaction == Transaction::commits && transaction_ == 'E')
        (*alone)->tag = "ROLLBACK";
      if (said->transaction == Transaction::begins) transaction_ = 'T';
      if (ends_transaction(*statement)) transaction_ = 'I';
    }
    if (!(*alone)->parameter_name.empty())
      put_parameter_status(out_, (*alone)->parameter_name, (*alone)->parameter_value);
    co_return std::move(**alone);
  }
  // What takes long is not waited for with answers in hand.
  const bool alive = co_await flush();
  if (!alive) co_return SqlError{"08006", "the client is gone"};
  auto reply = co_await commander_.execute(*statement, std::move(where));
  if (!reply) co_return std::move(reply.error());
  if (reply->table && reply->table->rows.size() > limits_.result_rows)
    co_return SqlError{"53400", "the result is too large", {}, "add WHERE, or LIMIT"};
  for (const SqlError& warning : reply->warnings)
    put_error(out_, warning, warning.sqlstate == "00000" ? "NOTICE" : "WARNING");
  co_return std::move(*reply);
}

Task<bool> Conversation::send_rows(Portal& portal, std::size_t max_rows, bool& suspended) {
  suspended = false;
  if (!portal.reply->table) co_return true;
  const Table& table = *portal.reply->table;
  for (std::size_t sent = 0; portal.next_row < table.rows.size(); ++sent) {
    if (max_rows != 0 && sent == max_rows) {
      suspended = true;
      break;
    }
    put_data_row(out_, table.rows[portal.next_row++], table.columns, portal.formats);
    const bool good = co_await flush_when_full();
    if (!good) co_return false;
  }
  co_return true;
}

// ---------------------------------------------------------------- extended query

Task<std::optional<SqlError>> Conversation::parse_message(const Inbox::Message& message) {
  protocol::WireReader reader{bytes_of(message.body)};
  const auto name = reader.string();
  const auto text = reader.string();
  const auto count = uint16(reader);
  if (!name || !text || !count) co_return malformed('P');
  std::vector<std::uint32_t> oids;
  for (std::uint16_t i = 0; i < *count; ++i) {
    const auto oid = reader.uint32();
    if (!oid) co_return malformed('P');
    oids.push_back(*oid);
  }
  const std::string key{*name};
  if (!key.empty() && statements_.contains(key))
    co_return SqlError{"42P05", "prepared statement \"" + key + "\" already exists"};
  if (statements_.size() >= limits_.prepared && !statements_.contains(key))
    co_return SqlError{"53400", "too many prepared statements", {}, "DEALLOCATE, or close, some"};
  auto parsed = parse(*text);
  if (!parsed) {
    std::string copy{*text};
    SqlError error = parsed.error();
    co_await commander_.refused(std::move(copy), error);
    co_return parsed.error();
  }
  if (parsed->size() > 1)
    co_return SqlError{"42601", "cannot insert multiple commands into a prepared statement"};
  if (!parsed->empty() && transaction_ == 'E' && !ends_transaction(parsed->front()))
    co_return aborted();
  statements_[key] =
      parsed->empty() ? nullptr : std::make_shared<const Statement>(std::move(parsed->front()));
  parameter_oids_[key] = std::move(oids);
  put_message(out_, '1', {});
  co_return std::nullopt;
}

std::optional<SqlError> Conversation::bind_message(const Inbox::Message& message) {
  protocol::WireReader reader{bytes_of(message.body)};
  const auto portal_name = reader.string();
  const auto statement_name = reader.string();
  const auto parameter_formats = formats(reader);
  const auto count = uint16(reader);
  if (!portal_name || !statement_name || !parameter_formats || !count) return malformed('B');
  const std::string key{*statement_name};
  const auto found = statements_.find(key);
  if (found == statements_.end())
    return SqlError{"26000", "prepared statement \"" + key + "\" does not exist"};
  const std::vector<Type> none;
  const auto& types = found->second ? found->second->parameters : none;
  if (*count != types.size())
    return SqlError{"08P01", "bind message supplies " + std::to_string(*count) +
                                 " parameters, but the statement requires " +
                                 std::to_string(types.size())};
  const auto& asked = parameter_oids_[key];
  Portal portal;
  portal.statement = found->second;
  portal.scope = scope();
  for (std::size_t i = 0; i < *count; ++i) {
    const auto length = reader.uint32();
    if (!length) return malformed('B');
    if (*length == 0xFFFFFFFFU) {
      portal.scope.parameters.emplace_back();
      continue;
    }
    if (reader.rest().size() < *length) return malformed('B');
    const std::string_view value = protocol::as_text(reader.rest().first(*length));
    const Format format = parameter_formats->empty() ? Format::text
                          : parameter_formats->size() == 1
                              ? parameter_formats->front()
                              : (*parameter_formats)[std::min(i, parameter_formats->size() - 1)];
    const std::uint32_t oid = i < asked.size() && asked[i] != 0 ? asked[i] : oid_of(types[i]);
    auto text = parameter_text(value, oid, format);
    if (!text) return std::move(text.error());
    portal.scope.parameters.emplace_back(std::move(*text));
    reader = protocol::WireReader{reader.rest().subspan(*length)};
  }
  auto result_formats = formats(reader);
  if (!result_formats) return malformed('B');
  portal.formats = std::move(*result_formats);
  const std::string name{*portal_name};
  if (portals_.size() >= limits_.prepared && !portals_.contains(name))
    return SqlError{"53400", "too many portals"};
  portals_[name] = std::move(portal);
  put_message(out_, '2', {});
  return std::nullopt;
}

std::optional<SqlError> Conversation::describe_message(const Inbox::Message& message) {
  protocol::WireReader reader{bytes_of(message.body)};
  const auto kind = reader.byte();
  const auto name = reader.string();
  if (!kind || !name || (*kind != 'S' && *kind != 'P')) return malformed('D');
  const std::string key{*name};
  const Statement* statement = nullptr;
  Formats result_formats;
  if (*kind == 'S') {
    const auto found = statements_.find(key);
    if (found == statements_.end())
      return SqlError{"26000", "prepared statement \"" + key + "\" does not exist"};
    statement = found->second.get();
    const std::vector<Type> none;
    put_parameter_description(out_, statement != nullptr ? statement->parameters : none);
  } else {
    const auto found = portals_.find(key);
    if (found == portals_.end()) return SqlError{"34000", "portal \"" + key + "\" does not exist"};
    statement = found->second.statement.get();
    result_formats = found->second.formats;
  }
  const auto columns = statement != nullptr ? columns_of(statement->action) : std::nullopt;
  if (columns) {
    put_row_description(out_, *columns, result_formats);
  } else {
    put_message(out_, 'n', {});
  }
  return std::nullopt;
}

std::optional<SqlError> Conversation::close_message(const Inbox::Message& message) {
  protocol::WireReader reader{bytes_of(message.body)};
  const auto kind = reader.byte();
  const auto name = reader.string();
  if (!kind || !name || (*kind != 'S' && *kind != 'P')) return malformed('C');
  const std::string key{*name};
  if (*kind == 'S') {
    statements_.erase(key);
    parameter_oids_.erase(key);
  } else {
    portals_.erase(key);
  }
  put_message(out_, '3', {});
  return std::nullopt;
}

Task<bool> Conversation::execute_portal(std::string name, std::uint32_t max_rows) {
  const auto found = portals_.find(name);
  if (found == portals_.end()) {
    failed({"34000", "portal \"" + name + "\" does not exist"});
    skipping_ = true;
    co_return true;
  }
  Portal& portal = found->second;
  if (!portal.statement) {
    put_message(out_, 'I', {});
    co_return true;
  }
  if (!portal.reply) {
    Scope where = portal.scope;
    auto reply = co_await perform(portal.statement, std::move(where));
    if (!reply) {
      failed(reply.error());
      skipping_ = true;
      co_return co_await flush_when_full();
    }
    portal.reply = std::move(*reply);
    const bool discards =
        portal.reply->tag == "DISCARD ALL" || portal.reply->tag == "DEALLOCATE ALL";
    if (discards) {
      put_complete(out_, portal.reply->tag);
      statements_.clear();
      parameter_oids_.clear();
      portals_.clear();
      co_return true;
    }
  }
  bool suspended = false;
  const bool sent = co_await send_rows(portal, max_rows, suspended);
  if (!sent) co_return false;
  if (suspended) {
    put_message(out_, 's', {});
  } else {
    put_complete(out_, portal.reply->tag);
  }
  co_return true;
}

}  // namespace pgleash::console
