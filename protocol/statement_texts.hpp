#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace pgleash::protocol {

/// What the watchdog must know of a statement without parsing SQL: read once from its text, by keywords,
/// outside of comments, quotes and dollar quotes. Every statement of a multi-statement text counts.
struct StatementTraits {
  bool ends_transaction : 1 = false;   ///< COMMIT, END, PREPARE TRANSACTION, COMMIT PREPARED
  bool starts_transaction : 1 = false; ///< BEGIN, START TRANSACTION
  bool maintenance : 1 = false;        ///< VACUUM, ANALYZE, CREATE INDEX, REINDEX, CLUSTER, REFRESH, ALTER, COPY, CALL
  bool dump_snapshot : 1 = false;      ///< BEGIN / START / SET TRANSACTION asking for READ ONLY with REPEATABLE READ or SERIALIZABLE
  bool unknown : 1 = false;            ///< text cut off or not seen: any of the above may hold
  bool savepoint_rollback : 1 = false; ///< each ROLLBACK in it goes back to a savepoint, which its command tag does not tell
  bool unlistens_all : 1 = false;      ///< each UNLISTEN in it is UNLISTEN *, which its command tag does not tell

  bool operator==(const StatementTraits&) const = default;
};

[[nodiscard]] StatementTraits read_traits(std::string_view text, bool truncated) noexcept;

/// Interned statement texts of one worker: each distinct text is held once, sessions hold references.
/// Bounded: past `max_bytes` the least recently used text without a reference goes; when every text is referenced,
/// intern() returns an empty reference and evidence says "unknown". Interning a known text does not allocate.
/// One thread only. References must not outlive the table.
class StatementTexts {
 public:
  static constexpr std::size_t max_text = 1024;  ///< bytes kept of one statement; the rest is cut off

  explicit StatementTexts(std::size_t max_bytes = std::size_t{4} << 20U);
  ~StatementTexts();
  StatementTexts(const StatementTexts&) = delete;
  StatementTexts& operator=(const StatementTexts&) = delete;

  class Ref;
  /// `text` is at most max_text bytes; `truncated` says that the statement went on.
  [[nodiscard]] Ref intern(std::string_view text, bool truncated);
  [[nodiscard]] std::size_t bytes() const noexcept;
  [[nodiscard]] std::size_t texts() const noexcept;

 private:
  struct Entry;
  struct Table;
  std::unique_ptr<Table> table_;
};

/// A counted reference to an interned text; 8 bytes; empty when the text is unknown.
class StatementTexts::Ref {
 public:
  Ref() = default;
  Ref(const Ref& other) noexcept;
  Ref& operator=(const Ref& other) noexcept;
  Ref(Ref&& other) noexcept : entry_(other.entry_) { other.entry_ = nullptr; }
  Ref& operator=(Ref&& other) noexcept;
  ~Ref();

  [[nodiscard]] explicit operator bool() const noexcept { return entry_ != nullptr; }
  [[nodiscard]] std::string_view text() const noexcept;  ///< empty when unknown
  [[nodiscard]] bool truncated() const noexcept;
  [[nodiscard]] StatementTraits traits() const noexcept;  ///< `unknown` set when the text is

 private:
  friend class StatementTexts;
  explicit Ref(Entry* entry) noexcept;
  Entry* entry_ = nullptr;
};

}  // namespace pgleash::protocol
