#pragma once

#include "protocol/error.hpp"
#include "protocol/types.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace pgleash::protocol {

/// Longest first message a server accepts, its length word included; a longer one it just drops.
inline constexpr std::uint32_t max_startup_size = 10'004;
/// Name/value pairs a startup packet may carry here; PostgreSQL has no limit beside the size.
inline constexpr std::size_t max_startup_parameters = 256;

struct SslRequest {};
struct GssEncRequest {};
struct CancelRequest {
  CancelKey key;
};

/// A startup packet: what it says, and its bytes exactly as they came, since they are forwarded
/// unchanged.
struct StartupPacket {
  std::uint16_t major = 3;
  std::uint16_t minor = 0;
  std::string user;
  std::string database;  ///< as the server takes it: the user's name when none was given
  std::string
      application_name;     ///< as sent; the server cuts and escapes it, and reports the result
  std::string replication;  ///< empty: an ordinary session
  std::string raw;          ///< the whole packet, length word included

  /// True for any value PostgreSQL takes as "yes, physical" or "database" (judged by the parameter,
  /// never by traffic).
  [[nodiscard]] bool is_replication() const noexcept;
};

using FirstMessage = std::variant<SslRequest, GssEncRequest, CancelRequest, StartupPacket>;

/// Length of the first message from its first four bytes, itself included; an error when no server
/// would take it (shorter than 8 or longer than max_startup_size): such a connection is closed
/// without a word, as PostgreSQL does.
[[nodiscard]] Result<std::uint32_t> first_message_length(Bytes four_bytes);

/// Decodes one whole first message (first_message_length bytes). The error carries the SQLSTATE and
/// the text PostgreSQL would send: 0A000 for an unsupported major version, 08P01 for a malformed
/// packet, 28000 for no user. Source: "Frontend/Backend Protocol", Message Formats: StartupMessage,
/// CancelRequest, SSLRequest, GSSENCRequest.
[[nodiscard]] Result<FirstMessage> parse_first_message(Bytes message);

/// The startup packet `raw`, which parse_first_message took, with another value of a parameter.
[[nodiscard]] std::string with_parameter(std::string_view raw, std::string_view name,
                                         std::string_view value);

/// The bytes to answer such an error with before closing: an ErrorResponse, in the form of
/// protocol 2.0 where the packet asked for that or less; empty when a server would close without a
/// word.
[[nodiscard]] std::string startup_refusal(Bytes message, const ProtocolError& error);

}  // namespace pgleash::protocol
