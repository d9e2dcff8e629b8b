#pragma once

#include "protocol/types.hpp"
#include "protocol/wire_reader.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

/// Decoders of the few message bodies that the tracker reads. Each takes the body (or, where it
/// says so, the first bytes of it) and returns views into it, or nothing when it is not what the
/// manual says. Source: "Frontend/Backend Protocol", Message Formats; Error and Notice Message
/// Fields.
namespace pgleash::protocol {

/// How much of a body is read. What lies behind is passed on unseen.
namespace read_limit {
inline constexpr std::uint32_t name = 64;  ///< a name of 63 bytes and its NUL
inline constexpr std::uint32_t text = 1024;
inline constexpr std::uint32_t authentication = 4;
inline constexpr std::uint32_t backend_key =
    4 + CancelKey::max_secret_size + 1;  ///< one more tells "too long"
inline constexpr std::uint32_t parameter_status = 1024;
inline constexpr std::uint32_t negotiate_version = 4;
inline constexpr std::uint32_t error_response = 512;
inline constexpr std::uint32_t command_tag = 64;
inline constexpr std::uint32_t query = text + 1;
inline constexpr std::uint32_t parse = name + text + 1;
inline constexpr std::uint32_t bind = 2 * name;
inline constexpr std::uint32_t execute = name;
inline constexpr std::uint32_t close = 1 + name;
}  // namespace read_limit

/// AuthenticationXxx: which one it is.
enum class Authentication : std::uint32_t { ok = 0, sasl_continue = 11, sasl_final = 12 };
[[nodiscard]] std::optional<Authentication> decode_authentication(Bytes body) noexcept;

struct BackendKey {
  BackendPid pid{};
  Bytes secret;
};
/// Nothing when the secret is missing or longer than CancelKey::max_secret_size.
[[nodiscard]] std::optional<BackendKey> decode_backend_key(Bytes body) noexcept;

struct Parameter {
  std::string_view name;
  std::string_view value;
};
[[nodiscard]] std::optional<Parameter> decode_parameter_status(Bytes body) noexcept;

/// NegotiateProtocolVersion: the newest minor version the server speaks. Servers send the whole
/// version (3 in the upper 16 bits), the manual speaks of the minor alone: both are understood.
[[nodiscard]] std::optional<std::int32_t> decode_negotiate_version(Bytes first_bytes) noexcept;

struct ErrorSummary {
  std::string_view severity;  ///< field V, which is never translated, else S
  std::string_view sqlstate;  ///< empty when there is none: some servers in the field send none
  [[nodiscard]] bool fatal() const noexcept { return severity == "FATAL" || severity == "PANIC"; }
};
/// Never fails: fields cut off or missing stay empty.
[[nodiscard]] ErrorSummary decode_error(Bytes first_bytes) noexcept;

/// CommandComplete: whether this is the command tag, all of it. Tags of more than
/// read_limit::command_tag bytes do not exist.
[[nodiscard]] inline bool is_command_tag(Bytes first_bytes, std::string_view tag) noexcept {
  const std::string_view seen = as_text(first_bytes);
  return seen.starts_with(tag) && (seen.size() == tag.size() || seen[tag.size()] == '\0');
}

/// ReadyForQuery. Nothing when the byte is none that there is.
[[nodiscard]] inline std::optional<TransactionStatus> decode_ready(Bytes body) noexcept {
  if (body.empty()) return std::nullopt;
  const TransactionStatus status{static_cast<char>(body[0])};
  switch (status) {
    case TransactionStatus::idle:
    case TransactionStatus::in_transaction:
    case TransactionStatus::failed:
      return status;
  }
  return std::nullopt;
}

struct StatementText {
  std::string_view name;  ///< of the prepared statement; empty for the unnamed one, and for Query
  std::string_view text;  ///< at most read_limit::text bytes
  bool truncated = false;
};
[[nodiscard]] StatementText decode_query(Bytes first_bytes) noexcept;
/// Nothing when the name is longer than a name may be.
[[nodiscard]] std::optional<StatementText> decode_parse(Bytes first_bytes) noexcept;

struct BindNames {
  std::string_view portal;
  std::string_view statement;
};
[[nodiscard]] std::optional<BindNames> decode_bind(Bytes first_bytes) noexcept;

/// Execute: the name of the portal.
[[nodiscard]] std::optional<std::string_view> decode_execute(Bytes first_bytes) noexcept;

struct CloseTarget {
  char kind = 0;  ///< 'S' statement, 'P' portal
  std::string_view name;
};
[[nodiscard]] std::optional<CloseTarget> decode_close(Bytes first_bytes) noexcept;

}  // namespace pgleash::protocol
