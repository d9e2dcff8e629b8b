#pragma once

#include "app/console/filter.hpp"
#include "app/console/role.hpp"
#include "app/console/sql_error.hpp"
#include "app/console/statement.hpp"

#include <optional>
#include <string>
#include <vector>

namespace pgleash::console {

/// What a statement is answered with.
struct Reply {
  std::optional<Table> table;  ///< none: the tag alone
  std::string tag;             ///< of CommandComplete
  std::vector<SqlError> warnings;
  std::string parameter_name;  ///< SET: reported to the client when not empty
  std::string parameter_value;
};

/// Columns of the reply's table before it is there; none: it has no table.
[[nodiscard]] std::optional<std::vector<Column>> columns_of(const Action& action);
/// The least role that may ask for it; `none` for what drivers say.
[[nodiscard]] Role role_for(const Action& action) noexcept;
/// Whether it is written down who asked for it.
[[nodiscard]] bool is_audited(const Action& action) noexcept;

/// Answers what needs to know nothing but the statement itself: constants, settings, courtesies.
/// Nothing: somebody else has to.
[[nodiscard]] std::optional<Outcome<Reply>> answer_alone(const Action& action, const Scope& scope);

/// Columns of what became of sessions, of previews, of exemptions, and of all else.
[[nodiscard]] const std::vector<Column>& act_columns();
[[nodiscard]] const std::vector<Column>& preview_columns();
[[nodiscard]] const std::vector<Column>& exempt_columns();
[[nodiscard]] const std::vector<Column>& explain_columns();
[[nodiscard]] const std::vector<Column>& plain_columns();

}  // namespace pgleash::console
