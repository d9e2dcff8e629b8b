#pragma once

#include "protocol/statement_texts.hpp"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace pgleash::protocol {

/// The texts of one session's prepared statements, by name: the unnamed one, and up to `max_named`
/// others, remembered by the hash of their names. A name past that bound is unknown. 16 bytes while
/// no named statement is prepared.
class PreparedTexts {
 public:
  using Ref = StatementTexts::Ref;
  static constexpr std::size_t max_named = 64;

  void prepare(std::string_view name, Ref text);
  void forget(std::string_view name) noexcept;
  /// A simple Query destroys the unnamed statement.
  void forget_unnamed() noexcept { unnamed_ = {}; }
  /// Empty when the statement or its text is unknown.
  [[nodiscard]] const Ref& find(std::string_view name) const noexcept;
  [[nodiscard]] const Ref& unnamed() const noexcept { return unnamed_; }

 private:
  struct Named {
    std::uint64_t name_hash = 0;
    Ref text;
  };
  [[nodiscard]] Named* find_named(std::string_view name) const noexcept;

  Ref unnamed_;
  std::unique_ptr<std::vector<Named>> named_;
};

}  // namespace pgleash::protocol
