#pragma once

#include "protocol/request_queue.hpp"

#include <cstdint>
#include <optional>

namespace pgleash::protocol {

enum class CopyMode : std::uint8_t { none, in, out, both };

/// Which answers the server still owes, and for which messages it discards or swallows what it
/// gets: the message flow of one session, without bytes, texts and time. Replies are matched with
/// the queue of forwarded messages, never counted against Syncs, since not every Sync is answered.
///
/// Calls that return bool say whether the answer was expected; an unexpected one changes nothing.
/// Source: "Frontend/Backend Protocol", Message Flow.
class MessageFlow {
 public:
  using Kind = Outstanding::Kind;

  // What the frontend sent, once its last byte was forwarded: the server answers nothing before.

  enum class Sent : std::uint8_t { queued, discarded, lost };  ///< `lost`: no room in the queue
  Sent send(Outstanding message);
  void flush() noexcept { unflushed_ = 0; }
  /// What send() would do with it now.
  [[nodiscard]] bool discards(Kind kind) const noexcept {
    return skipping_ && kind != Kind::sync && !Outstanding{kind}.ends_copy();
  }

  // What the server answered.

  bool complete(Kind kind);  ///< ParseComplete, BindComplete, CloseComplete, NoData
  bool row_description();
  /// CommandComplete, EmptyQueryResponse, PortalSuspended: the message whose statement completed.
  std::optional<Outstanding> statement_complete();
  bool copy_begins(CopyMode mode);
  bool copy_done();
  bool function_call_response();
  bool error();  ///< ErrorResponse that is not FATAL

  enum class Ready : std::uint8_t {
    ends_request,  ///< the answer to the oldest outstanding request
    stray,         ///< the answer to a Sync that was taken for swallowed
    out_of_step,   ///< ends a request, yet answers before it are missing
    unexpected,    ///< nothing was outstanding
  };
  Ready ready();

  // What follows from it.

  /// A request or an extended cycle was begun, and its ReadyForQuery did not come yet.
  [[nodiscard]] bool open() const noexcept {
    return !queue_.empty() || extended_open_ || skipping_;
  }
  /// Nothing is owed, nothing can still come: what is believed of the session holds.
  [[nodiscard]] bool settled() const noexcept { return !open() && stray_ == 0; }
  /// Extended messages came since the last message that ends in ReadyForQuery.
  [[nodiscard]] bool extended_open() const noexcept { return extended_open_; }
  /// The server discards messages until Sync.
  [[nodiscard]] bool skipping() const noexcept { return skipping_; }
  [[nodiscard]] CopyMode copy() const noexcept { return copy_; }
  /// The last extended message was answered or has a Flush, Sync or Query behind it.
  [[nodiscard]] bool flushed() const noexcept {
    return queue_.items() > unflushed_ || unflushed_ == 0;
  }
  [[nodiscard]] const RequestQueue& queue() const noexcept { return queue_; }

 private:
  bool real_answer() noexcept;
  bool finish_copy_in();
  void fail_extended();
  void fail_simple();
  /// Outside of copy mode the server ignores CopyDone and CopyFail. They wait in the queue only
  /// while they may belong to a COPY whose beginning the server did not announce yet.
  void drop_late_copy_ends() noexcept {
    if (copy_ == CopyMode::in) return;
    while (!queue_.empty() && queue_.front().ends_copy()) queue_.pop();
  }
  std::uint32_t take_maybe_syncs() noexcept;

  RequestQueue queue_;
  std::uint32_t stray_ = 0;  // ReadyForQuery that may still come for Syncs no longer in the queue
  std::uint32_t unflushed_ =
      0;  // newest messages in the queue that have no Flush, Sync or Query behind them
  CopyMode copy_ = CopyMode::none;
  bool skipping_ = false;
  bool extended_open_ = false;
};

}  // namespace pgleash::protocol
