#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace pgleash::protocol {

/// What the watchdog must know of a statement without parsing SQL: read once from its text, by
/// keywords, outside of comments, quotes and dollar quotes. Every statement of a multi-statement
/// text counts.
struct StatementTraits {
  /// COMMIT, END, PREPARE TRANSACTION, COMMIT PREPARED.
  bool ends_transaction : 1 = false;
  /// BEGIN, START TRANSACTION.
  bool starts_transaction : 1 = false;
  /// One of these and nothing else: it says nothing of what the transaction is for.
  bool only_starts : 1 = false;
  /// VACUUM, ANALYZE, CREATE INDEX, REINDEX, CLUSTER, REFRESH, ALTER, COPY, CALL.
  bool maintenance : 1 = false;
  /// BEGIN, START or SET TRANSACTION, READ ONLY with REPEATABLE READ or SERIALIZABLE.
  bool dump_snapshot : 1 = false;
  /// Calls pg_export_snapshot: others work with the transaction's snapshot.
  bool exports_snapshot : 1 = false;
  /// Calls pg_backup_start (15 and later) or pg_start_backup.
  bool starts_backup : 1 = false;
  /// Calls pg_backup_stop or pg_stop_backup.
  bool stops_backup : 1 = false;
  /// Text cut off or not seen: any of the above may hold.
  bool unknown : 1 = false;
  /// Each ROLLBACK in it goes back to a savepoint, which its command tag does not tell.
  bool savepoint_rollback : 1 = false;
  /// Each UNLISTEN in it is UNLISTEN *, which its command tag does not tell.
  bool unlistens_all : 1 = false;
  /// A comment of its first statement has the marker in it: who may use it asks to be left alone.
  bool marked : 1 = false;

  bool operator==(const StatementTraits&) const = default;
};

/// `marker`: a word looked for in comments; empty for none.
[[nodiscard]] StatementTraits read_traits(std::string_view text, bool truncated,
                                          std::string_view marker = {}) noexcept;

/// Interned statement texts of one worker: each distinct text is held once, sessions hold
/// references. Bounded: past `max_bytes` the least recently used text without a reference goes;
/// when every text is referenced, intern() returns an empty reference and evidence says "unknown".
/// Interning a known text does not allocate. One thread only. References must not outlive the
/// table.
///
/// A text that is not expected again, as that of a simple Query with its values in it, is kept for
/// its session alone: it is not looked up, and the next one takes its place in memory.
class StatementTexts {
 public:
  /// Bytes kept of one statement; the rest is cut off.
  static constexpr std::size_t max_text = 1024;
  static constexpr std::size_t default_bytes = std::size_t{4} << 20U;

  /// `marker` as in read_traits(), the same for all texts.
  explicit StatementTexts(std::size_t max_bytes = default_bytes, std::string marker = {});
  ~StatementTexts();
  StatementTexts(const StatementTexts&) = delete;
  StatementTexts& operator=(const StatementTexts&) = delete;

  class Ref;
  /// `text` is at most max_text bytes; `truncated` says that the statement went on.
  [[nodiscard]] Ref intern(std::string_view text, bool truncated);
  /// Makes `slot` refer to this text, for nobody else to find. In the block of the text that it
  /// referred to where that one was kept too, has room, and is referred to by nobody else.
  void keep(Ref& slot, std::string_view text, bool truncated);
  /// Of the interned texts.
  [[nodiscard]] std::size_t bytes() const noexcept;
  [[nodiscard]] std::size_t texts() const noexcept;

 private:
  struct Entry;
  struct Table;
  static void park(Entry* entry) noexcept;

  std::unique_ptr<Table> table_;
};

/// Header of one text; its bytes follow it in the same block.
struct StatementTexts::Entry {
  Table* table;
  Entry* next_in_bucket;
  Entry* older;  // among those without a reference
  Entry* newer;
  std::uint64_t hash;
  std::uint32_t references;
  std::uint16_t size;
  StatementTraits traits;
  bool truncated;
  std::uint16_t kept_room;  // of a kept text: what its block has room for; 0: interned

  [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  [[nodiscard]] std::string_view text() noexcept { return {bytes(), size}; }
};

/// A counted reference to an interned text; 8 bytes; empty when the text is unknown.
class StatementTexts::Ref {
 public:
  Ref() = default;
  Ref(const Ref& other) noexcept : Ref(other.entry_) {}
  Ref& operator=(const Ref& other) noexcept {
    if (entry_ != other.entry_) *this = Ref{other};
    return *this;
  }
  Ref(Ref&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    Ref taken{std::move(other)};
    std::swap(entry_, taken.entry_);
    return *this;
  }
  ~Ref() {
    if (entry_ != nullptr && --entry_->references == 0) park(entry_);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return entry_ != nullptr; }
  /// Empty when unknown.
  [[nodiscard]] std::string_view text() const noexcept {
    return entry_ != nullptr ? entry_->text() : std::string_view{};
  }
  [[nodiscard]] bool truncated() const noexcept { return entry_ != nullptr && entry_->truncated; }
  /// `unknown` set when the text is.
  [[nodiscard]] StatementTraits traits() const noexcept {
    return entry_ != nullptr ? entry_->traits : StatementTraits{.unknown = true};
  }

 private:
  friend class StatementTexts;
  explicit Ref(Entry* entry) noexcept : entry_(entry) {
    if (entry_ != nullptr) ++entry_->references;
  }
  Entry* entry_ = nullptr;
};

}  // namespace pgleash::protocol
