#include "config/url.hpp"

#include "config/address.hpp"

#include <algorithm>
#include <charconv>

namespace pgleash::config {

namespace {

constexpr std::size_t longest = 2048;

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

Fault fault(std::string message, std::string hint = {}) {
  return {"this is no URL for a webhook: " + std::move(message), std::move(hint)};
}

}  // namespace

Parsed<Url> parse_webhook_url(std::string_view text) {
  constexpr std::string_view https = "https://";
  constexpr std::string_view http = "http://";
  if (text.size() > longest) return fault("it is longer than 2048 bytes");
  if (std::ranges::any_of(text,
                          [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; }))
    return fault("it holds a blank or a control character");
  Url url;
  if (text.starts_with(https)) {
    text.remove_prefix(https.size());
  } else if (text.starts_with(http)) {
    url.tls = false;
    text.remove_prefix(http.size());
  } else {
    return fault("it does not begin with https://");
  }
  if (text.find('#') != std::string_view::npos) return fault("it has a fragment (#)");
  const auto end = text.find_first_of("/?");
  std::string_view authority = text.substr(0, end);
  url.target = end == std::string_view::npos ? "/" : std::string{text.substr(end)};
  if (url.target.front() == '?') url.target.insert(0, "/");
  if (authority.find('@') != std::string_view::npos)
    return fault("it holds a user or password", "requests are signed with hmac_key instead");
  std::string_view port;
  bool has_port = false;
  const bool literal = authority.starts_with('[');
  if (literal) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return fault("its [ has no ]");
    url.host = authority.substr(1, close - 1);
    const std::string_view rest = authority.substr(close + 1);
    has_port = rest.starts_with(':');
    if (!rest.empty() && !has_port) return fault("what follows its ] is no port");
    if (has_port) port = rest.substr(1);
  } else {
    const auto colon = authority.find(':');
    url.host = authority.substr(0, colon);
    has_port = colon != std::string_view::npos;
    if (has_port) port = authority.substr(colon + 1);
  }
  const bool good_host =
      literal ? url.host.find_first_not_of("0123456789abcdefABCDEF:.") == std::string::npos
              : std::ranges::all_of(url.host, is_host_character);
  if (url.host.empty()) return fault("it names no host");
  if (!good_host) return fault("its host has a character that no host has");
  url.port = url.tls ? 443 : 80;
  if (has_port) {
    const auto [stop, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc{} || stop != port.data() + port.size() || url.port == 0)
      return fault("its port is no number from 1 to 65535");
  }
  if (!url.tls && !is_loopback(url.host))
    return fault("http is for a loopback address only", "write https://");
  return url;
}

}  // namespace pgleash::config
