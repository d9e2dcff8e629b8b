#pragma once

#include "protocol/session_tracker.hpp"

#include <deque>
#include <random>
#include <string>

namespace pgleash::protocol {

/// What a backend does with each message, after its main loop: the truth a tracker has to guess
/// from outside. Statements are told by their text: "begin", "commit", "rollback", "fail", "empty",
/// "out" (COPY TO), "in" (COPY FROM), "early" (COPY FROM that fails after CopyInResponse before it
/// reads anything), "none" (COPY FROM that never begins), anything else selects. CopyData that says
/// "bad" fails.
class ServerModel {
 public:
  explicit ServerModel(std::mt19937& random) : random_(&random) {}

  void receive(std::string message) { input_.push_back(std::move(message)); }
  /// Handles at most one message. False when it waits for the client.
  bool step();
  /// What it sent; extended replies stay with it until Flush, Sync or an error.
  std::deque<std::string>& sent() { return sent_; }

  /// What a client that sees everything would call its state, when step() is false and all was
  /// delivered.
  [[nodiscard]] SessionState state() const;
  /// Messages it has yet to read that would make it do something.
  [[nodiscard]] bool has_work() const;

 private:
  void reply(std::string message) { buffered_.push_back(std::move(message)); }
  void flush();
  void ready();
  void fail();
  void run(const std::string& text);
  void select();
  bool in_copy(const std::string& message);
  void extended(const std::string& message);

  std::mt19937* random_;
  std::deque<std::string> input_;
  std::deque<std::string> buffered_;
  std::deque<std::string> sent_;
  std::string text_;
  char status_ = 'I';
  bool extended_query_ = false;  // the message being handled is one: an error skips to Sync
  bool skip_ = false;
  bool copy_in_ = false;
  bool copy_of_query_ = false;
  bool cycle_open_ = false;
  bool unflushed_ = false;
  bool uncommitted_ = false;
};

}  // namespace pgleash::protocol
