#pragma once

#include "protocol/types.hpp"
#include "proxy/kill_order.hpp"

#include <cstddef>
#include <string>

namespace pgleash::proxy {

/// The ErrorResponse, severity ERROR, that tells the client of a cancel in the rule's words.
[[nodiscard]] std::string cancel_error(const ErrorNotice& notice);

/// Looks in `chunk`, whose first whole message begins at `begin`, for the first ErrorResponse. When
/// it is the server's 57014 and stands there whole, `out` becomes the chunk with `replacement` in
/// its place. False: leave the chunk as it is. The one place where bytes of a session that is up
/// are changed: behind a cancel of our own, when the server can only say "due to user request",
/// which nobody made.
[[nodiscard]] bool replace_cancel_error(protocol::Bytes chunk, std::size_t begin,
                                        const std::string& replacement, std::string& out);

}  // namespace pgleash::proxy
