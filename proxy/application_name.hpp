#pragma once

#include "config/config.hpp"
#include "proxy/session_view.hpp"

#include <string>
#include <string_view>

namespace pgleash::proxy {

/// What PostgreSQL keeps of an application_name, in bytes.
inline constexpr std::size_t longest_application_name = 63;

/// "checkout - 10.0.0.7:40312": the name that goes to the server, whose views and log know the
/// address of pgleash only. The suffix always fits: the name is cut to make room, between two
/// characters. What is not ASCII becomes '?', as PostgreSQL up to 15 makes it; later ones write
/// more bytes for it, behind which the suffix would be cut. A client without a name is its address;
/// one behind a Unix socket has "unix" for it. Pure.
[[nodiscard]] std::string name_with_suffix(std::string_view name, const Endpoint& client,
                                           config::ApplicationNameSuffix suffix);

/// The name that the client gave, as far as it fitted, of one that was sent so.
[[nodiscard]] std::string_view name_without_suffix(std::string_view sent, const Endpoint& client,
                                                   config::ApplicationNameSuffix suffix);

}  // namespace pgleash::proxy
