#include "app/notify/signature.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <stdexcept>

namespace pgleash::notify {

std::string sign(std::string_view key, std::int64_t unix_seconds, std::string_view body) {
  const std::string text = fmt::format("{}.{}", unix_seconds, body);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(  // NOLINT(*-reinterpret-cast): OpenSSL's type
                 text.data()),
             text.size(), digest.data(), &size) == nullptr)
    throw std::runtime_error{"HMAC-SHA256 is not to be had from OpenSSL"};
  std::string signature = fmt::format("t={},v1=", unix_seconds);
  for (unsigned i = 0; i < size; ++i) signature += fmt::format("{:02x}", digest[i]);
  return signature;
}

}  // namespace pgleash::notify
