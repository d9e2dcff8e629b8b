#pragma once

#include "protocol/types.hpp"

#include <string>

namespace pgleash::proxy {

/// What TLS that ends at pgleash makes of SCRAM, and what has to be said of it.
enum class LoginEditFor : std::uint8_t {
  clear_client,      ///< client leg plain, server leg TLS: no channel can be bound, so it is not
                     ///< offered
  two_certificates,  ///< TLS on both legs, with different certificates: a client that binds fails
};

/// Changes a server's half of a login where the two legs differ, in two places only: the mechanisms
/// that AuthenticationSASL offers, and a hint for the two errors of channel binding. Whole messages
/// at a time: what is not whole yet is kept. Gone with the first ReadyForQuery. Pure.
/// Why: docs/tls.md. Source: "Frontend/Backend Protocol", SASL Authentication.
class LoginEdit {
 public:
  /// Nobody sends a message so long in a login; what is longer passes as it is.
  static constexpr std::size_t most_kept = 64 * 1024;

  explicit LoginEdit(LoginEditFor why) noexcept : why_(why) {}

  /// What may go on now; `last`: the login is over, everything does.
  void feed(protocol::Bytes chunk, bool last, std::string& out);

 private:
  LoginEditFor why_;
  bool off_ = false;  ///< messages cannot be told apart any more
  std::string rest_;
};

/// Behind an error of channel binding, where both legs have TLS.
[[nodiscard]] std::string_view channel_binding_hint() noexcept;

}  // namespace pgleash::proxy
