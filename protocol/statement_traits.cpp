#include "protocol/sql_lexer.hpp"
#include "protocol/statement_texts.hpp"

#include <array>
#include <cstdint>
#include <utility>

namespace pgleash::protocol {
namespace {

/// What one text says of rollbacks and UNLISTEN, over all its statements.
struct Tally {
  bool rollback = false;
  bool savepoint_rollback = false;
  bool unlisten_one = false;
  bool unlisten_all = false;
};

/// Reads one statement after the other.
class TraitsReader {
 public:
  TraitsReader(std::string_view text, std::string_view marker) noexcept : lexer_(text, marker) {
    advance();
  }

  StatementTraits read(bool truncated) noexcept {
    bool first = true;
    std::size_t statements = 0;
    while (token_.kind != SqlToken::Kind::end) {
      const bool empty = is(';');
      if (!empty) {
        ++statements;
        statement();
      }
      skip_to_end();
      // What stands behind the semicolon belongs to the next statement.
      if (first) traits_.marked = lexer_.marked();
      first = first && empty;
      if (is(';')) advance();
    }
    traits_.unknown = truncated;
    traits_.only_starts = traits_.starts_transaction && statements == 1 && !truncated;
    traits_.savepoint_rollback = tally_.savepoint_rollback && !tally_.rollback && !truncated;
    traits_.unlistens_all = tally_.unlisten_all && !tally_.unlisten_one && !truncated;
    return traits_;
  }

 private:
  void advance() noexcept { token_ = lexer_.next(); }
  [[nodiscard]] bool is(char symbol) const noexcept {
    return token_.kind == SqlToken::Kind::symbol && token_.text.front() == symbol;
  }
  [[nodiscard]] bool is(std::string_view keyword) const noexcept { return token_.is(keyword); }
  bool take(std::string_view keyword) noexcept {
    if (!is(keyword)) return false;
    advance();
    return true;
  }

  void statement() noexcept;
  void transaction_modes() noexcept;
  void set() noexcept;
  void rollback() noexcept;
  void unlisten() noexcept;
  void create() noexcept;
  void skip_to_end() noexcept;
  void called(std::string_view function) noexcept;

  SqlLexer lexer_;
  SqlToken token_;
  StatementTraits traits_;
  Tally tally_;
  bool routine_ =
      false;  // inside CREATE FUNCTION or PROCEDURE: its body may hold statements of its own
};

void TraitsReader::statement() noexcept {
  routine_ = false;
  if (token_.kind != SqlToken::Kind::word) return;
  if (take("COMMIT") || take("END")) {
    traits_.ends_transaction = true;
  } else if (take("PREPARE")) {
    if (is("TRANSACTION")) traits_.ends_transaction = true;
  } else if (take("BEGIN")) {
    traits_.starts_transaction = true;
    transaction_modes();
  } else if (take("START")) {
    if (!is("TRANSACTION")) return;
    traits_.starts_transaction = true;
    transaction_modes();
  } else if (take("SET")) {
    set();
  } else if (take("ROLLBACK") || take("ABORT")) {
    rollback();
  } else if (take("UNLISTEN")) {
    unlisten();
  } else if (take("CREATE")) {
    create();
  } else {
    constexpr std::array<std::string_view, 9> maintenance{
        "VACUUM", "ANALYZE", "ANALYSE", "REINDEX", "CLUSTER", "REFRESH", "ALTER", "COPY", "CALL"};
    for (const std::string_view keyword : maintenance) traits_.maintenance |= is(keyword);
  }
}

/// ISOLATION LEVEL …, READ ONLY, in any order, with or without commas.
void TraitsReader::transaction_modes() noexcept {
  bool snapshot = false;
  bool read_only = false;
  while (token_.kind != SqlToken::Kind::end && !is(';')) {
    if (take("SERIALIZABLE")) {
      snapshot = true;
    } else if (take("REPEATABLE")) {
      snapshot = true;
      take("READ");  // or it would be taken for that of READ ONLY
    } else if (take("READ")) {
      read_only |= is("ONLY");
    } else {
      advance();
    }
  }
  traits_.dump_snapshot |= snapshot && read_only;
}

/// SET [LOCAL | SESSION] TRANSACTION …; SESSION CHARACTERISTICS is about later transactions, not
/// this one.
void TraitsReader::set() noexcept {
  if (!take("LOCAL")) take("SESSION");
  if (take("TRANSACTION")) transaction_modes();
}

void TraitsReader::rollback() noexcept {
  if (take("PREPARED")) return;  // another transaction's end
  if (!take("WORK")) take("TRANSACTION");
  (is("TO") ? tally_.savepoint_rollback : tally_.rollback) = true;
}

void TraitsReader::unlisten() noexcept {
  (is('*') ? tally_.unlisten_all : tally_.unlisten_one) = true;
}

void TraitsReader::create() noexcept {
  if (take("OR")) take("REPLACE");
  routine_ = is("FUNCTION") || is("PROCEDURE");
  take("UNIQUE");
  traits_.maintenance |= is("INDEX");
}

/// Functions that make others depend on this session. By name only, which is enough for those who
/// want to be spared; a text in capitals throughout is not looked into.
void TraitsReader::called(std::string_view function) noexcept {
  if (function.size() < 3 || (function[1] | 0x20) != 'g' || function[2] != '_') return;
  const SqlToken name{SqlToken::Kind::word, function};
  traits_.exports_snapshot |= name.is("PG_EXPORT_SNAPSHOT");
  traits_.starts_backup |= name.is("PG_BACKUP_START") || name.is("PG_START_BACKUP");
  traits_.stops_backup |= name.is("PG_BACKUP_STOP") || name.is("PG_STOP_BACKUP");
}

/// To the next semicolon that separates statements: not one in parentheses (CREATE RULE) or
/// in the body of an SQL routine (BEGIN ATOMIC … END), as psql has it too.
void TraitsReader::skip_to_end() noexcept {
  // By far the usual case: no statement follows, and no function is called that we know.
  if (!is(';') && lexer_.last_statement() && !lexer_.looks_for_marker() && !lexer_.comes("pg_")) {
    token_ = {};
    return;
  }
  int parentheses = 0;
  int blocks = 0;
  std::string_view word;  // right before
  for (; token_.kind != SqlToken::Kind::end; advance()) {
    const std::string_view before = std::exchange(word, {});
    if (token_.kind == SqlToken::Kind::word) word = token_.text;
    if (token_.kind == SqlToken::Kind::word && routine_) {
      if (is("BEGIN") || (blocks > 0 && is("CASE"))) {
        ++blocks;
      } else if (blocks > 0 && is("END")) {
        --blocks;
      }
    } else if (is('(')) {
      ++parentheses;
      called(before);
    } else if (is(')')) {
      if (parentheses > 0) --parentheses;
    } else if (is(';') && parentheses == 0 && blocks == 0) {
      return;
    }
  }
}

}  // namespace

StatementTraits read_traits(std::string_view text, bool truncated,
                            std::string_view marker) noexcept {
  // Most texts do not have it, in a comment or elsewhere, and need not be read to their end.
  if (!marker.empty() && text.find(marker) == std::string_view::npos) marker = {};
  return TraitsReader{text, marker}.read(truncated);
}

}  // namespace pgleash::protocol
