#pragma once

#include "tests/unit/protocol/wire.hpp"

#include <string>

/// The messages that the tracker is compared with the plain rules of reference_flow on: each whole,
/// and of each type one that is well formed.
namespace pgleash::protocol::wire {

/// A message of the client, by its type.
inline std::string whole_frontend(char type) {
  switch (type) {
    case 'Q':
      return query("select 1");
    case 'P':
      return parse("select 1");
    case 'B':
      return bind();
    case 'E':
      return execute();
    case 'C':
      return close('S', "");
    case 'D':
      return message('D', zero_ended("P"));
    default:
      return message(type);
  }
}

/// One of the server. `extra`: of ReadyForQuery the transaction status; of an error 'F', where it
/// is the last.
inline std::string whole_backend(char type, char extra) {
  switch (type) {
    case 'Z':
      return ready(extra);
    case 'E':
      return error("22012", extra == 'F' ? "FATAL" : "ERROR");
    case 'C':
      return complete("SELECT 1");
    case 'S':
      return parameter("a", "b");
    default:
      return message(type);
  }
}

}  // namespace pgleash::protocol::wire
