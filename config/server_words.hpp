#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <string_view>
#include <vector>

namespace pgleash::config {

/// The server of `--server`: what parse_server_address() takes; the same URL with libpq's words
/// behind a '?'; or words alone ("host=db1 port=5432 sslmode=verify-full"). Of the words those that
/// are about the way to the server; an unknown one is a fault that names it. No fault repeats
/// what may be a password.
[[nodiscard]] Server read_server_words(std::string_view text, std::vector<Fault>& faults);

}  // namespace pgleash::config
