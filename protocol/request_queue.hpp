#pragma once

#include <array>
#include <cstdint>
#include <memory>

namespace pgleash::protocol {

/// A message that went to the server and will be answered, in one byte: what it is, and what it may
/// do.
class Outstanding {
 public:
  enum class Kind : std::uint8_t {
    parse,
    bind,
    describe,
    execute,
    close,
    query,
    function_call,
    sync,
    maybe_sync,  ///< a Sync which the server may have swallowed in copy mode
    copy_done,
    copy_fail,
  };
  /// Of the statement that a Query or an Execute runs.
  enum Flag : std::uint8_t {
    may_commit = 0x10,          ///< it ends the transaction, or its text is not known
    dump_snapshot = 0x20,       ///< see StatementTraits
    savepoint_rollback = 0x40,  ///< its ROLLBACK goes back to a savepoint only
    unlistens_all = 0x80,       ///< its UNLISTEN is UNLISTEN *
  };

  constexpr Outstanding() = default;
  constexpr explicit Outstanding(Kind kind, std::uint8_t flags = 0) noexcept
      : bits_(static_cast<std::uint8_t>(static_cast<std::uint8_t>(kind) | flags)) {}

  [[nodiscard]] constexpr Kind kind() const noexcept {
    return Kind{static_cast<std::uint8_t>(bits_ & 0x0FU)};
  }
  [[nodiscard]] constexpr bool has(Flag flag) const noexcept { return (bits_ & flag) != 0; }
  /// Parse, Bind, Describe, Execute, Close: what the server discards until Sync after an error.
  [[nodiscard]] constexpr bool extended() const noexcept { return kind() <= Kind::close; }
  /// Query, FunctionCall, Sync: what ends in ReadyForQuery for sure.
  [[nodiscard]] constexpr bool ends_in_ready() const noexcept {
    return kind() >= Kind::query && kind() <= Kind::sync;
  }
  [[nodiscard]] constexpr bool ends_copy() const noexcept { return kind() >= Kind::copy_done; }
  /// Query and Execute.
  [[nodiscard]] constexpr bool runs_statement() const noexcept {
    return kind() == Kind::execute || kind() == Kind::query;
  }
  constexpr bool operator==(const Outstanding&) const = default;

 private:
  friend class RequestQueue;
  std::uint8_t bits_ = 0;
};

/// First in, first out, run-length encoded: thousands of pipelined messages of one kind are one
/// run, and a normal session's few runs live inside the object.
class RequestQueue {
 public:
  /// Where full() turns true, and where nothing more is taken: between the two fits what one chunk
  /// may still bring.
  static constexpr std::uint32_t full_runs = 64U << 10U;
  static constexpr std::uint32_t max_runs = 4 * full_runs;

  /// False when there is no room: the message is not queued.
  bool push(Outstanding item) {
    if (runs_ != 0) {
      Run& newest = runs()[last()];
      if (RequestQueue::item(newest) == item && count(newest) < max_count && items_ < max_items) {
        newest += one;
        tally(item, 1);
        return true;
      }
    }
    if ((runs_ == capacity_ && !make_room()) || items_ == max_items) return false;
    ++runs_;
    runs()[last()] = make_run(item, 1);
    tally(item, 1);
    return true;
  }
  void push_front(Outstanding item, std::uint32_t times = 1);
  void pop() noexcept {
    Run& oldest = runs()[head_];
    untally(item(oldest));
    oldest -= one;
    if (count(oldest) != 0) return;
    head_ = (head_ + 1) & (capacity_ - 1);
    --runs_;
    if (runs_ == 0 && capacity_ > kept_capacity) release();
  }
  [[nodiscard]] bool empty() const noexcept { return items_ == 0; }
  [[nodiscard]] bool full() const noexcept { return runs_ >= full_runs; }
  [[nodiscard]] Outstanding front() const noexcept { return item(runs()[head_]); }

  [[nodiscard]] std::uint32_t items() const noexcept { return items_; }
  [[nodiscard]] std::uint32_t ending_in_ready() const noexcept { return ending_; }
  [[nodiscard]] std::uint32_t statements() const noexcept { return statements_; }
  [[nodiscard]] std::uint32_t may_commit() const noexcept { return may_commit_; }
  [[nodiscard]] std::uint32_t copy_ends() const noexcept { return copy_ends_; }

 private:
  using Run = std::uint32_t;  // the item below, how often it comes above
  static constexpr std::uint32_t inline_runs = 8;
  static constexpr std::uint32_t kept_capacity =
      64;  // an empty queue gives back a heap block larger than this
  static constexpr unsigned count_shift = 8;
  static constexpr Run one = 1U << count_shift;
  static constexpr std::uint32_t max_count = ~std::uint32_t{0} >> count_shift;
  static constexpr std::uint32_t max_items = ~std::uint32_t{0};

  static Outstanding item(Run run) noexcept {
    Outstanding item;
    item.bits_ = static_cast<std::uint8_t>(run);
    return item;
  }
  static std::uint32_t count(Run run) noexcept { return run >> count_shift; }
  static Run make_run(Outstanding item, std::uint32_t count) noexcept {
    return item.bits_ | count << count_shift;
  }

  [[nodiscard]] Run* runs() noexcept { return heap_ ? heap_.get() : inline_.data(); }
  [[nodiscard]] const Run* runs() const noexcept { return heap_ ? heap_.get() : inline_.data(); }
  [[nodiscard]] std::uint32_t last() const noexcept {
    return (head_ + runs_ - 1) & (capacity_ - 1);
  }
  bool make_room();
  void tally(Outstanding item, std::uint32_t times) noexcept {
    items_ += times;
    ending_ += item.ends_in_ready() ? times : 0;
    statements_ += item.runs_statement() ? times : 0;
    may_commit_ += item.has(Outstanding::may_commit) ? times : 0;
    copy_ends_ += item.ends_copy() ? times : 0;
  }
  void untally(Outstanding item) noexcept { tally(item, ~std::uint32_t{0}); }  // less one
  void release() noexcept;

  std::unique_ptr<Run[]> heap_;  // a ring once the inline one is too small
  std::array<Run, inline_runs> inline_{};
  std::uint32_t capacity_ = inline_runs;  // a power of two
  std::uint32_t head_ = 0;
  std::uint32_t runs_ = 0;
  std::uint32_t items_ = 0;
  std::uint32_t ending_ = 0;
  std::uint32_t copy_ends_ = 0;
  std::uint32_t statements_ = 0;
  std::uint32_t may_commit_ = 0;
};

}  // namespace pgleash::protocol
