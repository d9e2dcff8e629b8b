#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace boost::asio::ssl {
class context;
}

namespace pgleash::metrics {

/// What a listener of pages that are not for everybody asks of who comes. May be replaced while
/// connections are open: the token goes for the next request, TLS for the next connection.
struct HttpAccess {
  std::shared_ptr<const std::string> token;        ///< null: none is asked for
  std::shared_ptr<boost::asio::ssl::context> tls;  ///< null: plain HTTP
};

/// Whether the value of an Authorization header shows the token: "Bearer TOKEN", or for browsers,
/// which ask their user for it, "Basic" with the token as the password of any user. How long it
/// takes says nothing about the token but its length.
/// Source: RFC 6750, RFC 7617.
[[nodiscard]] bool shows_token(std::string_view authorization, std::string_view token);

/// Whether a request with this Origin comes from a page of another place than the Host it asks.
[[nodiscard]] bool is_foreign_origin(std::string_view origin, std::string_view host) noexcept;

}  // namespace pgleash::metrics
