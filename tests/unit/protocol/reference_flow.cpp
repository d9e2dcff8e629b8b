#include "tests/unit/protocol/reference_flow.hpp"

#include <algorithm>

namespace pgleash::protocol {
namespace {

bool is_extended(char item) {
  return std::string{"PBDEC"}.find(item) != std::string::npos;
}

}  // namespace

void ReferenceFlow::erase(std::size_t at, std::size_t count) {
  count = std::min(count, pending.size() - at);
  pending.erase(at, count);
  const std::size_t of_flushed = flushed > at ? std::min(count, flushed - at) : 0;
  flushed -= of_flushed;
}

void ReferenceFlow::anomaly() {
  ++anomalies;
  degraded = true;
  clean = false;
}

void ReferenceFlow::strip() {
  while (copy != 'i' && !pending.empty() && (pending[0] == 'c' || pending[0] == 'f')) erase(0, 1);
}

void ReferenceFlow::frontend(char type) {
  if (terminated) return;
  const bool nothing_open = pending.empty() && !extended_open && !skip;
  switch (type) {
    case 'P':
    case 'B':
    case 'D':
    case 'E':
    case 'C':
      if (skip) return;
      pending += type;
      extended_open = true;
      flush_last = false;
      break;
    case 'Q':
    case 'F':
      if (skip) return;
      pending += type;
      extended_open = false;
      flushed = pending.size();
      break;
    case 'S':
      pending += type;
      skip = false;
      extended_open = false;
      flushed = pending.size();
      break;
    case 'H':
      flushed = pending.size();
      flush_last = true;
      return;
    case 'c':
    case 'f':
      pending += type;
      flush_last = false;
      strip();
      return;
    case 'X':
      terminated = true;
      return;
    default:
      return;
  }
  if (nothing_open) clean = true;
}

void ReferenceFlow::backend(char type, char extra) {
  const char front = pending.empty() ? 0 : pending[0];
  switch (type) {
    case 'N':
    case 'A':
    case 'S':
    case 't':
    case 'D':
    case 'd':
      return;
    case '1':
    case '2':
    case '3':
    case 'n': {
      const char wanted = type == '1' ? 'P' : type == '2' ? 'B' : type == '3' ? 'C' : 'D';
      if (front != wanted) return anomaly();
      erase(0, 1);
      strip();
      break;
    }
    case 'T':
      if (front == 'D') {
        erase(0, 1);
        strip();
      } else if (front != 'Q' && front != 'E') {
        return anomaly();
      }
      break;
    case 'C':
    case 'I':
    case 's':
      if (front != 'Q' && front != 'E') return anomaly();
      stray = 0;
      return completed();
    case 'G':
    case 'H':
    case 'W':
      if (front != 'Q' && front != 'E') return anomaly();
      copy = type == 'G' ? 'i' : type == 'H' ? 'o' : 'b';
      break;
    case 'c':
      if (copy == 'o') {
        copy = '-';
      } else if (copy != 'b') {
        anomaly();
      }
      return;
    case 'V':
      if (front != 'F') return anomaly();
      break;
    case 'E':
      if (extra == 'F') {
        closing = true;
        return;
      }
      if (front == 0) return anomaly();
      stray = 0;
      return error();
    case 'Z':
      return ready(extra);
    default:
      return anomaly();
  }
  stray = 0;
}

void ReferenceFlow::completed() {
  const char front = pending[0];
  if (copy == 'i') {
    std::size_t end = 1;
    while (end < pending.size() && pending[end] == 'S') ++end;
    const bool done = end < pending.size() && (pending[end] == 'c' || pending[end] == 'f');
    erase(1, end - 1 + (done ? 1 : 0));
    if (!done) anomaly();
  }
  if (front == 'E') erase(0, 1);
  copy = '-';
  strip();
}

void ReferenceFlow::error() {
  const bool was_copy_in = copy == 'i';
  copy = '-';
  if (is_extended(pending[0])) {
    std::size_t from = 0;
    std::string maybe;
    if (was_copy_in) {
      from = std::min(pending.find_first_of("cf"), pending.size());
      maybe.assign(static_cast<std::size_t>(std::count(
                       pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(from), 'S')),
                   'm');
    }
    const std::size_t sync = pending.find('S', from);
    skip = sync == std::string::npos;
    pending = maybe + (skip ? "" : pending.substr(sync));
    flushed = maybe.size() + (skip ? 0 : flushed - sync);
  } else if (was_copy_in) {
    for (std::size_t at = 1; at < pending.size() && pending[at] == 'S'; ++at) pending[at] = 'm';
  }
}

void ReferenceFlow::ready(char byte) {
  copy = '-';
  skip = false;
  strip();
  if (std::string{"ITE"}.find(byte) == std::string::npos) {
    anomaly();
  } else {
    status = byte;
  }
  if (pending.empty()) {
    if (stray > 0) {
      --stray;
    } else {
      anomaly();
    }
    return;
  }
  if (stray > 0 && pending[0] != 'S') {
    --stray;
    return;
  }
  if (pending[0] == 'm') {
    const std::size_t other = pending.find_first_not_of("mcf");
    const auto end = std::min(other, pending.size());
    const int maybe = static_cast<int>(
        std::count(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(end), 'm'));
    erase(0, end);
    if (!pending.empty() && pending[0] == 'S') {
      erase(0, 1);
      stray = maybe;
    } else {
      stray = maybe - 1;
    }
  } else {
    const std::size_t answered = pending.find_first_of("QFS");
    if (answered != 0) anomaly();
    if (answered == std::string::npos) {
      erase(0, pending.size());
      extended_open = false;
    } else {
      erase(0, answered + 1);
    }
    while (!pending.empty() && std::string{"mcf"}.find(pending[0]) != std::string::npos) {
      if (pending[0] == 'm') ++stray;
      erase(0, 1);
    }
  }
  strip();
  if (clean && pending.empty() && !extended_open && stray == 0) degraded = false;
}

SessionState ReferenceFlow::state() const {
  if (closing) return SessionState::closing;
  const SessionState state = state_of_flow();
  const bool at_work = state == SessionState::busy || state == SessionState::fastpath ||
                       state == SessionState::copy_out || state == SessionState::pipeline_open;
  return terminated && !at_work ? SessionState::closing : state;
}

SessionState ReferenceFlow::state_of_flow() const {
  if (copy == 'i' && pending.find_first_of("cf") == std::string::npos) {
    return SessionState::copy_in;
  }
  if (copy == 'o') return SessionState::copy_out;
  if (copy == 'b') return SessionState::copy_both;
  if (skip) return SessionState::pipeline_failed;
  if (!pending.empty()) {
    if (pending[0] == 'F') return SessionState::fastpath;
    if (is_extended(pending[0]) && flushed == 0) return SessionState::pipeline_open;
    return SessionState::busy;
  }
  if (extended_open)
    return flush_last ? SessionState::pipeline_flushed : SessionState::pipeline_open;
  if (status == 'T') return SessionState::idle_in_transaction;
  return status == 'E' ? SessionState::aborted : SessionState::idle;
}

}  // namespace pgleash::protocol
