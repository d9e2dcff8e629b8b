#include "watchdog/scram_verifiers.hpp"

#include <utility>

namespace pgleash::watchdog {

Task<PgResult<std::string>> ScramVerifiers::of(std::string role, Instant deadline) {
  PgParameters parameters;
  parameters.add_text(std::move(role));
  const auto rows = co_await connection_.run("scram_verifier",
                                             "SELECT pgleash.scram_verifier($1::pg_catalog.text)",
                                             std::move(parameters), deadline);
  if (!rows) co_return rows.error();
  co_return rows->size() == 1 ? std::string{rows->text(0, 0)} : std::string{};
}

}  // namespace pgleash::watchdog
