#include "app/page_access.hpp"

#include "config/secret.hpp"

#include <boost/asio/ssl/context.hpp>
#include <openssl/ssl.h>

#include <string>
#include <utility>
#include <variant>

namespace pgleash::app {

std::optional<metrics::HttpAccess> page_access(const config::Http& http,
                                               std::shared_ptr<ssl_ctx_st> tls,
                                               std::vector<config::Diagnostic>& faults) {
  metrics::HttpAccess access;
  if (!http.token_file.empty()) {
    auto read = config::read_secret({config::SecretSource::Kind::file, http.token_file});
    const auto* fault = std::get_if<config::Fault>(&read);
    const bool too_short = fault == nullptr && std::get<config::Secret>(read).text().size() <
                                                   config::Http::shortest_token;
    if (fault != nullptr || too_short) {
      faults.push_back({config::Severity::error,
                        {"http.token_file", 0, 0},
                        too_short ? "the token is shorter than 16 bytes" : fault->message,
                        too_short ? "make one: openssl rand -hex 32" : fault->hint,
                        {}});
      return std::nullopt;
    }
    access.token = std::make_shared<const std::string>(std::get<config::Secret>(read).text());
  }
  if (tls) {
    ::SSL_CTX_up_ref(tls.get());  // Asio's context frees what it is given
    access.tls = std::make_shared<boost::asio::ssl::context>(tls.get());
  }
  return access;
}

}  // namespace pgleash::app
