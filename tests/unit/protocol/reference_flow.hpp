#pragma once

#include "protocol/session_tracker.hpp"

#include <cstdint>
#include <string>

namespace pgleash::protocol {

/// The message flow once more, slow and plain: one character a message in a string, searched and
/// erased as the rules are told. To compare the tracker with.
///
/// In the string: P B D E C extended, Q F S, c f copy ends, m a Sync that may have been swallowed.
class ReferenceFlow {
 public:
  void frontend(char type);
  void backend(char type, char status_or_severity = 0);
  [[nodiscard]] SessionState state() const;

  std::string pending;
  std::size_t flushed =
      0;  // how many of `pending`, from the front, have a Flush, Sync, Query or FunctionCall behind
  int stray = 0;
  std::uint32_t anomalies = 0;
  bool flush_last = false;  // the last extended message was followed by Flush
  bool skip = false;
  bool extended_open = false;
  bool closing = false;     // the server said FATAL
  bool terminated = false;  // the client said Terminate: what was asked for before is still done
  bool degraded = false;
  bool clean = false;
  char copy = '-';  // i, o, b
  char status = 'I';

 private:
  void erase(std::size_t at, std::size_t count);
  void anomaly();
  void strip();
  void ready(char byte);
  void error();
  void completed();
  [[nodiscard]] SessionState state_of_flow() const;
};

}  // namespace pgleash::protocol
