#include "proxy/application_name.hpp"

#include <algorithm>

namespace pgleash::proxy {
namespace {

std::string address_of(const Endpoint& client, bool with_port) {
  if (client.address.empty()) return "unix";
  if (!with_port) return client.address;
  const bool v6 = client.address.find(':') != std::string::npos;
  const std::string host = v6 ? '[' + client.address + ']' : client.address;
  return host + ':' + std::to_string(client.port);
}

/// One '?' for each byte that PostgreSQL would not keep.
void make_ascii(std::string& text) {
  std::ranges::replace_if(
      text, [](char c) { return c < ' ' || c > '~'; }, '?');
}

}  // namespace

std::string name_with_suffix(std::string_view name, const Endpoint& client,
                             config::ApplicationNameSuffix suffix) {
  std::string made{name};
  make_ascii(made);
  if (suffix == config::ApplicationNameSuffix::off) return std::string{name};
  const std::string address =
      address_of(client, suffix == config::ApplicationNameSuffix::address_port);
  if (made.empty()) return address.substr(0, longest_application_name);
  const std::string behind = " - " + address;
  const std::size_t room =
      longest_application_name - std::min(behind.size(), longest_application_name - 1);
  made.resize(std::min(made.size(), room));
  return (made + behind).substr(0, longest_application_name);
}

std::string_view name_without_suffix(std::string_view sent, const Endpoint& client,
                                     config::ApplicationNameSuffix suffix) {
  const std::string address =
      address_of(client, suffix == config::ApplicationNameSuffix::address_port);
  if (sent == address) return {};
  const std::string behind = " - " + address;
  if (sent.ends_with(behind)) sent.remove_suffix(behind.size());
  return sent;
}

}  // namespace pgleash::proxy
