#pragma once

namespace pgleash::app {

/// deploy/sql/bootstrap.sql, as it was when this program was built.
extern const char* const bootstrap_sql;

}  // namespace pgleash::app
