#include "metrics/reply.hpp"

#include <utility>

namespace pgleash::metrics {
namespace {

constexpr std::string_view plain_text = "text/plain; charset=utf-8";

}  // namespace

std::string_view path_of(std::string_view target) noexcept {
  constexpr std::string_view scheme = "http://";
  if (target.starts_with(scheme)) {
    const auto slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  return target.substr(0, target.find_first_of("?#"));
}

bool is_loopback_host(std::string_view host) noexcept {
  const bool v6 = host.starts_with('[');
  const std::string_view name =
      v6 ? host.substr(0, host.find(']') + 1) : host.substr(0, host.find(':'));
  const std::string_view rest = host.substr(name.size());
  if (!rest.empty() &&
      (rest.front() != ':' || rest.find_first_not_of("0123456789", 1) != std::string_view::npos))
    return false;
  if (name == "localhost" || name == "[::1]") return true;
  return name.starts_with("127.") &&
         name.find_first_not_of("0123456789.") == std::string_view::npos;
}

Reply plain_reply(unsigned status, std::string text) {
  return {status, plain_text, std::make_shared<const std::string>(std::move(text))};
}

}  // namespace pgleash::metrics
