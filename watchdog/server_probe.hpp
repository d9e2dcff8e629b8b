#pragma once

#include "config/config.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/server_advice.hpp"
#include "watchdog/task.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <string>

namespace pgleash::watchdog {

/// Asks a server once for what advise() judges, over a connection of its own that is closed
/// afterwards, in the name given. `server` outlives the task. An error is one that kept it from
/// asking at all: rights that lack are facts.
[[nodiscard]] Task<PgResult<ServerFacts>> probe(boost::asio::any_io_executor executor,
                                                const config::Server& server,
                                                std::string application_name, Instant deadline);
/// The same over a fresh connection of the caller's, who may close it to end the task early.
[[nodiscard]] Task<PgResult<ServerFacts>> probe(PgConnection& fresh, const config::Server& server,
                                                std::string application_name, Instant deadline);

}  // namespace pgleash::watchdog
