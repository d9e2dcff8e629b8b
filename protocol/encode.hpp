#pragma once

#include "protocol/types.hpp"

#include <string>
#include <string_view>

namespace pgleash::protocol {

/// The fields of an ErrorResponse that pgleash writes itself. Empty ones are left out.
/// libpq shows an error on an idle connection by its text alone, so the message says everything
/// that matters. Source: "Frontend/Backend Protocol", Error and Notice Message Fields.
struct ErrorFields {
  std::string_view severity = "FATAL";  ///< sent as both S and V
  std::string_view sqlstate{};          ///< five characters
  std::string_view message{};
  std::string_view detail{};
  std::string_view hint{};
};

/// Each returns the whole message as it goes over the wire. Embedded NULs in texts are dropped.
[[nodiscard]] std::string error_response(const ErrorFields& fields);
/// What servers answer to a startup packet of protocol 2.0 or older: type and text, without a
/// length.
[[nodiscard]] std::string error_response_v2(std::string_view message);
[[nodiscard]] std::string terminate();                         ///< `X`
[[nodiscard]] std::string copy_fail(std::string_view reason);  ///< `f`
[[nodiscard]] std::string ssl_request();
[[nodiscard]] std::string cancel_request(const CancelKey& key);

}  // namespace pgleash::protocol
