#pragma once

#include "protocol/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The messages of SCRAM-SHA-256 as text: what is in them, not whether it is true. No key is
/// computed here. Source: RFC 5802 section 7, RFC 7677; PostgreSQL's auth-scram.c, whose strictness
/// is kept: attributes come in their order, none is skipped.
namespace pgleash::protocol::scram {

/// Longest message taken. A nonce is 24 characters in every client that is known.
inline constexpr std::size_t max_message = 4096;
inline constexpr std::size_t max_nonce = 256;
inline constexpr std::size_t key_size = 32;  ///< of SHA-256
inline constexpr std::uint32_t max_iterations = 10'000'000;

inline constexpr std::string_view plain{"SCRAM-SHA-256"};
inline constexpr std::string_view bound{"SCRAM-SHA-256-PLUS"};

[[nodiscard]] std::string to_base64(std::string_view bytes);
/// Strict: whole groups of four, padding at the end only, no blank, no bit that means nothing.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

/// What the client says of channel binding.
enum class Binding : std::uint8_t {
  none,       ///< `n`: it cannot
  unoffered,  ///< `y`: it could, and was not offered any
  used,       ///< `p=tls-server-end-point`
};

struct ClientFirst {
  Binding binding = Binding::none;
  std::string gs2_header;  ///< "n,,": comes again in the client's final message
  std::string nonce;
  std::string bare;  ///< from `n=` on: part of what is proved
};
/// The user name in it counts for nothing, as in PostgreSQL: the startup packet has it.
[[nodiscard]] Result<ClientFirst> parse_client_first(std::string_view message);

struct ServerFirst {
  std::string nonce;
  std::string salt;  ///< decoded
  std::uint32_t iterations = 0;
};
[[nodiscard]] Result<ServerFirst> parse_server_first(std::string_view message);
/// `salt` as bytes.
[[nodiscard]] std::string server_first(std::string_view nonce, std::string_view salt,
                                       std::uint32_t iterations);

struct ClientFinal {
  std::string channel;  ///< decoded: gs2 header and binding data
  std::string nonce;
  std::string proof;          ///< decoded, key_size bytes
  std::string without_proof;  ///< part of what is proved
};
[[nodiscard]] Result<ClientFinal> parse_client_final(std::string_view message);

/// The signature, decoded, key_size bytes; an error also when the server reports one (`e=`).
[[nodiscard]] Result<std::string> parse_server_final(std::string_view message);

/// A role's secret as pg_authid has it: "SCRAM-SHA-256$4096:SALT$STORED:SERVER". Secret, though
/// less so than a password: who knows it can pass for the server.
struct Verifier {
  std::uint32_t iterations = 0;
  std::string salt;        ///< decoded
  std::string stored_key;  ///< decoded, key_size bytes
  std::string server_key;
};
[[nodiscard]] std::optional<Verifier> parse_verifier(std::string_view text);

/// The body of SASLInitialResponse.
struct InitialResponse {
  std::string mechanism;
  std::string data;
};
[[nodiscard]] Result<InitialResponse> parse_initial_response(std::string_view body);

}  // namespace pgleash::protocol::scram
