#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "metrics/http_access.hpp"

#include <memory>
#include <optional>
#include <vector>

struct ssl_ctx_st;

namespace pgleash::app {

/// What the status page asks of who comes, as its files are now; `tls` is proxy::TlsContexts::page.
/// Nothing when the token cannot be read: the last of the faults says why.
[[nodiscard]] std::optional<metrics::HttpAccess> page_access(
    const config::Http& http, std::shared_ptr<ssl_ctx_st> tls,
    std::vector<config::Diagnostic>& faults);

}  // namespace pgleash::app
