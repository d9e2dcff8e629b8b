#pragma once

#include "protocol/types.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <string>

namespace pgleash::proxy {

/// What could be learned of a role's SCRAM secret.
struct VerifierAnswer {
  enum class Kind : std::uint8_t {
    unavailable,  ///< nobody could be asked: the server itself has to judge
    none,         ///< no such role, or none that may log in this way
    found,
  };
  Kind kind = Kind::unavailable;
  std::string verifier;  ///< as pg_authid has it; secret
};

/// Where the proxy learns secrets from, with `scram = "reoriginate"`.
class VerifierSource {
 public:
  virtual ~VerifierSource() = default;
  /// Awaited on a worker's thread; ends by `deadline`.
  virtual boost::asio::awaitable<VerifierAnswer> verifier(std::string server, std::string user,
                                                          Instant deadline) = 0;
};

}  // namespace pgleash::proxy
