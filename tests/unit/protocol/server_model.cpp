#include "tests/unit/protocol/server_model.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <algorithm>

namespace pgleash::protocol {
namespace {

std::string text_of(const std::string& message, std::size_t from) {
  return message.substr(from, message.find('\0', from) - from);
}

}  // namespace

bool ServerModel::step() {
  if (input_.empty()) return false;
  const std::string message = std::move(input_.front());
  input_.pop_front();
  if (copy_in_ && in_copy(message)) return true;
  const char type = message[0];
  if (type == 'S') {
    skip_ = cycle_open_ = false;
    extended_query_ = false;
    // A deferred constraint fails at the commit that Sync is, if there is anything to commit.
    if (uncommitted_ && status_ == 'I' && (*random_)() % 10 == 0) reply(wire::error("23503"));
    ready();
    return true;
  }
  if (skip_ || type == 'c' || type == 'f' || type == 'd') return true;
  if (type == 'H') {
    unflushed_ = false;
    flush();
  } else if (type == 'Q') {
    extended_query_ = cycle_open_ = false;
    run(text_of(message, 5));
    if (!copy_in_) ready();
  } else {
    extended(message);
  }
  return true;
}

void ServerModel::extended(const std::string& message) {
  extended_query_ = cycle_open_ = unflushed_ = true;
  switch (message[0]) {
    case 'P':
      text_ = text_of(message, 6);
      if (text_ == "nonsense") return fail();
      reply(wire::message('1'));
      break;
    case 'B':
      if ((*random_)() % 30 == 0) return fail();
      reply(wire::message('2'));
      break;
    case 'D':
      reply(wire::message((*random_)() % 2 == 0 ? 'T' : 'n'));
      break;
    case 'C':
      reply(wire::message('3'));
      break;
    default:
      uncommitted_ = true;
      run(text_);
      break;
  }
}

void ServerModel::run(const std::string& text) {
  if (status_ == 'E' && text != "rollback" && text != "commit") return fail();
  if (text == "fail") return fail();
  if (text == "empty") {
    reply(wire::message('I'));
  } else if (text == "begin") {
    status_ = 'T';
    reply(wire::complete("BEGIN"));
  } else if (text == "commit" || text == "rollback") {
    reply(wire::complete(text == "commit" && status_ == 'T' ? "COMMIT" : "ROLLBACK"));
    status_ = 'I';
  } else if (text == "none") {
    fail();
  } else if (text == "in" || text == "early") {
    reply(wire::message('G'));
    flush();
    if (text == "early") return fail();
    copy_in_ = true;
    copy_of_query_ = !extended_query_;
  } else if (text == "out") {
    reply(wire::message('H'));
    reply(wire::message('d', "row"));
    reply(wire::message('c'));
    reply(wire::complete("COPY 1"));
  } else {
    select();
  }
}

void ServerModel::select() {
  if (!extended_query_) reply(wire::message('T'));
  for (auto rows = (*random_)() % 3; rows > 0; --rows) reply(wire::message('D'));
  if (!extended_query_ && (*random_)() % 10 == 0) return fail();
  if (extended_query_ && (*random_)() % 5 == 0) {
    reply(wire::message('s'));
  } else {
    reply(wire::complete("SELECT 2"));
  }
}

/// True: the message was read in copy mode.
bool ServerModel::in_copy(const std::string& message) {
  switch (message[0]) {
    case 'd':
      if (message.find("bad") == std::string::npos) return true;
      break;
    case 'H':
    case 'S':
      return true;  // swallowed
    case 'c':
      copy_in_ = false;
      reply(wire::complete("COPY 1"));
      if (copy_of_query_) ready();
      return true;
    default:
      break;
  }
  copy_in_ = false;
  fail();
  if (copy_of_query_) ready();
  return true;
}

void ServerModel::fail() {
  uncommitted_ = false;
  reply(wire::error());
  status_ = status_ == 'I' ? 'I' : 'E';
  flush();
  if (extended_query_) {
    skip_ = true;
    unflushed_ = false;
  }
}

void ServerModel::ready() {
  uncommitted_ = false;
  unflushed_ = false;
  reply(wire::ready(status_));
  flush();
}

void ServerModel::flush() {
  std::ranges::move(buffered_, std::back_inserter(sent_));
  buffered_.clear();
}

SessionState ServerModel::state() const {
  if (copy_in_) return SessionState::copy_in;
  if (skip_) return SessionState::pipeline_failed;
  if (cycle_open_) return unflushed_ ? SessionState::pipeline_open : SessionState::pipeline_flushed;
  if (status_ == 'T') return SessionState::idle_in_transaction;
  return status_ == 'E' ? SessionState::aborted : SessionState::idle;
}

bool ServerModel::has_work() const {
  return std::ranges::any_of(input_, [](const std::string& message) {
    return std::string_view{"ScdfH"}.find(message[0]) == std::string_view::npos;
  });
}

}  // namespace pgleash::protocol
